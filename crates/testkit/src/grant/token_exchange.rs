//! Token exchange (RFC 8693), checked like a strict server does.

use super::context::{AcceptedGrant, ServerState, authenticate, scopes};
use crate::record::{Refusal, TokenRequestRecord};

pub(crate) const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

pub(super) fn decide(
    record: &mut TokenRequestRecord,
    state: &mut ServerState<'_>,
) -> Result<AcceptedGrant, Refusal> {
    let invalid = |why| Err((400, "invalid_request", why));
    let client = authenticate(record, state.clients, state.assertions)?;
    let good = |token: &str, token_type: &str| {
        state.tokens.hold(token, token_type) || token_type == ACCESS_TOKEN && (state.lives)(token)
    };
    match (
        record.parameter("subject_token"),
        record.parameter("subject_token_type"),
    ) {
        (Some(token), Some(token_type)) if good(token, token_type) => {}
        (Some(_), Some(_)) => return invalid("the subject's token is not valid"),
        _ => return invalid("subject_token or subject_token_type is missing"),
    }
    match (
        record.parameter("actor_token"),
        record.parameter("actor_token_type"),
    ) {
        (None, None) => {}
        (Some(token), Some(token_type)) if good(token, token_type) => {}
        (Some(_), Some(_)) => return invalid("the actor's token is not valid"),
        _ => return invalid("actor_token and actor_token_type come together"),
    }
    let issued = record
        .parameter("requested_token_type")
        .unwrap_or(ACCESS_TOKEN);
    if issued != ACCESS_TOKEN && issued != JWT {
        return invalid("that type of token is not issued");
    }
    let mut granted = AcceptedGrant::new(client, scopes(record, &client.scopes)?);
    granted.more.push(("issued_token_type", issued.into()));
    Ok(granted)
}
