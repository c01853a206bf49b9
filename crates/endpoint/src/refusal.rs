//! What a server's refusal means (RFC 6749 section 5.2), whatever status and body it comes with.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use hallpass_core::{ErrorKind, OAuthError, TextFilter, TokenError};
use http::{HeaderMap, StatusCode, header};

use crate::{grant::About, json::Members, response::is_digits};

/// The codes that [`judge`] knows.
const KNOWN: [&str; 13] = [
    "access_denied",
    "invalid_client",
    "invalid_dpop_proof",
    "invalid_grant",
    "invalid_request",
    "invalid_scope",
    "invalid_target",
    "server_error",
    "slow_down",
    "temporarily_unavailable",
    "unauthorized_client",
    "unsupported_grant_type",
    "use_dpop_nonce",
];

/// An `error` member in a 200: it rules, whatever else is there.
pub(crate) fn in_a_success(
    members: &Members<'_>,
    mut filter: TextFilter,
    about: &About,
) -> TokenError {
    if let Some(token) = members.text("access_token") {
        filter.add_secret(token);
    }
    let error = oauth_error(members, &filter)
        .unwrap_or_else(|| OAuthError::new("error"))
        .clone();
    judge(StatusCode::OK, Some(error), about)
}

/// An answer with a status other than 200; `body` is `None` where it is not JSON or could not be had.
pub(crate) fn read(
    status: StatusCode,
    body: Option<&[u8]>,
    filter: &TextFilter,
    about: &About,
) -> TokenError {
    let members = body.and_then(|body| Members::read(body).ok());
    let error = members
        .filter(|members| members.twice.is_none())
        .and_then(|members| oauth_error(&members, filter));
    judge(status, error, about)
}

fn oauth_error(members: &Members<'_>, filter: &TextFilter) -> Option<OAuthError> {
    let code = members.text("error").filter(|code| !code.is_empty())?;
    // A known code is no echo, even where a short secret happens to be a part of it; and it is what decides.
    let mut error = if KNOWN.contains(&code) {
        OAuthError::new(code)
    } else {
        OAuthError::new(&filter.clean(code))
    };
    if let Some(description) = members.text("error_description") {
        error = error.with_description(&filter.clean(description));
    }
    if let Some(uri) = members.text("error_uri") {
        error = error.with_uri(&filter.clean(uri));
    }
    Some(error)
}

/// Who is at fault, and whether time can mend it. The code decides where it is known, else the status.
fn judge(status: StatusCode, oauth_error: Option<OAuthError>, about: &About) -> TokenError {
    let code = oauth_error.as_ref().map_or("", OAuthError::code);
    let (kind, message, transient) = match (code, status.as_u16()) {
        (_, 429) => (
            ErrorKind::Unavailable,
            "the server asks for fewer requests",
            true,
        ),
        (code, 200 | 400 | 401) if about.refused.contains(&code) => {
            (ErrorKind::CredentialsRefused, about.message, false)
        }
        // Some servers refuse a wrong secret by other codes (Auth0, Keycloak); the status tells what they mean.
        ("invalid_client", _) | ("access_denied" | "unauthorized_client", 401) => (
            ErrorKind::CredentialsRefused,
            "the server refused the client's credentials",
            false,
        ),
        ("invalid_scope", _) => (
            ErrorKind::RequestRefused,
            "the server refused the scopes that were asked for",
            false,
        ),
        ("invalid_target", _) => (
            ErrorKind::RequestRefused,
            "the server refused the resource or audience that was asked for",
            false,
        ),
        ("unauthorized_client" | "unsupported_grant_type", _) => (
            ErrorKind::RequestRefused,
            "the server does not let this client use this grant",
            false,
        ),
        ("invalid_request" | "invalid_grant" | "access_denied", _) => (
            ErrorKind::RequestRefused,
            "the server refused the token request",
            false,
        ),
        ("invalid_dpop_proof" | "use_dpop_nonce", _) => (
            ErrorKind::RequestRefused,
            "the server refused the proof of possession",
            false,
        ),
        ("temporarily_unavailable" | "slow_down" | "server_error", _) => (
            ErrorKind::Unavailable,
            "the server cannot give tokens at the moment",
            true,
        ),
        (_, 408) => (ErrorKind::Unavailable, "the server gave up waiting", true),
        (_, 501 | 505) => (
            ErrorKind::Unavailable,
            "the server does not support the request",
            false,
        ),
        (_, 500..=599) => (ErrorKind::Unavailable, "the server failed", true),
        ("", 401 | 403) => (
            ErrorKind::CredentialsRefused,
            "the server refused the client and gave no reason",
            false,
        ),
        (_, 401) => (
            ErrorKind::CredentialsRefused,
            "the server refused the client",
            false,
        ),
        ("", 404 | 405 | 410) => (
            ErrorKind::Configuration,
            "there is no token endpoint at this address",
            false,
        ),
        ("", 407) => (
            ErrorKind::Configuration,
            "the proxy asks for credentials",
            false,
        ),
        ("", _) => (
            ErrorKind::RequestRefused,
            "the server refused the token request and gave no reason",
            false,
        ),
        _ => (
            ErrorKind::RequestRefused,
            "the server refused the token request",
            false,
        ),
    };
    let mut error = TokenError::new(kind, message)
        .with_status(status)
        .with_transient(transient);
    if let Some(hint) = hint(code, status, about) {
        error = error.with_hint(hint);
    }
    match oauth_error {
        Some(oauth_error) => error.with_oauth_error(oauth_error),
        None => error,
    }
}

fn hint(code: &str, status: StatusCode, about: &About) -> Option<Cow<'static, str>> {
    let hint = match (code, status.as_u16()) {
        (code, 200 | 400 | 401) if about.refused.contains(&code) => about.hint,
        ("invalid_client", _) | ("", 401 | 403) => {
            "check `client_id` and `client_secret`, and that the server expects this way of authentication"
        }
        ("invalid_scope", _) => "ask only for scopes that are assigned to this client",
        ("invalid_target", _) => {
            "ask only for resources and audiences that the server knows for this client"
        }
        ("invalid_request", _) => {
            "check the extra parameters, and in which encoding the server expects `client_id` and `client_secret`"
        }
        ("unauthorized_client" | "unsupported_grant_type", _) => {
            return Some(format!("have the grant `{}` enabled for this client", about.name).into());
        }
        ("", 404 | 405 | 410) => "check `token_endpoint`",
        ("", 407) => "set the proxy's user name and password with `proxy_credentials`",
        _ => return None,
    };
    Some(hint.into())
}

/// Says how long the server asks to be left alone, where it does.
pub(crate) fn with_wait(error: TokenError, headers: &HeaderMap, now: SystemTime) -> TokenError {
    match retry_after(headers, now) {
        Some(wait) => error.with_retry_after(wait),
        None => error,
    }
}

/// Says what to check in the words of whoever made what was refused, where those are there.
pub(crate) fn with_hint(error: TokenError, hint: Option<&Cow<'static, str>>) -> TokenError {
    match hint {
        Some(hint) if error.kind() == ErrorKind::CredentialsRefused => {
            error.with_hint(hint.clone())
        }
        _ => error,
    }
}

/// How long the server asks to be left alone (RFC 9110 section 10.2.3): seconds, or a date, which is read against the
/// server's own `Date` so that a clock that is off does no harm. What cannot be read is ignored.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok();
    let wanted = text(header::RETRY_AFTER)?.trim();
    if is_digits(wanted) {
        return Some(Duration::from_secs(wanted.parse().unwrap_or(u64::MAX)));
    }
    let until = httpdate::parse_http_date(wanted).ok()?;
    let server_now = text(header::DATE)
        .and_then(|date| httpdate::parse_http_date(date).ok())
        .unwrap_or(now);
    Some(until.duration_since(server_now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: About =
        <crate::client_credentials::ClientCredentialsGrant as crate::grant::Grant>::ABOUT;

    fn check(status: u16, body: &str, kind: ErrorKind, transient: bool) -> TokenError {
        let status = StatusCode::from_u16(status).unwrap();
        let error = read(status, Some(body.as_bytes()), &TextFilter::new(), &CLIENT);
        assert_eq!(
            (error.kind(), error.is_transient()),
            (kind, transient),
            "{status} {body}"
        );
        assert_eq!(error.status(), Some(status));
        error
    }

    // covers: C-26, C-28, C-29, F-31, F-32, F-34, F-35, F-52, F-55, F-56, F-57
    #[test]
    fn code_and_status_tell_who_is_at_fault() {
        use ErrorKind::{Configuration, CredentialsRefused, RequestRefused, Unavailable};
        let code = |code: &str| format!(r#"{{"error":"{code}"}}"#);
        for (status, body, kind, transient) in [
            (400, code("invalid_client"), CredentialsRefused, false),
            (401, code("invalid_client"), CredentialsRefused, false),
            (401, code("something_new"), CredentialsRefused, false),
            (500, code("invalid_client"), CredentialsRefused, false),
            (400, code("invalid_scope"), RequestRefused, false),
            (400, code("invalid_target"), RequestRefused, false),
            (400, code("invalid_grant"), RequestRefused, false),
            (400, code("invalid_request"), RequestRefused, false),
            (400, code("unauthorized_client"), RequestRefused, false),
            (400, code("unsupported_grant_type"), RequestRefused, false),
            (400, code("something_new"), RequestRefused, false),
            (404, code("something_new"), RequestRefused, false),
            (400, code("invalid_dpop_proof"), RequestRefused, false),
            (401, code("use_dpop_nonce"), RequestRefused, false),
            (400, code("temporarily_unavailable"), Unavailable, true),
            (400, code("slow_down"), Unavailable, true),
            (500, code("server_error"), Unavailable, true),
            (500, code("something_new"), Unavailable, true),
            (429, code("invalid_client"), Unavailable, true),
            (400, String::new(), RequestRefused, false),
            (400, "<html>no</html>".into(), RequestRefused, false),
            (400, "{}".into(), RequestRefused, false),
            (400, r#"{"error":17}"#.into(), RequestRefused, false),
            (401, String::new(), CredentialsRefused, false),
            (403, String::new(), CredentialsRefused, false),
            (404, String::new(), Configuration, false),
            (407, String::new(), Configuration, false),
            (408, String::new(), Unavailable, true),
            (429, String::new(), Unavailable, true),
            (500, String::new(), Unavailable, true),
            (501, String::new(), Unavailable, false),
            (502, String::new(), Unavailable, true),
            (503, "<html>".into(), Unavailable, true),
            (504, String::new(), Unavailable, true),
            (505, String::new(), Unavailable, false),
        ] {
            check(status, &body, kind, transient);
        }
    }

    // covers: F-31
    #[test]
    fn a_refusal_without_a_reason_says_so_and_quotes_nothing() {
        let error = check(403, "CANARY <script>", ErrorKind::CredentialsRefused, false);
        let text = format!("{error} {error:?}");
        assert!(
            text.contains("gave no reason") && text.contains("HTTP 403"),
            "{text}"
        );
        assert!(!text.contains("CANARY"), "{text}");
    }

    // covers: F-32, F-33, C-27
    #[test]
    fn what_the_server_said_is_kept_escaped_and_cut() {
        let body = format!(
            r#"{{"error":"odd_code","error_description":"a\u001b[1mb{}"}}"#,
            "x".repeat(1 << 20)
        );
        let error = check(400, &body, ErrorKind::RequestRefused, false);
        let said = error.oauth_error().unwrap();
        assert_eq!(said.code(), "odd_code");
        let description = said.description().unwrap();
        assert!(description.starts_with("a\\u{1b}[1mb") && description.len() < 300);
    }

    // covers: F-52, F-53, F-54
    #[test]
    fn retry_after_is_read_in_both_forms() {
        let now = httpdate::parse_http_date("Tue, 24 Nov 2026 10:00:00 GMT").unwrap();
        let check = |retry_after: &str, date: Option<&str>, expect: Option<u64>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, retry_after.parse().unwrap());
            if let Some(date) = date {
                headers.insert(header::DATE, date.parse().unwrap());
            }
            let expect = expect.map(Duration::from_secs);
            assert_eq!(super::retry_after(&headers, now), expect, "{retry_after}");
        };
        check("2", None, Some(2));
        check(" 120 ", None, Some(120));
        check("86400", None, Some(86_400));
        check("99999999999999999999999", None, Some(u64::MAX));
        check("Tue, 24 Nov 2026 10:00:30 GMT", None, Some(30));
        // The server's clock is an hour ahead of ours: its own difference counts.
        check(
            "Tue, 24 Nov 2026 11:00:30 GMT",
            Some("Tue, 24 Nov 2026 11:00:00 GMT"),
            Some(30),
        );
        check("Tue, 24 Nov 2026 09:00:00 GMT", None, Some(0));
        for garbage in ["soon", "-1", "1.5", "", "2 seconds"] {
            check(garbage, None, None);
        }
        assert_eq!(super::retry_after(&HeaderMap::new(), now), None);
    }
}
