//! The tokens that a server knows: its own refresh tokens, and the tokens of other issuers.

use std::collections::HashMap;

use hallpass_core::ScopeSet;

/// Every refresh token that was issued.
pub(crate) struct RefreshTokens {
    issued: HashMap<String, RefreshToken>,
    pub(crate) rotate: bool,
}

/// An issued refresh token.
pub(super) struct RefreshToken {
    pub(super) client_id: String,
    pub(super) scopes: ScopeSet,
    /// The number shared by all tokens of one sign-in.
    pub(super) family: usize,
    pub(super) live: bool,
}

impl RefreshTokens {
    pub(crate) fn new() -> Self {
        Self {
            issued: HashMap::new(),
            rotate: true,
        }
    }

    /// Issues the first token of a family.
    pub(crate) fn issue(&mut self, token: &str, client_id: &str, scopes: ScopeSet) {
        let given = RefreshToken {
            client_id: client_id.to_owned(),
            scopes,
            family: self.issued.len(),
            live: true,
        };
        self.issued.insert(token.to_owned(), given);
    }

    /// Replaces the used token with `next`.
    pub(crate) fn rotate(&mut self, used: &str, next: &str) {
        if let Some(before) = self.issued.get_mut(used) {
            before.live = false;
            let given = RefreshToken {
                client_id: before.client_id.clone(),
                scopes: before.scopes.clone(),
                live: true,
                ..*before
            };
            self.issued.insert(next.to_owned(), given);
        }
    }

    pub(super) fn find(&self, token: &str) -> Option<&RefreshToken> {
        self.issued.get(token)
    }

    pub(crate) fn live(&self) -> impl Iterator<Item = &str> {
        let live = self.issued.iter().filter(|(_, given)| given.live);
        live.map(|(token, _)| token.as_str())
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &str> {
        self.issued.keys().map(String::as_str)
    }

    pub(crate) fn revoke(&mut self, family: usize) {
        for given in self.issued.values_mut() {
            given.live &= given.family != family;
        }
    }
}

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

    pub(super) fn hold(&self, token: &str, token_type: &str) -> bool {
        let mut known = self.0.iter();
        known.any(|(known, its_type)| known == token && its_type == token_type)
    }
}
