//! The JWT bearer grant (RFC 7523 sections 2.1 and 3), checked like a strict server does.

use super::{Granted, Known, Refusal, TokenRequestRecord, authenticate, scopes};
use crate::assertion::claims;

pub(crate) const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The parameters that name or authenticate a client. Without any, only the assertion counts (RFC 7521 section 4.1).
const CLIENT: [&str; 3] = ["client_id", "client_secret", "client_assertion"];

pub(super) fn judge(
    record: &mut TokenRequestRecord,
    known: &mut Known<'_>,
) -> Result<Granted, Refusal> {
    let refused = |why| Err((400, "invalid_grant", why));
    let named = CLIENT.iter().any(|name| record.parameter(name).is_some());
    if named || record.header("authorization").is_some() {
        authenticate(record, known.clients, known.assertions)?;
    }
    let Some(assertion) = record.parameter("assertion") else {
        return Err((400, "invalid_request", "assertion is missing"));
    };
    let Some(claims) = claims(assertion) else {
        return Err((400, "invalid_request", "the assertion is no JWT"));
    };
    let issuer = known
        .clients
        .iter()
        .find(|client| claims["iss"] == client.id);
    let Some(issuer) = issuer.filter(|issuer| issuer.signed(assertion)) else {
        return refused("the assertion is not signed by an issuer that is known");
    };
    if claims["sub"].as_str().is_none_or(str::is_empty) {
        return refused("sub is missing");
    }
    if let Err(why) = known.assertions.check(&claims) {
        return refused(why);
    }
    let scopes = scopes(record, &issuer.scopes)?;
    Ok(Granted::new(issuer, scopes))
}
