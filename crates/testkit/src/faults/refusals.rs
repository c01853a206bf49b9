use super::{Body, DOWN, Expected, Fault, JSON, UNUSABLE, error, http};
use hallpass_core::ErrorKind;

const CREDENTIALS: Expected = error(ErrorKind::CredentialsRefused, false);
const REQUEST: Expected = error(ErrorKind::RequestRefused, false);
const UNSUPPORTED: Expected = error(ErrorKind::Unavailable, false);
const CONFIGURATION: Expected = error(ErrorKind::Configuration, false);

const GOOD: Body =
    Body::Text(r#"{"access_token":"good-token","token_type":"Bearer","expires_in":3600}"#);

/// A refusal with an error code of RFC 6749 section 5.2, or of another specification.
macro_rules! coded {
    ($number:literal, $name:literal, $status:literal, $code:literal, $expected:expr) => {
        http(
            $number,
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
    number: &'static str,
    name: &'static str,
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    expected: Expected,
) -> Fault {
    http(number, name, status, headers, Body::Text(""), expected)
}

/// F-31 to F-57: statuses other than 200.
pub const REFUSALS: &[Fault] = &[
    http(
        "F-31",
        "status_400_web_page",
        400,
        &[("content-type", "text/html")],
        Body::Text("<html>no</html>"),
        REQUEST,
    ),
    bare("F-31", "status_400_empty", 400, &[], REQUEST),
    bare("F-31", "status_403_empty", 403, &[], CREDENTIALS),
    coded!("F-32", "unknown_code", 400, "house_rules", REQUEST),
    coded!("F-32", "invalid_client", 401, "invalid_client", CREDENTIALS),
    coded!(
        "F-32",
        "invalid_client_with_400",
        400,
        "invalid_client",
        CREDENTIALS
    ),
    coded!(
        "F-32",
        "unauthorized_client",
        400,
        "unauthorized_client",
        REQUEST
    ),
    coded!(
        "F-32",
        "unsupported_grant_type",
        400,
        "unsupported_grant_type",
        REQUEST
    ),
    coded!("F-32", "invalid_request", 400, "invalid_request", REQUEST),
    coded!("F-32", "invalid_scope", 400, "invalid_scope", REQUEST),
    coded!("F-32", "invalid_target", 400, "invalid_target", REQUEST),
    http(
        "F-33",
        "description_with_escapes",
        400,
        JSON,
        Body::Text(r#"{"error":"invalid_scope","error_description":"\u001b[31mred\nline"}"#),
        REQUEST,
    ),
    http(
        "F-33",
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
    bare(
        "F-34",
        "status_401_with_challenge",
        401,
        &[("www-authenticate", "Basic realm=\"token\"")],
        CREDENTIALS,
    ),
    coded!("F-35", "server_error_with_500", 500, "server_error", DOWN),
    coded!(
        "F-35",
        "temporarily_unavailable",
        503,
        "temporarily_unavailable",
        DOWN
    ),
    coded!(
        "F-35",
        "temporarily_unavailable_with_400",
        400,
        "temporarily_unavailable",
        DOWN
    ),
    http("F-38", "status_201", 201, JSON, GOOD, UNUSABLE),
    http("F-38", "status_202", 202, JSON, GOOD, UNUSABLE),
    http("F-38", "status_206", 206, JSON, GOOD, UNUSABLE),
    bare("F-38", "status_204", 204, &[], UNUSABLE),
    bare(
        "F-49",
        "redirect_301",
        301,
        &[("location", "https://elsewhere.example/")],
        CONFIGURATION,
    ),
    bare(
        "F-49",
        "redirect_302",
        302,
        &[("location", "/login")],
        CONFIGURATION,
    ),
    bare(
        "F-49",
        "redirect_303",
        303,
        &[("location", "https://elsewhere.example/")],
        CONFIGURATION,
    ),
    bare(
        "F-50",
        "redirect_307",
        307,
        &[("location", "https://elsewhere.example/")],
        CONFIGURATION,
    ),
    bare(
        "F-50",
        "redirect_308",
        308,
        &[("location", "https://elsewhere.example/")],
        CONFIGURATION,
    ),
    bare("F-49", "redirect_to_nowhere", 302, &[], CONFIGURATION),
    bare(
        "F-52",
        "too_many_requests",
        429,
        &[("retry-after", "2")],
        DOWN,
    ),
    bare(
        "F-53",
        "retry_after_in_the_past",
        503,
        &[("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT")],
        DOWN,
    ),
    bare(
        "F-53",
        "retry_after_garbage",
        503,
        &[("retry-after", "soon")],
        DOWN,
    ),
    bare(
        "F-54",
        "retry_after_a_day",
        429,
        &[("retry-after", "86400")],
        DOWN,
    ),
    bare("F-55", "status_503", 503, &[], DOWN),
    bare("F-56", "status_502", 502, &[], DOWN),
    bare("F-56", "status_504", 504, &[], DOWN),
    bare("F-57", "status_501", 501, &[], UNSUPPORTED),
    bare("F-57", "status_505", 505, &[], UNSUPPORTED),
    bare("F-31", "status_404", 404, &[], CONFIGURATION),
    bare("F-31", "status_405", 405, &[], CONFIGURATION),
    http(
        "F-61",
        "sets_a_cookie",
        200,
        &[
            ("content-type", "application/json"),
            ("set-cookie", "session=1; Path=/"),
        ],
        GOOD,
        super::token(3_600),
    ),
];
