//! Token exchange (RFC 8693), checked like a strict server does.

use super::{Granted, Known, Refusal, TokenRequestRecord, authenticate, scopes};

pub(crate) const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// Tokens of other issuers, each with its type.
#[derive(Default)]
pub(crate) struct KnownTokens(Vec<(String, String)>);

impl KnownTokens {
    pub(crate) fn trust(&mut self, token: &str, token_type: &str) {
        self.0.push((token.to_owned(), token_type.to_owned()));
    }

    pub(crate) fn distrust(&mut self, token: &str) {
        self.0.retain(|(known, _)| known != token);
    }

    fn hold(&self, token: &str, token_type: &str) -> bool {
        let mut known = self.0.iter();
        known.any(|(known, its_type)| known == token && its_type == token_type)
    }
}

pub(super) fn judge(
    record: &mut TokenRequestRecord,
    known: &mut Known<'_>,
) -> Result<Granted, Refusal> {
    let invalid = |why| Err((400, "invalid_request", why));
    let client = authenticate(record, known.clients, known.assertions)?;
    let good = |token: &str, token_type: &str| {
        known.tokens.hold(token, token_type) || token_type == ACCESS_TOKEN && (known.lives)(token)
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
    let mut granted = Granted::new(client, scopes(record, &client.scopes)?);
    granted.more.push(("issued_token_type", issued.to_owned()));
    Ok(granted)
}
