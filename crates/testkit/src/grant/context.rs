//! The parts that the checks of all grants share.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hallpass_core::ScopeSet;
use serde_json::Value;
use url::form_urlencoded;

use super::tokens::{KnownTokens, RefreshTokens};
use crate::{
    assertion::Assertions,
    client::{AuthMethod, Client},
    record::{Refusal, TokenRequestRecord},
};

/// A grant that the server accepts.
pub(crate) struct AcceptedGrant {
    pub(crate) client_id: String,
    pub(crate) scopes: ScopeSet,
    /// Members of the response besides those of every grant.
    pub(crate) more: Vec<(&'static str, Value)>,
    /// The refresh token that this grant consumed.
    pub(crate) used: Option<String>,
}

/// The state that the server checks requests against.
pub(crate) struct ServerState<'a> {
    pub(crate) clients: &'a [Client],
    pub(crate) assertions: &'a mut Assertions,
    pub(crate) tokens: &'a KnownTokens,
    /// Returns true if it is a live access token of this server.
    pub(crate) lives: &'a dyn Fn(&str) -> bool,
    pub(crate) refresh_tokens: &'a mut RefreshTokens,
}

impl AcceptedGrant {
    pub(super) fn new(client: &Client, scopes: ScopeSet) -> Self {
        Self {
            client_id: client.id.clone(),
            scopes,
            more: Vec::new(),
            used: None,
        }
    }
}

/// Returns the requested scopes, or by default all that are allowed.
pub(super) fn scopes(record: &TokenRequestRecord, allowed: &ScopeSet) -> Result<ScopeSet, Refusal> {
    let Some(scope) = record.parameter("scope") else {
        return Ok(allowed.clone());
    };
    let requested: ScopeSet = scope
        .parse()
        .map_err(|_| (400, "invalid_scope", "the scope is malformed"))?;
    if !allowed.missing(&requested).is_empty() {
        return Err((400, "invalid_scope", "the scope is not allowed"));
    }
    Ok(requested)
}

/// Checks that the client uses exactly one method (RFC 6749 section 2.3), which it may use, with a valid secret.
pub(super) fn authenticate<'a>(
    record: &mut TokenRequestRecord,
    clients: &'a [Client],
    assertions: &mut Assertions,
) -> Result<&'a Client, Refusal> {
    const REFUSED: Refusal = (401, "invalid_client", "client authentication failed");
    let header = record.header("authorization").map(str::to_owned);
    let in_form = record.parameter("client_secret").map(str::to_owned);
    let assertion = record.parameter("client_assertion").map(str::to_owned);
    let (id, secret, method) = match (header, in_form, assertion) {
        (None, None, None) => return Err(REFUSED),
        (None, None, Some(assertion)) => {
            return assertions.authenticate(&assertion, record, clients);
        }
        (None, Some(secret), None) => {
            let id = record.parameter("client_id").ok_or(REFUSED)?.to_owned();
            (id, secret, AuthMethod::Post)
        }
        (Some(header), None, None) => basic(&header, clients).ok_or(REFUSED)?,
        _ => {
            return Err((
                400,
                "invalid_request",
                "more than one method of client authentication",
            ));
        }
    };
    record.method = Some(method);
    record.client_id = Some(id.clone());
    clients
        .iter()
        .find(|client| {
            client.id == id && client.secrets.contains(&secret) && client.methods.contains(&method)
        })
        .ok_or(REFUSED)
}

/// Reads a Basic header with the decoding that the client is registered for.
fn basic(header: &str, clients: &[Client]) -> Option<(String, String, AuthMethod)> {
    let encoded = header.strip_prefix("Basic ")?;
    let joined = String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok()?;
    let (id, secret) = joined.split_once(':')?;
    let raw = clients
        .iter()
        .any(|client| client.id == id && client.methods.contains(&AuthMethod::BasicRaw));
    if raw {
        return Some((id.to_owned(), secret.to_owned(), AuthMethod::BasicRaw));
    }
    Some((form_decode(id), form_decode(secret), AuthMethod::Basic))
}

fn form_decode(text: &str) -> String {
    // Escaped, since a `&` in the value would be read as the form's separator.
    let pair = format!("x={}", text.replace('&', "%26"));
    let value = form_urlencoded::parse(pair.as_bytes()).next();
    value
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}
