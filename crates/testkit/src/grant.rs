//! Token requests as a real server reads them: decoded by another decoder than the client's encoder, then checked.

use std::{collections::HashSet, fmt};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hallpass_core::ScopeSet;
use url::form_urlencoded;
use wiremock::Request;

use crate::{
    assertion::Assertions,
    client::{AuthMethod, Client},
};

mod jwt_bearer;
mod refresh_token;
mod token_exchange;

pub(crate) use refresh_token::RefreshTokens;
pub(crate) use token_exchange::KnownTokens;

/// A token request with the status of its response. If the client sent the secret in the form, `form` holds it.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct TokenRequestRecord {
    /// The client's authentication method, if it could be read.
    pub method: Option<AuthMethod>,
    /// The client identifier in the request.
    pub client_id: Option<String>,
    /// The decoded form, in the order of the body.
    pub form: Vec<(String, String)>,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The HTTP status of the response.
    pub status: u16,
}

impl TokenRequestRecord {
    /// Returns the form's first parameter of this name.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.form.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns the first header of this name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl fmt::Debug for TokenRequestRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.form.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("TokenRequestRecord")
            .field("method", &self.method)
            .field("client_id", &self.client_id)
            .field("form", &names)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// A refusal: HTTP status, code of RFC 6749 section 5.2, and a sentence for people.
pub(crate) type Refusal = (u16, &'static str, &'static str);

/// A grant that the server accepts.
pub(crate) struct Granted {
    pub(crate) client_id: String,
    pub(crate) scopes: ScopeSet,
    /// Members of the response besides those of every grant.
    pub(crate) more: Vec<(&'static str, String)>,
    /// The refresh token that this grant consumed.
    pub(crate) used: Option<String>,
}

/// The state that the server checks requests against.
pub(crate) struct Known<'a> {
    pub(crate) clients: &'a [Client],
    pub(crate) assertions: &'a mut Assertions,
    pub(crate) tokens: &'a KnownTokens,
    /// Returns true if it is a live access token of this server.
    pub(crate) lives: &'a dyn Fn(&str) -> bool,
    pub(crate) refresh_tokens: &'a mut RefreshTokens,
}

/// Reads a request without checking it.
pub(crate) fn record(request: &Request) -> TokenRequestRecord {
    let headers = request.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    });
    TokenRequestRecord {
        headers: headers.collect(),
        form: form_urlencoded::parse(&request.body).into_owned().collect(),
        ..TokenRequestRecord::default()
    }
}

/// Grants or refuses, following RFC 6749 sections 3.2, 4.4 and 5.2; the other grants have modules of their own.
pub(crate) fn judge(
    request: &Request,
    record: &mut TokenRequestRecord,
    known: &mut Known<'_>,
) -> Result<Granted, Refusal> {
    const INVALID: &str = "invalid_request";
    if request.method.as_str() != "POST" {
        return Err((405, INVALID, "token requests are POST"));
    }
    let media = record.header("content-type").unwrap_or_default();
    let essence = media.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err((400, INVALID, "the content type is not that of a form"));
    }
    let in_query = |(name, _): (_, _)| name == "client_id" || name == "client_secret";
    if request.url.query_pairs().any(in_query) {
        return Err((400, INVALID, "credentials do not belong in the URL"));
    }
    let mut seen = HashSet::new();
    for (name, _) in &record.form {
        let may_repeat = name == "resource" || name == "audience";
        if !may_repeat && !seen.insert(name) {
            return Err((400, INVALID, "a parameter was sent twice"));
        }
    }
    let Some(grant_type) = record.parameter("grant_type") else {
        return Err((400, INVALID, "grant_type is missing"));
    };
    let judged = match grant_type {
        "client_credentials" => {
            let client = authenticate(record, known.clients, known.assertions)?;
            scopes(record, &client.scopes).map(|scopes| Granted::new(client, scopes))
        }
        jwt_bearer::GRANT => jwt_bearer::judge(record, known),
        refresh_token::GRANT => refresh_token::judge(record, known),
        token_exchange::GRANT => token_exchange::judge(record, known),
        _ => {
            return Err((400, "unsupported_grant_type", "this grant is not supported"));
        }
    };
    let granted = judged?;
    for (_, resource) in record.form.iter().filter(|(name, _)| name == "resource") {
        let legal = url::Url::parse(resource).is_ok_and(|url| url.fragment().is_none());
        if !legal {
            return Err((
                400,
                "invalid_target",
                "a resource is an absolute URI without a fragment",
            ));
        }
    }
    Ok(granted)
}

impl Granted {
    fn new(client: &Client, scopes: ScopeSet) -> Self {
        Self {
            client_id: client.id.clone(),
            scopes,
            more: Vec::new(),
            used: None,
        }
    }
}

/// Returns the requested scopes, or by default all that are allowed.
fn scopes(record: &TokenRequestRecord, most: &ScopeSet) -> Result<ScopeSet, Refusal> {
    let Some(scope) = record.parameter("scope") else {
        return Ok(most.clone());
    };
    let asked: ScopeSet = scope
        .parse()
        .map_err(|_| (400, "invalid_scope", "that is no scope"))?;
    if !most.missing(&asked).is_empty() {
        return Err((400, "invalid_scope", "that scope may not be had"));
    }
    Ok(asked)
}

/// Checks that the client uses exactly one method (RFC 6749 section 2.3), which it may use, with a valid secret.
fn authenticate<'a>(
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
                "more than one way of client authentication",
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
