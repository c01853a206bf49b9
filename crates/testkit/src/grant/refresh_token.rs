//! Refresh tokens (RFC 6749 section 6), with rotation and reuse detection as in RFC 9700 section 4.14.2.

use super::context::{AcceptedGrant, ServerState, authenticate, scopes};
use crate::record::{Refusal, TokenRequestRecord};

pub(crate) const GRANT: &str = "refresh_token";

pub(super) fn decide(
    record: &mut TokenRequestRecord,
    state: &mut ServerState<'_>,
) -> Result<AcceptedGrant, Refusal> {
    let client = authenticate(record, state.clients, state.assertions)?;
    let Some(token) = record.parameter("refresh_token") else {
        return Err((400, "invalid_request", "refresh_token is missing"));
    };
    let given = state.refresh_tokens.find(token);
    let Some(given) = given.filter(|given| given.client_id == client.id) else {
        return Err((400, "invalid_grant", "no such refresh token"));
    };
    if !given.live {
        // The first user may have been an attacker.
        let family = given.family;
        state.refresh_tokens.revoke(family);
        return Err((400, "invalid_grant", "the refresh token was used before"));
    }
    let mut granted = AcceptedGrant::new(client, scopes(record, &given.scopes)?);
    granted.used = Some(token.to_owned());
    Ok(granted)
}
