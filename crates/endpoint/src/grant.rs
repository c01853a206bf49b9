//! What a grant asks: the one thing in which the sources of this crate differ.

use std::{fmt, time::SystemTime};

use async_trait::async_trait;
use hallpass_core::{AccessToken, Hint, Secret, Timestamp, TokenError, TokenRequest};
use zeroize::Zeroizing;

use crate::{Assertion, AuthenticationContext, client::Client, response::Granted};

/// How one grant writes its requests and takes the answers. Sealed: it is named in public bounds and nowhere else.
#[async_trait]
pub trait Grant: Send + Sync + fmt::Debug {
    /// What errors say about this grant.
    const ABOUT: About;

    /// The form of one attempt, without the client's proof.
    async fn form(
        &self,
        request: &TokenRequest,
        context: &AuthenticationContext<'_>,
    ) -> Result<Form, TokenError>;

    /// A number that changes when what the grant stands on does.
    fn epoch(&self) -> u64 {
        0
    }

    /// The server refused what the form was made from.
    fn refused(&self, form: &Form) {
        let _ = form;
    }

    /// Takes what was granted for a form; what the answer lacks for this grant is an error.
    async fn accept(&self, granted: Granted, form: &Form) -> Result<AccessToken, TokenError> {
        let _ = form;
        granted.token
    }
}

/// A source that uses one grant: the bound of a function that sets up the [`SourceBuilder`](crate::SourceBuilder) of
/// any of them. It is implemented by the sources of this crate alone.
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

/// What errors say about a grant.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// The name under which servers have it, for hints.
    pub(crate) name: &'static str,
    /// What its form is made from, for errors.
    pub(crate) material: &'static str,
    /// The codes by which a server refuses what the grant stands on, which is a credential then.
    pub(crate) refused: &'static [&'static str],
    pub(crate) message: &'static str,
    pub(crate) hint: &'static str,
}

impl About {
    /// For what stands on nothing but the client's own credentials.
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
    /// What it stands on, so that another one can be told from it after a refusal, and an echo is not shown.
    pub(crate) grounds: Vec<Ground>,
    /// When the latest of what it stands on ends: a token must not outlive that.
    pub(crate) ends: Option<Timestamp>,
}

/// Something that a grant stands on, besides the client's own credentials.
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

    /// Does this one stand on others than the one before?
    pub(crate) fn differs(&self, before: &Self, epoch_changed: bool) -> bool {
        let mut pairs = self.grounds.iter().zip(&before.grounds);
        pairs.any(|(now, before)| now.differs(before, epoch_changed))
    }

    /// When it was made, where it holds only around that time.
    pub(crate) fn dated(&self) -> Option<SystemTime> {
        self.assertions().find_map(|assertion| assertion.dated)
    }

    /// What to check where it is refused.
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
