//! The JWT bearer grant (RFC 7523 sections 2.1 and 3), checked like a strict server does.

use super::context::{AcceptedGrant, ServerState, authenticate, scopes};
use crate::{
    assertion::claims,
    record::{Refusal, TokenRequestRecord},
};

pub(crate) const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The parameters that name or authenticate a client. Without any, only the assertion counts (RFC 7521 section 4.1).
const CLIENT: [&str; 3] = ["client_id", "client_secret", "client_assertion"];

pub(super) fn decide(
    record: &mut TokenRequestRecord,
    state: &mut ServerState<'_>,
) -> Result<AcceptedGrant, Refusal> {
    let refused = |why| Err((400, "invalid_grant", why));
    let named = CLIENT.iter().any(|name| record.parameter(name).is_some());
    if named || record.header("authorization").is_some() {
        authenticate(record, state.clients, state.assertions)?;
    }
    let Some(assertion) = record.parameter("assertion") else {
        return Err((400, "invalid_request", "assertion is missing"));
    };
    let Some(claims) = claims(assertion) else {
        return Err((400, "invalid_request", "the assertion is not a JWT"));
    };
    let issuer = state
        .clients
        .iter()
        .find(|client| claims["iss"] == client.id);
    let Some(issuer) = issuer.filter(|issuer| issuer.signed(assertion)) else {
        return refused("the assertion is not signed by a known issuer");
    };
    if claims["sub"].as_str().is_none_or(str::is_empty) {
        return refused("sub is missing");
    }
    if let Err(why) = state.assertions.check(&claims) {
        return refused(why);
    }
    let scopes = scopes(record, &issuer.scopes)?;
    Ok(AcceptedGrant::new(issuer, scopes))
}
