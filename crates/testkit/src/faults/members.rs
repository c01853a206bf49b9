use super::{Body, Expected, Fault, JSON, UNUSABLE, error, http, ok, token};
use hallpass_core::ErrorKind;

/// A day: the longest lifetime that a client accepts by default.
const DAY: u64 = 24 * 3_600;

/// A response with this text for `expires_in`.
macro_rules! expires_in {
    ($name:literal, $number:literal, $value:literal, $expected:expr) => {
        ok(
            $number,
            $name,
            concat!(
                r#"{"access_token":"t","token_type":"Bearer","expires_in":"#,
                $value,
                "}"
            ),
            $expected,
        )
    };
}

/// A response with this JSON for `access_token`.
macro_rules! access_token {
    ($name:literal, $number:literal, $value:literal) => {
        ok(
            $number,
            $name,
            concat!(
                r#"{"access_token":"#,
                $value,
                r#","token_type":"Bearer","expires_in":60}"#
            ),
            UNUSABLE,
        )
    };
}

/// A response with this JSON for `token_type`.
macro_rules! token_type {
    ($name:literal, $number:literal, $value:literal, $expected:expr) => {
        ok(
            $number,
            $name,
            concat!(
                r#"{"access_token":"t","expires_in":60,"token_type":"#,
                $value,
                "}"
            ),
            $expected,
        )
    };
}

/// A response with this JSON for `scope`.
macro_rules! scope {
    ($name:literal, $value:literal, $expected:expr) => {
        ok(
            "F-36",
            $name,
            concat!(
                r#"{"access_token":"t","token_type":"Bearer","expires_in":60,"scope":"#,
                $value,
                "}"
            ),
            $expected,
        )
    };
}

const fn granted(scopes: &'static str) -> Expected {
    Expected::Token {
        seconds: Some(60),
        scopes: Some(scopes),
    }
}

/// F-16 to F-37: the members of a response.
pub const MEMBERS: &[Fault] = &[
    expires_in!("expires_in_string", "F-16", r#""3600""#, token(3_600)),
    expires_in!("expires_in_decimal_string", "F-16", r#""3600.0""#, UNUSABLE),
    expires_in!("expires_in_padded_string", "F-16", r#"" 3600""#, UNUSABLE),
    expires_in!("expires_in_with_unit", "F-16", r#""1h""#, UNUSABLE),
    expires_in!("expires_in_empty_string", "F-16", r#""""#, UNUSABLE),
    expires_in!("expires_in_fraction", "F-17", "3599.9", token(3_599)),
    expires_in!("expires_in_nan", "F-17", "NaN", UNUSABLE),
    expires_in!("expires_in_zero", "F-18", "0", token(0)),
    expires_in!("expires_in_negative", "F-19", "-1", UNUSABLE),
    expires_in!("expires_in_huge", "F-20", "1e300", token(DAY)),
    expires_in!(
        "expires_in_u64_max",
        "F-20",
        "18446744073709551615",
        token(DAY)
    ),
    expires_in!("expires_in_null", "F-21", "null", super::OF_SOME_LIFETIME),
    ok(
        "F-21",
        "expires_in_missing",
        r#"{"access_token":"t","token_type":"Bearer"}"#,
        super::OF_SOME_LIFETIME,
    ),
    expires_in!("expires_in_true", "F-22", "true", UNUSABLE),
    expires_in!("expires_in_object", "F-22", "{}", UNUSABLE),
    expires_in!("expires_in_array", "F-22", "[3600]", UNUSABLE),
    ok(
        "F-23",
        "access_token_missing",
        r#"{"token_type":"Bearer","expires_in":60}"#,
        UNUSABLE,
    ),
    access_token!("access_token_null", "F-23", "null"),
    access_token!("access_token_empty", "F-23", r#""""#),
    access_token!("access_token_number", "F-23", "17"),
    access_token!(
        "access_token_with_line_break",
        "F-24",
        r#""a\r\nx-injected: 1""#
    ),
    access_token!("access_token_with_nul", "F-24", r#""a\u0000b""#),
    access_token!("access_token_with_tab", "F-24", r#""a\tb""#),
    access_token!("access_token_with_space", "F-24", r#""a b""#),
    access_token!("access_token_not_ascii", "F-24", r#""tökén""#),
    http(
        "F-25",
        "access_token_too_long",
        200,
        JSON,
        Body::Repeated {
            before: r#"{"token_type":"Bearer","access_token":"t"#,
            filler: "0123456789abcdef",
            times: 32 * 1_024,
            after: r#""}"#,
        },
        UNUSABLE,
    ),
    ok(
        "F-26",
        "token_type_missing",
        r#"{"access_token":"t","expires_in":60}"#,
        UNUSABLE,
    ),
    token_type!("token_type_lower_case", "F-27", r#""bearer""#, token(60)),
    token_type!("token_type_capitals", "F-27", r#""BEARER""#, token(60)),
    token_type!("token_type_dpop", "F-28", r#""DPoP""#, UNUSABLE),
    token_type!("token_type_mac", "F-28", r#""mac""#, UNUSABLE),
    token_type!("token_type_n_a", "F-28", r#""N_A""#, UNUSABLE),
    ok(
        "F-30",
        "error_with_200",
        r#"{"error":"invalid_client"}"#,
        error(ErrorKind::CredentialsRefused, false),
    ),
    ok(
        "F-30",
        "error_and_token_with_200",
        r#"{"error":"invalid_client","access_token":"t","token_type":"Bearer","expires_in":60}"#,
        error(ErrorKind::CredentialsRefused, false),
    ),
    scope!("scope_smaller", r#""orders.read""#, granted("orders.read")),
    scope!(
        "scope_larger",
        r#""orders.read orders.write admin""#,
        granted("admin orders.read orders.write")
    ),
    scope!("scope_empty", r#""""#, granted("")),
    scope!("scope_array", r#"["orders.read"]"#, UNUSABLE),
    ok(
        "F-37",
        "refresh_and_id_token",
        r#"{"access_token":"t","token_type":"Bearer","expires_in":60,"refresh_token":"r","id_token":"i.d.t"}"#,
        token(60),
    ),
];
