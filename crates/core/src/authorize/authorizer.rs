use std::{fmt, sync::Arc};

use super::{forbidden::ForbiddenResponses, head::RequestHead, observe::Observe};
use crate::{Clock, TokenError, TokenRequest, TokenSource, origin::Origin};

/// The policy that decides which requests get a token: a token source with a list of allowed origins.
///
/// Build one when the program starts and pass it to an integration. A clone costs one reference count. A decision
/// allocates nothing if the token is cached, and costs one reference count too.
///
/// ```
/// # fn example(source: impl hallpass_core::TokenSource + 'static) -> Result<(), Box<dyn std::error::Error>> {
/// use hallpass_core::{TokenRequest, authorize::Authorizer};
///
/// let invoices = TokenRequest::new().with_scopes("invoices.read".parse()?);
/// let authorizer = Authorizer::builder(source)
///     .allow_origin("https://orders.example")
///     .allow_origin_with("https://billing.example:8443", invoices)
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Authorizer(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) observe: Observe,
    pub(super) source: Arc<dyn TokenSource>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) allowed: Vec<AllowedOrigin>,
    pub(super) replace_authorization: bool,
    pub(super) pass_other_origins: bool,
}

/// An allowed origin, with the token request for it.
pub(super) struct AllowedOrigin {
    pub(super) origin: Origin,
    pub(super) request: Choice,
    /// Set if a 403 of this origin may stand for a refused token.
    pub(super) forbidden: Option<ForbiddenResponses>,
}

/// The choice of the token request for an origin.
pub(super) enum Choice {
    Fixed(TokenRequest),
    ByRequest(Box<ChooseRequest>),
}

/// A function that reads the token request from a request to the API.
pub(super) type ChooseRequest =
    dyn Fn(RequestHead<'_>) -> Result<TokenRequest, TokenError> + Send + Sync;

impl Choice {
    #[inline]
    pub(super) fn request(&self, head: RequestHead<'_>) -> Result<TokenRequest, TokenError> {
        match self {
            Self::Fixed(request) => Ok(request.clone()),
            Self::ByRequest(choose) => choose(head),
        }
    }

    /// Returns true if both are known to choose the same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Fixed(one), Self::Fixed(other)) if one == other)
    }
}

impl Authorizer {
    /// Returns the origins that tokens may go to.
    pub fn origins(&self) -> impl Iterator<Item = &Origin> {
        self.0.allowed.iter().map(|allowed| &allowed.origin)
    }

    /// Returns the source that tokens come from.
    pub fn source(&self) -> &Arc<dyn TokenSource> {
        &self.0.source
    }
}

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origins: Vec<_> = self.origins().map(ToString::to_string).collect();
        f.debug_struct("Authorizer")
            .field("name", &self.0.observe.authorizer)
            .field("origins", &origins)
            .field("replace_authorization", &self.0.replace_authorization)
            .field("pass_other_origins", &self.0.pass_other_origins)
            .finish_non_exhaustive()
    }
}
