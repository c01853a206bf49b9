//! Grants: the only part in which the sources of this crate differ.

use std::{fmt, time::SystemTime};

use async_trait::async_trait;
use hallpass_core::{AccessToken, Hint, Secret, Timestamp, TokenError, TokenRequest};
use zeroize::Zeroizing;

use crate::{Assertion, AuthenticationContext, exchange::client::Client, response::token::Granted};

/// A grant: how its requests are written and its responses read. Sealed: used in public bounds only.
#[async_trait]
pub trait Grant: Send + Sync + fmt::Debug {
    /// The grant's wording for errors.
    const ABOUT: About;

    /// Creates the form of one attempt, without the client's credentials.
    async fn form(
        &self,
        request: &TokenRequest,
        context: &AuthenticationContext<'_>,
    ) -> Result<Form, TokenError>;

    /// Returns a number that changes when the grant's inputs do.
    fn epoch(&self) -> u64 {
        0
    }

    /// Reports that the server refused the inputs of the form.
    fn refused(&self, form: &Form) {
        let _ = form;
    }

    /// Accepts the response to a form; an error if it lacks what this grant needs.
    async fn accept(&self, granted: Granted, form: &Form) -> Result<AccessToken, TokenError> {
        let _ = form;
        granted.token
    }
}

/// A source that uses one grant: the bound for a function that configures the [`SourceBuilder`](crate::SourceBuilder)
/// of any of them. Only this crate's sources implement it.
///
/// ```
/// use hallpass_endpoint::{Retry, Source, SourceBuilder};
///
/// fn house_rules<S: Source>(builder: SourceBuilder<S>) -> SourceBuilder<S> {
///     builder.retry(Retry::new().max_retries(4)).require_granted_scopes()
/// }
/// ```
pub trait Source: Sized {
    #[doc(hidden)]
    type Grant: Grant;

    #[doc(hidden)]
    fn of(client: Client<Self::Grant>) -> Self;
}

/// The wording of errors about a grant.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// The name that servers use, for hints; empty for a request about a token.
    pub(crate) name: &'static str,
    /// The input of its form, for errors.
    pub(crate) material: &'static str,
    /// The error codes with which a server refuses the grant's input, which counts as a credential then.
    pub(crate) refused: &'static [&'static str],
    pub(crate) message: &'static str,
    pub(crate) hint: &'static str,
}

impl About {
    /// Creates the wording of a grant without an input besides the client's credentials.
    pub(crate) const fn of_the_client(name: &'static str) -> Self {
        Self {
            name,
            material: "the token request",
            refused: &[],
            message: "",
            hint: "",
        }
    }
}

/// The form of one attempt.
pub struct Form {
    body: Zeroizing<Vec<u8>>,
    /// The grant's inputs, for comparison after a refusal and for redaction of echoes.
    pub(crate) grounds: Vec<Ground>,
    /// The latest expiry among the inputs: a token must not outlive it.
    pub(crate) ends: Option<Timestamp>,
}

/// An input of a grant, besides the client's own credentials.
#[derive(Debug)]
pub(crate) enum Ground {
    Assertion(Assertion),
    Secret(Secret),
    Token(AccessToken),
}

impl Form {
    pub(crate) fn new(body: Zeroizing<Vec<u8>>, grounds: Vec<Ground>) -> Self {
        Self {
            body,
            grounds,
            ends: None,
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// Returns true if this form has other inputs than the one before.
    pub(crate) fn differs(&self, before: &Self, epoch_changed: bool) -> bool {
        let mut pairs = self.grounds.iter().zip(&before.grounds);
        pairs.any(|(now, before)| now.differs(before, epoch_changed))
    }

    /// Returns the time at which it was made, if it is valid only around that time.
    pub(crate) fn dated(&self) -> Option<SystemTime> {
        self.assertions().find_map(|assertion| assertion.dated)
    }

    /// Returns the hint that is shown if it is refused.
    pub(crate) fn hint(&self) -> Option<&Hint> {
        self.assertions()
            .find_map(|assertion| assertion.hint.as_ref())
    }

    pub(crate) fn assertions(&self) -> impl Iterator<Item = &Assertion> {
        self.grounds.iter().filter_map(|ground| match ground {
            Ground::Assertion(assertion) => Some(assertion),
            Ground::Secret(_) | Ground::Token(_) => None,
        })
    }
}

impl Ground {
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
            .field("grounds", &self.grounds)
            .field("ends", &self.ends)
            .finish_non_exhaustive()
    }
}
