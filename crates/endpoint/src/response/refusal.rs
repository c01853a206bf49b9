//! Classification of a server's refusal (RFC 6749 section 5.2), with any status and body.

mod server_message;

use hallpass_core::{ErrorKind, Hint, OAuthError, TextFilter, TokenError};
use http::{StatusCode, header};

use super::{json::Members, skew::Skew, wording::Wording};
use crate::{hints, transport::Answer};
pub(crate) use server_message::ServerMessage;

/// Reads an `error` member in a 200: it takes precedence over everything else.
pub(crate) fn in_a_success(
    members: &Members<'_>,
    body: &[u8],
    mut filter: TextFilter,
    wording: &Wording,
) -> TokenError {
    if let Some(token) = members.text("access_token") {
        filter.add_secret(token);
    }
    let words = match server_message::oauth_error(members, &filter) {
        Some(error) => ServerMessage::OAuth(error),
        None => match server_message::vendor(body, &filter) {
            ServerMessage::Nothing => ServerMessage::OAuth(OAuthError::new("error")),
            words => words,
        },
    };
    classify(StatusCode::OK, words, false, wording)
}

/// Adds the server's own message to the error of a 200, which is a JSON object without a token.
pub(crate) fn explained(error: TokenError, body: &[u8], filter: &TextFilter) -> TokenError {
    match server_message::vendor(body, filter) {
        ServerMessage::Vendor(message) => error.with_server_message(&message),
        ServerMessage::OAuth(said) => error.with_oauth_error(said),
        ServerMessage::Page(_) | ServerMessage::Nothing => error,
    }
}

/// Reads a response with a status other than 200.
pub(crate) fn read(answer: &Answer, filter: &TextFilter, wording: &Wording) -> TokenError {
    let words = ServerMessage::from_answer(answer, filter);
    // RFC 9110 section 11.6.1: a server that refuses credentials names the scheme that it accepts.
    let challenged = answer.headers.contains_key(header::WWW_AUTHENTICATE);
    classify(answer.status, words, challenged, wording)
}

fn classify(
    status: StatusCode,
    words: ServerMessage,
    challenged: bool,
    wording: &Wording,
) -> TokenError {
    let code = match &words {
        ServerMessage::OAuth(error) => error.code(),
        _ => "",
    };
    // Some servers refuse credentials with a custom page.
    let page = matches!(words, ServerMessage::Page(_)) && !challenged;
    let silent = matches!(words, ServerMessage::Nothing);
    let (kind, message, transient) = classify_code(code, status, page, silent, wording);
    let mut error = TokenError::new(kind, message)
        .with_status(status)
        .with_transient(transient);
    if let Some(hint) = hint(code, status, page, silent, wording) {
        error = error.with_hint(hint);
    }
    match words {
        ServerMessage::OAuth(oauth_error) => error.with_oauth_error(oauth_error),
        ServerMessage::Vendor(message) | ServerMessage::Page(Some(message)) => {
            error.with_server_message(&message)
        }
        ServerMessage::Page(None) | ServerMessage::Nothing => error,
    }
}

/// Classifies the error and decides whether it is transient. A known code decides, unless the status shows that the
/// client was refused; otherwise the status decides, unless an intermediary answered.
fn classify_code(
    code: &str,
    status: StatusCode,
    page: bool,
    silent: bool,
    wording: &Wording,
) -> (ErrorKind, &'static str, bool) {
    use ErrorKind::{
        Configuration, CredentialsRefused, RequestRefused, Unavailable, UnusableResponse,
    };
    match (code, status.as_u16()) {
        (_, 429) => (Unavailable, "the server limits the request rate", true),
        (code, 200 | 400 | 401) if wording.input_refusals.contains(&code) => {
            (CredentialsRefused, wording.input_refused, false)
        }
        // Some servers use other codes for a wrong secret; the status shows their meaning.
        ("invalid_client", _) | ("access_denied" | "unauthorized_client" | "server_error", 401) => {
            (
                CredentialsRefused,
                "the server refused the client's credentials",
                false,
            )
        }
        ("invalid_scope", _) => (
            RequestRefused,
            "the server refused the requested scopes",
            false,
        ),
        ("invalid_target", _) => (
            RequestRefused,
            "the server refused the requested resource or audience",
            false,
        ),
        ("invalid_authorization_details", _) => (
            RequestRefused,
            "the server refused the requested authorization details",
            false,
        ),
        ("unsupported_token_type", _) if wording.is_about_token() => (
            RequestRefused,
            "the server does not support this for tokens of this type (RFC 7009 section 2.2.1)",
            false,
        ),
        ("unauthorized_client" | "unsupported_grant_type", _) if !wording.is_about_token() => (
            RequestRefused,
            "the server does not allow this grant for this client",
            false,
        ),
        (
            "invalid_request"
            | "invalid_grant"
            | "access_denied"
            | "unauthorized_client"
            | "unsupported_grant_type",
            _,
        ) => (RequestRefused, wording.endpoint.refused, false),
        ("invalid_dpop_proof" | "use_dpop_nonce", _) => (
            RequestRefused,
            "the server refused the proof of possession",
            false,
        ),
        ("temporarily_unavailable" | "slow_down" | "server_error", _) => {
            (Unavailable, wording.endpoint.unavailable, true)
        }
        (_, 408) => (
            Unavailable,
            "the server timed out waiting for the request",
            true,
        ),
        (_, 501 | 505) => (
            Unavailable,
            "the server does not support the request",
            false,
        ),
        (_, 500..=599) => (Unavailable, "the server returned an error", true),
        ("", 401 | 403) if page => (
            UnusableResponse,
            "a web page was received instead of the server's response",
            false,
        ),
        ("", 401 | 403) if silent => (
            CredentialsRefused,
            "the server refused the client and gave no reason",
            false,
        ),
        ("", 401 | 403) | (_, 401) => (CredentialsRefused, "the server refused the client", false),
        ("", 404 | 405 | 410) => (Configuration, wording.endpoint.missing, false),
        ("", 407) => (Configuration, "the proxy requires credentials", false),
        ("", 415) => (Configuration, "the server does not accept a form", false),
        ("", _) if silent => (
            RequestRefused,
            "the server refused the request and gave no reason",
            false,
        ),
        ("", _) if page => (
            RequestRefused,
            "a web page refused the request instead of the server",
            false,
        ),
        _ => (RequestRefused, wording.endpoint.refused, false),
    }
}

fn hint(
    code: &str,
    status: StatusCode,
    page: bool,
    silent: bool,
    wording: &Wording,
) -> Option<Hint> {
    Some(match (code, status.as_u16()) {
        (code, 200 | 400 | 401) if wording.input_refusals.contains(&code) => wording.input_hint.into(),
        ("", 407) => hints::PROXY_CREDENTIALS,
        ("", 404 | 405 | 410) => wording.endpoint.address_hint.clone(),
        ("", 415) if wording.is_about_token() => wording.endpoint.address_hint.clone(),
        ("", 415) => hints::NO_FORMS,
        ("", 400..=499) if page => hints::WEB_PAGE,
        ("invalid_client", _) | ("" | "access_denied" | "server_error", 401) | ("", 403) => {
            hints::CREDENTIALS
        }
        ("unauthorized_client", 401) if wording.is_about_token() => hints::CREDENTIALS,
        ("unauthorized_client" | "unsupported_grant_type" | "access_denied", _)
            if wording.is_about_token() =>
        {
            let request = wording.endpoint.request;
            format!("allow {request}s for this client at the server").into()
        }
        // Keycloak uses this code for a wrong secret, and also for a client without the grant.
        ("unauthorized_client", 401) => format!(
            "check `client_id` and `client_secret`; if they are correct, enable the grant `{}` for this client",
            wording.grant
        )
        .into(),
        ("access_denied", _) => {
            "request only scopes, resources and audiences that this client may use".into()
        }
        ("invalid_scope", _) => "request only scopes that are assigned to this client".into(),
        ("invalid_target", _) => {
            "request only resources and audiences that are assigned to this client".into()
        }
        ("invalid_authorization_details", _) => hints::DETAILS,
        ("invalid_request", _) => hints::PARAMETERS,
        ("unauthorized_client" | "unsupported_grant_type", _) => {
            format!("enable the grant `{}` for this client", wording.grant).into()
        }
        ("", 400) if silent && !wording.is_about_token() => format!(
            "check that the server supports the grant `{}`, and the scopes, resources and extra parameters",
            wording.grant
        )
        .into(),
        _ => return None,
    })
}

/// The hints for one error, apart from the general one, which it has already.
pub(crate) struct Advice<'a> {
    /// The clock skew that explains a refusal of dated credentials.
    pub(crate) skew: Option<Skew>,
    pub(crate) adapter_hint: Option<Hint>,
    /// The hint of a refused DPoP proof.
    pub(crate) proof_hint: Option<Hint>,
    /// The hint of the refused credentials or input.
    pub(crate) refused_hint: Option<&'a Hint>,
}

/// Picks the hint: clock skew, the adapter's, the proof's, the refused credential's, the general one.
pub(crate) fn advise(error: TokenError, advice: Advice<'_>) -> TokenError {
    let refused = error.kind() == ErrorKind::CredentialsRefused;
    let dated = refused || advice.proof_hint.is_some();
    let skew = advice.skew.filter(|_| dated);
    let hint = (skew.map(|skew| skew.to_string().into()))
        .or(advice.adapter_hint)
        .or(advice.proof_hint)
        .or_else(|| advice.refused_hint.filter(|_| refused).cloned());
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

#[cfg(test)]
mod tests;
