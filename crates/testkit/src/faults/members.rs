use super::response::{
    Body, Expected, FaultyResponse, JSON, UNKNOWN_LIFETIME, UNUSABLE, error, http, ok, token,
};
use hallpass_core::ErrorKind;

/// A day: the longest lifetime that a client accepts by default.
const DAY: u64 = 24 * 3_600;

/// A response with this text for `expires_in`.
macro_rules! expires_in {
    ($name:literal, $value:literal, $expected:expr) => {
        ok(
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
    ($name:literal, $value:literal) => {
        ok(
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
    ($name:literal, $value:literal, $expected:expr) => {
        ok(
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

/// The members of a response.
pub const MEMBERS: &[FaultyResponse] = &[
    // covers: F-16
    expires_in!("expires_in_string", r#""3600""#, token(3_600)),
    expires_in!("expires_in_decimal_string", r#""3600.0""#, UNUSABLE),
    expires_in!("expires_in_padded_string", r#"" 3600""#, UNUSABLE),
    expires_in!("expires_in_with_unit", r#""1h""#, UNUSABLE),
    expires_in!("expires_in_empty_string", r#""""#, UNUSABLE),
    // covers: F-17
    expires_in!("expires_in_fraction", "3599.9", token(3_599)),
    expires_in!("expires_in_nan", "NaN", UNUSABLE),
    // covers: F-18
    expires_in!("expires_in_zero", "0", token(0)),
    // covers: F-19
    expires_in!("expires_in_negative", "-1", UNUSABLE),
    // covers: F-20
    expires_in!("expires_in_huge", "1e300", token(DAY)),
    expires_in!("expires_in_u64_max", "18446744073709551615", token(DAY)),
    // covers: F-21
    expires_in!("expires_in_null", "null", UNKNOWN_LIFETIME),
    ok(
        "expires_in_missing",
        r#"{"access_token":"t","token_type":"Bearer"}"#,
        UNKNOWN_LIFETIME,
    ),
    // covers: F-22
    expires_in!("expires_in_true", "true", UNUSABLE),
    expires_in!("expires_in_object", "{}", UNUSABLE),
    expires_in!("expires_in_array", "[3600]", UNUSABLE),
    // covers: F-23
    ok(
        "access_token_missing",
        r#"{"token_type":"Bearer","expires_in":60}"#,
        UNUSABLE,
    ),
    access_token!("access_token_null", "null"),
    access_token!("access_token_empty", r#""""#),
    access_token!("access_token_number", "17"),
    // covers: F-24
    access_token!("access_token_with_line_break", r#""a\r\nx-injected: 1""#),
    access_token!("access_token_with_nul", r#""a\u0000b""#),
    access_token!("access_token_with_tab", r#""a\tb""#),
    access_token!("access_token_with_space", r#""a b""#),
    access_token!("access_token_not_ascii", r#""tökén""#),
    // covers: F-25
    http(
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
    // covers: F-26
    ok(
        "token_type_missing",
        r#"{"access_token":"t","expires_in":60}"#,
        UNUSABLE,
    ),
    // covers: F-27
    token_type!("token_type_lower_case", r#""bearer""#, token(60)),
    token_type!("token_type_capitals", r#""BEARER""#, token(60)),
    // covers: F-28
    token_type!("token_type_dpop", r#""DPoP""#, UNUSABLE),
    token_type!("token_type_mac", r#""mac""#, UNUSABLE),
    token_type!("token_type_n_a", r#""N_A""#, UNUSABLE),
    // covers: F-30
    ok(
        "error_with_200",
        r#"{"error":"invalid_client"}"#,
        error(ErrorKind::CredentialsRefused, false),
    ),
    ok(
        "error_and_token_with_200",
        r#"{"error":"invalid_client","access_token":"t","token_type":"Bearer","expires_in":60}"#,
        error(ErrorKind::CredentialsRefused, false),
    ),
    // covers: F-36
    scope!("scope_smaller", r#""orders.read""#, granted("orders.read")),
    scope!(
        "scope_larger",
        r#""orders.read orders.write admin""#,
        granted("admin orders.read orders.write")
    ),
    scope!("scope_empty", r#""""#, granted("")),
    scope!("scope_array", r#"["orders.read"]"#, UNUSABLE),
    // covers: F-37
    ok(
        "refresh_and_id_token",
        r#"{"access_token":"t","token_type":"Bearer","expires_in":60,"refresh_token":"r","id_token":"i.d.t"}"#,
        token(60),
    ),
];
