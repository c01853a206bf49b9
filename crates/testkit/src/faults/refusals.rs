use super::response::{Body, DOWN, Expected, FaultyResponse, JSON, UNUSABLE, error, http, token};
use hallpass_core::ErrorKind;

const CREDENTIALS: Expected = error(ErrorKind::CredentialsRefused, false);
const REQUEST: Expected = error(ErrorKind::RequestRefused, false);
const UNSUPPORTED: Expected = error(ErrorKind::Unavailable, false);
const CONFIGURATION: Expected = error(ErrorKind::Configuration, false);

const GOOD: Body =
    Body::Text(r#"{"access_token":"good-token","token_type":"Bearer","expires_in":3600}"#);

/// A refusal with an error code of RFC 6749 section 5.2, or of another specification.
macro_rules! coded {
    ($name:literal, $status:literal, $code:literal, $expected:expr) => {
        http(
            $name,
            $status,
            JSON,
            Body::Text(concat!(
                r#"{"error":""#,
                $code,
                r#"","error_description":"written by the server"}"#
            )),
            $expected,
        )
    };
}

/// Creates a response with this status and without a body.
const fn bare(
    name: &'static str,
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    expected: Expected,
) -> FaultyResponse {
    http(name, status, headers, Body::Text(""), expected)
}

/// Statuses other than 200.
pub const REFUSALS: &[FaultyResponse] = &[
    // covers: F-31
    http(
        "status_400_web_page",
        400,
        &[("content-type", "text/html")],
        Body::Text("<html>no</html>"),
        REQUEST,
    ),
    bare("status_400_empty", 400, &[], REQUEST),
    bare("status_403_empty", 403, &[], CREDENTIALS),
    // covers: F-32
    coded!("unknown_code", 400, "house_rules", REQUEST),
    coded!("invalid_client", 401, "invalid_client", CREDENTIALS),
    coded!(
        "invalid_client_with_400",
        400,
        "invalid_client",
        CREDENTIALS
    ),
    coded!("unauthorized_client", 400, "unauthorized_client", REQUEST),
    coded!(
        "unsupported_grant_type",
        400,
        "unsupported_grant_type",
        REQUEST
    ),
    coded!("invalid_request", 400, "invalid_request", REQUEST),
    coded!("invalid_scope", 400, "invalid_scope", REQUEST),
    coded!("invalid_target", 400, "invalid_target", REQUEST),
    // covers: F-33
    http(
        "description_with_escapes",
        400,
        JSON,
        Body::Text(r#"{"error":"invalid_scope","error_description":"\u001b[31mred\nline"}"#),
        REQUEST,
    ),
    http(
        "description_of_a_megabyte",
        400,
        JSON,
        Body::Repeated {
            before: r#"{"error":"invalid_scope","error_description":""#,
            filler: "0123456789abcdef",
            times: 32 * 1_024,
            after: "\"}",
        },
        REQUEST,
    ),
    // covers: F-34
    bare(
        "status_401_with_challenge",
        401,
        &[("www-authenticate", "Basic realm=\"token\"")],
        CREDENTIALS,
    ),
    // covers: F-35
    coded!("server_error_with_500", 500, "server_error", DOWN),
    coded!(
        "temporarily_unavailable",
        503,
        "temporarily_unavailable",
        DOWN
    ),
    coded!(
        "temporarily_unavailable_with_400",
        400,
        "temporarily_unavailable",
        DOWN
    ),
    // covers: F-38
    http("status_201", 201, JSON, GOOD, UNUSABLE),
    http("status_202", 202, JSON, GOOD, UNUSABLE),
    http("status_206", 206, JSON, GOOD, UNUSABLE),
    bare("status_204", 204, &[], UNUSABLE),
    // covers: F-49
    bare(
        "redirect_301",
        301,
        &[("location", "https://elsewhere.example/")],
        CONFIGURATION,
    ),
    bare(
        "redirect_302",
        302,
        &[("location", "/login")],
        CONFIGURATION,
    ),
    bare(
        "redirect_303",
        303,
        &[("location", "https://elsewhere.example/")],
        CONFIGURATION,
    ),
    // covers: F-50
    bare(
        "redirect_307",
        307,
        &[("location", "https://elsewhere.example/")],
        CONFIGURATION,
    ),
    bare(
        "redirect_308",
        308,
        &[("location", "https://elsewhere.example/")],
        CONFIGURATION,
    ),
    // covers: F-49
    bare("redirect_to_nowhere", 302, &[], CONFIGURATION),
    // covers: F-52
    bare("too_many_requests", 429, &[("retry-after", "2")], DOWN),
    // covers: F-53
    bare(
        "retry_after_in_the_past",
        503,
        &[("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT")],
        DOWN,
    ),
    bare("retry_after_garbage", 503, &[("retry-after", "soon")], DOWN),
    // covers: F-54
    bare("retry_after_a_day", 429, &[("retry-after", "86400")], DOWN),
    // covers: F-55
    bare("status_503", 503, &[], DOWN),
    // covers: F-56
    bare("status_502", 502, &[], DOWN),
    bare("status_504", 504, &[], DOWN),
    // covers: F-57
    bare("status_501", 501, &[], UNSUPPORTED),
    bare("status_505", 505, &[], UNSUPPORTED),
    // covers: F-31
    bare("status_404", 404, &[], CONFIGURATION),
    bare("status_405", 405, &[], CONFIGURATION),
    // covers: F-61
    http(
        "sets_a_cookie",
        200,
        &[
            ("content-type", "application/json"),
            ("set-cookie", "session=1; Path=/"),
        ],
        GOOD,
        token(3_600),
    ),
];
