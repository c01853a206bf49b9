//! Token requests as a real server reads them: decoded by another decoder than the client's encoder, then checked.

use std::collections::HashSet;

use serde_json::Value;
use wiremock::Request;

use crate::record::{Refusal, TokenRequestRecord};

mod context;
mod jwt_bearer;
mod refresh_token;
mod token_exchange;
mod tokens;

pub(crate) use context::{AcceptedGrant, ServerState};
use context::{authenticate, scopes};
pub(crate) use tokens::{KnownTokens, RefreshTokens};

/// The parameter and the response's member of RFC 9396.
const DETAILS: &str = "authorization_details";

/// Grants or refuses, following RFC 6749 sections 3.2, 4.4 and 5.2; the other grants have modules of their own.
pub(crate) fn decide(
    request: &Request,
    record: &mut TokenRequestRecord,
    state: &mut ServerState<'_>,
) -> Result<AcceptedGrant, Refusal> {
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
    let decision = match grant_type {
        "client_credentials" => {
            let client = authenticate(record, state.clients, state.assertions)?;
            scopes(record, &client.scopes).map(|scopes| AcceptedGrant::new(client, scopes))
        }
        jwt_bearer::GRANT => jwt_bearer::decide(record, state),
        refresh_token::GRANT => refresh_token::decide(record, state),
        token_exchange::GRANT => token_exchange::decide(record, state),
        _ => {
            return Err((400, "unsupported_grant_type", "this grant is not supported"));
        }
    };
    let mut granted = decision?;
    if let Some(text) = record.parameter(DETAILS) {
        granted.more.push((DETAILS, details(text)?));
    }
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

/// Grants the requested authorization details as they are (RFC 9396 sections 2 and 5).
fn details(text: &str) -> Result<Value, Refusal> {
    let details = serde_json::from_str(text).unwrap_or_default();
    let is_typed = |element: &Value| element["type"].is_string();
    match &details {
        Value::Array(elements) if !elements.is_empty() && elements.iter().all(is_typed) => {
            Ok(details)
        }
        _ => Err((
            400,
            "invalid_authorization_details",
            "authorization_details is an array of objects with a type",
        )),
    }
}
