//! The parameters of one attempt, without the client's credentials.

use std::{fmt, time::SystemTime};

use hallpass_core::{AccessToken, Hint, ScopeSet, Secret, Timestamp};
use zeroize::Zeroizing;

use crate::Assertion;

/// The form of one attempt.
pub struct Form {
    body: Zeroizing<Vec<u8>>,
    /// The grant's inputs, for comparison after a refusal and for redaction of echoes.
    pub(crate) inputs: Vec<Input>,
    /// The latest expiry among the inputs: a token must not outlive it.
    pub(crate) ends: Option<Timestamp>,
    /// The scopes that a response without any grants, if not the requested ones.
    pub(crate) scopes: Option<ScopeSet>,
}

/// An input of a grant, besides the client's own credentials.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    Assertion(Assertion),
    Secret(Secret),
    Token(AccessToken),
}

impl Form {
    pub(crate) fn new(body: Zeroizing<Vec<u8>>, inputs: Vec<Input>) -> Self {
        Self {
            body,
            inputs,
            ends: None,
            scopes: None,
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// Returns true if this form has other inputs than the one before.
    pub(crate) fn differs(&self, before: &Self, epoch_changed: bool) -> bool {
        let mut pairs = self.inputs.iter().zip(&before.inputs);
        pairs.any(|(now, before)| now.differs(before, epoch_changed))
    }

    /// Returns true if another form has the same inputs, or inputs signed with the same keys, while the epoch stays the
    /// same.
    pub(crate) fn is_fixed(&self) -> bool {
        self.inputs.iter().all(
            |input| matches!(input, Input::Assertion(assertion) if assertion.provenance().fixed),
        )
    }

    /// Returns the time at which it was made, if it is valid only around that time.
    pub(crate) fn created_at(&self) -> Option<SystemTime> {
        self.assertions()
            .find_map(|assertion| assertion.provenance().created_at)
    }

    /// Returns the hint that is shown if it is refused.
    pub(crate) fn refusal_hint(&self) -> Option<&Hint> {
        self.assertions()
            .find_map(|assertion| assertion.provenance().refusal_hint.as_ref())
    }

    pub(crate) fn assertions(&self) -> impl Iterator<Item = &Assertion> {
        self.inputs.iter().filter_map(|input| match input {
            Input::Assertion(assertion) => Some(assertion),
            Input::Secret(_) | Input::Token(_) => None,
        })
    }
}

impl Input {
    pub(crate) fn expose(&self) -> &str {
        match self {
            Self::Assertion(assertion) => assertion.expose(),
            Self::Secret(secret) => secret.expose(),
            Self::Token(token) => token.expose(),
        }
    }

    fn differs(&self, before: &Self, epoch_changed: bool) -> bool {
        match (self, before) {
            (Self::Assertion(now), Self::Assertion(before)) => now.differs(before, epoch_changed),
            (Self::Secret(now), Self::Secret(before)) => !now.matches(before),
            (Self::Token(now), Self::Token(before)) => !now.is_same(before),
            _ => true,
        }
    }
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Form")
            .field("inputs", &self.inputs)
            .field("ends", &self.ends)
            .finish_non_exhaustive()
    }
}
