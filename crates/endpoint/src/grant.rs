//! What a grant asks: the one thing in which the sources of this crate differ.

use std::fmt;

use async_trait::async_trait;
use hallpass_core::{AccessToken, Secret, TokenError, TokenRequest};
use zeroize::Zeroizing;

use crate::{AuthenticationContext, client::Client, response::Granted};

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
    ) -> Result<Form<'_>, TokenError>;

    /// A number that changes when what the grant stands on does.
    fn epoch(&self) -> u64 {
        0
    }

    /// The server refused what the form was made from.
    fn refused(&self, form: &Form<'_>) {
        let _ = form;
    }

    /// Takes what was granted; what the answer lacks for this grant is an error.
    async fn accept(&self, granted: Granted) -> Result<AccessToken, TokenError> {
        Ok(granted.token)
    }
}

/// A source by one grant: what the builder builds. Sealed.
pub trait Source: Sized {
    type Grant: Grant;

    fn of(client: Client<Self::Grant>) -> Self;
}

/// What errors say about a grant.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// The name under which servers have it, for hints.
    pub(crate) name: &'static str,
    /// The codes by which a server refuses what the grant stands on, which is a credential then.
    pub(crate) refused: &'static [&'static str],
    pub(crate) message: &'static str,
    pub(crate) hint: &'static str,
}

/// The form of one attempt.
#[derive(Debug)]
pub struct Form<'a> {
    pub(crate) body: Body<'a>,
    /// What it was made from, so that another one can be told from it after a refusal, and an echo is not shown.
    pub(crate) secrets: Vec<Secret>,
    /// Was one of the secrets made for this attempt alone? Then only its maker can tell whether it changed.
    pub(crate) made: bool,
}

pub(crate) enum Body<'a> {
    Borrowed(&'a [u8]),
    Owned(Zeroizing<Vec<u8>>),
}

impl Form<'_> {
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.body {
            Body::Borrowed(body) => body,
            Body::Owned(body) => body,
        }
    }

    /// Is this one made from others than the one before?
    pub(crate) fn differs(&self, before: &Self) -> bool {
        let pairs = self.secrets.iter().zip(&before.secrets);
        !self.made && pairs.into_iter().any(|(now, before)| !now.matches(before))
    }
}

impl fmt::Debug for Body<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body(..)")
    }
}
