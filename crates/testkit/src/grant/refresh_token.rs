//! Refresh tokens (RFC 6749 section 6), with rotation and reuse detection as in RFC 9700 section 4.14.2.

use std::collections::HashMap;

use hallpass_core::ScopeSet;

use super::{Granted, Known, Refusal, TokenRequestRecord, authenticate, scopes};

pub(crate) const GRANT: &str = "refresh_token";

/// Every refresh token that was issued.
pub(crate) struct RefreshTokens {
    given: HashMap<String, Given>,
    pub(crate) rotate: bool,
}

struct Given {
    client_id: String,
    scopes: ScopeSet,
    /// The number shared by all tokens of one sign-in.
    family: usize,
    live: bool,
}

impl RefreshTokens {
    pub(crate) fn new() -> Self {
        Self {
            given: HashMap::new(),
            rotate: true,
        }
    }

    /// Issues the first token of a family.
    pub(crate) fn give(&mut self, token: &str, client_id: &str, scopes: ScopeSet) {
        let given = Given {
            client_id: client_id.to_owned(),
            scopes,
            family: self.given.len(),
            live: true,
        };
        self.given.insert(token.to_owned(), given);
    }

    /// Replaces the used token with `next`.
    pub(crate) fn rotate(&mut self, used: &str, next: &str) {
        if let Some(before) = self.given.get_mut(used) {
            before.live = false;
            let given = Given {
                client_id: before.client_id.clone(),
                scopes: before.scopes.clone(),
                live: true,
                ..*before
            };
            self.given.insert(next.to_owned(), given);
        }
    }

    pub(crate) fn live(&self) -> impl Iterator<Item = &str> {
        let live = self.given.iter().filter(|(_, given)| given.live);
        live.map(|(token, _)| token.as_str())
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &str> {
        self.given.keys().map(String::as_str)
    }

    pub(crate) fn revoke(&mut self, family: usize) {
        for given in self.given.values_mut() {
            given.live &= given.family != family;
        }
    }
}

pub(super) fn judge(
    record: &mut TokenRequestRecord,
    known: &mut Known<'_>,
) -> Result<Granted, Refusal> {
    let client = authenticate(record, known.clients, known.assertions)?;
    let Some(token) = record.parameter("refresh_token") else {
        return Err((400, "invalid_request", "refresh_token is missing"));
    };
    let given = known.refresh_tokens.given.get(token);
    let Some(given) = given.filter(|given| given.client_id == client.id) else {
        return Err((400, "invalid_grant", "no such refresh token"));
    };
    if !given.live {
        // The first user may have been an attacker.
        let family = given.family;
        known.refresh_tokens.revoke(family);
        return Err((400, "invalid_grant", "the refresh token was used before"));
    }
    let mut granted = Granted::new(client, scopes(record, &given.scopes)?);
    granted.used = Some(token.to_owned());
    Ok(granted)
}
