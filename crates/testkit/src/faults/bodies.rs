use super::{Body, Fault, GARBLED, JSON, UNUSABLE, error, http, ok, token};
use hallpass_core::ErrorKind;

/// A complete valid response.
const GOOD: &str = r#"{"access_token":"good-token","token_type":"Bearer","expires_in":3600}"#;

const fn typed(
    number: &'static str,
    name: &'static str,
    headers: &'static [(&'static str, &'static str)],
    expected: super::Expected,
) -> Fault {
    http(number, name, 200, headers, Body::Text(GOOD), expected)
}

const fn raw(
    number: &'static str,
    name: &'static str,
    body: &'static [u8],
    expected: super::Expected,
) -> Fault {
    http(number, name, 200, JSON, Body::Bytes(body), expected)
}

/// F-01 to F-15: the body as a whole, and the headers that describe it.
pub const BODIES: &[Fault] = &[
    ok("F-01", "body_empty", "", GARBLED),
    ok("F-01", "body_blank", " \r\n", GARBLED),
    ok("F-02", "body_cut", r#"{"access_token":"cut-to"#, GARBLED),
    ok(
        "F-02",
        "body_not_json",
        "access_token=t&token_type=bearer",
        UNUSABLE,
    ),
    ok(
        "F-02",
        "body_twice",
        concat!(
            r#"{"access_token":"t","token_type":"Bearer"}"#,
            r#"{"x":1}"#
        ),
        UNUSABLE,
    ),
    http(
        "F-04",
        "body_over_the_limit",
        200,
        JSON,
        Body::Repeated {
            before: r#"{"access_token":"t","token_type":"Bearer"}"#,
            filler: "                ",
            times: 128 * 1_024,
            after: "",
        },
        UNUSABLE,
    ),
    http(
        "F-05",
        "body_compressed",
        200,
        &[
            ("content-type", "application/json"),
            ("content-encoding", "gzip"),
        ],
        Body::Bytes(&[0x1f, 0x8b, 8, 0]),
        UNUSABLE,
    ),
    typed("F-07", "content_type_missing", &[], UNUSABLE),
    typed(
        "F-07",
        "content_type_text",
        &[("content-type", "text/plain")],
        UNUSABLE,
    ),
    http(
        "F-08",
        "body_web_page",
        200,
        &[("content-type", "text/html; charset=utf-8")],
        Body::Text("<html><body>Sign in</body></html>"),
        GARBLED,
    ),
    typed(
        "F-09",
        "content_type_with_charset",
        &[("content-type", "application/json;charset=utf-8")],
        token(3_600),
    ),
    typed(
        "F-09",
        "content_type_in_capitals",
        &[("content-type", "Application/JSON")],
        token(3_600),
    ),
    http(
        "F-09",
        "problem_json",
        400,
        &[("content-type", "application/problem+json")],
        Body::Text(r#"{"title":"no","status":400}"#),
        error(ErrorKind::RequestRefused, false),
    ),
    raw(
        "F-10",
        "byte_order_mark",
        concat!(
            "\u{feff}",
            r#"{"access_token":"t","token_type":"Bearer","expires_in":60}"#
        )
        .as_bytes(),
        token(60),
    ),
    raw("F-10", "utf_16", b"\xff\xfe{\0}\0", UNUSABLE),
    raw(
        "F-11",
        "invalid_utf_8",
        b"{\"access_token\":\"\xff\xfe\",\"token_type\":\"Bearer\"}",
        UNUSABLE,
    ),
    ok(
        "F-12",
        "access_token_twice",
        r#"{"access_token":"one","token_type":"Bearer","access_token":"two"}"#,
        UNUSABLE,
    ),
    ok(
        "F-12",
        "expires_in_twice",
        r#"{"access_token":"t","token_type":"Bearer","expires_in":1,"expires_in":2}"#,
        UNUSABLE,
    ),
    ok("F-13", "top_level_null", "null", UNUSABLE),
    ok("F-13", "top_level_array", "[]", UNUSABLE),
    ok("F-13", "top_level_string", r#""token""#, UNUSABLE),
    ok("F-13", "top_level_number", "17", UNUSABLE),
    http(
        "F-14",
        "nested_ten_thousand_deep",
        200,
        JSON,
        Body::Nested {
            before: r#"{"access_token":"t","token_type":"Bearer","x":"#,
            depth: 10_000,
            after: "}",
        },
        UNUSABLE,
    ),
    ok(
        "F-15",
        "unknown_members",
        r#"{"access_token":"t","token_type":"Bearer","expires_in":60,"a":null,"b":[1,{"c":true}],"d":{"e":"f"},"g":1e9}"#,
        token(60),
    ),
];
