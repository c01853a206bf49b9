use super::response::{
    Body, Expected, FaultyResponse, GARBLED, JSON, UNUSABLE, error, http, ok, token,
};
use hallpass_core::ErrorKind;

/// A complete valid response.
const GOOD: &str = r#"{"access_token":"good-token","token_type":"Bearer","expires_in":3600}"#;

const fn typed(
    name: &'static str,
    headers: &'static [(&'static str, &'static str)],
    expected: Expected,
) -> FaultyResponse {
    http(name, 200, headers, Body::Text(GOOD), expected)
}

const fn raw(name: &'static str, body: &'static [u8], expected: Expected) -> FaultyResponse {
    http(name, 200, JSON, Body::Bytes(body), expected)
}

/// The body as a whole, and the headers that describe it.
pub const BODIES: &[FaultyResponse] = &[
    // covers: F-01
    ok("body_empty", "", GARBLED),
    ok("body_blank", " \r\n", GARBLED),
    // covers: F-02
    ok("body_cut", r#"{"access_token":"cut-to"#, GARBLED),
    ok(
        "body_not_json",
        "access_token=t&token_type=bearer",
        UNUSABLE,
    ),
    ok(
        "body_twice",
        concat!(
            r#"{"access_token":"t","token_type":"Bearer"}"#,
            r#"{"x":1}"#
        ),
        UNUSABLE,
    ),
    // covers: F-04
    http(
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
    // covers: F-05
    http(
        "body_compressed",
        200,
        &[
            ("content-type", "application/json"),
            ("content-encoding", "gzip"),
        ],
        Body::Bytes(&[0x1f, 0x8b, 8, 0]),
        UNUSABLE,
    ),
    // covers: F-07
    typed("content_type_missing", &[], UNUSABLE),
    typed(
        "content_type_text",
        &[("content-type", "text/plain")],
        UNUSABLE,
    ),
    // covers: F-08
    http(
        "body_web_page",
        200,
        &[("content-type", "text/html; charset=utf-8")],
        Body::Text("<html><body>Sign in</body></html>"),
        GARBLED,
    ),
    // covers: F-09
    typed(
        "content_type_with_charset",
        &[("content-type", "application/json;charset=utf-8")],
        token(3_600),
    ),
    typed(
        "content_type_in_capitals",
        &[("content-type", "Application/JSON")],
        token(3_600),
    ),
    http(
        "problem_json",
        400,
        &[("content-type", "application/problem+json")],
        Body::Text(r#"{"title":"no","status":400}"#),
        error(ErrorKind::RequestRefused, false),
    ),
    // covers: F-10
    raw(
        "byte_order_mark",
        concat!(
            "\u{feff}",
            r#"{"access_token":"t","token_type":"Bearer","expires_in":60}"#
        )
        .as_bytes(),
        token(60),
    ),
    raw("utf_16", b"\xff\xfe{\0}\0", UNUSABLE),
    // covers: F-11
    raw(
        "invalid_utf_8",
        b"{\"access_token\":\"\xff\xfe\",\"token_type\":\"Bearer\"}",
        UNUSABLE,
    ),
    // covers: F-12
    ok(
        "access_token_twice",
        r#"{"access_token":"one","token_type":"Bearer","access_token":"two"}"#,
        UNUSABLE,
    ),
    ok(
        "expires_in_twice",
        r#"{"access_token":"t","token_type":"Bearer","expires_in":1,"expires_in":2}"#,
        UNUSABLE,
    ),
    // covers: F-13
    ok("top_level_null", "null", UNUSABLE),
    ok("top_level_array", "[]", UNUSABLE),
    ok("top_level_string", r#""token""#, UNUSABLE),
    ok("top_level_number", "17", UNUSABLE),
    // covers: F-14
    http(
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
    // covers: F-15
    ok(
        "unknown_members",
        r#"{"access_token":"t","token_type":"Bearer","expires_in":60,"a":null,"b":[1,{"c":true}],"d":{"e":"f"},"g":1e9}"#,
        token(60),
    ),
];
