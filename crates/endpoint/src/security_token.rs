use std::{borrow::Cow, fmt, sync::Arc};

use hallpass_core::{SecretSource, Timestamp, TokenError, TokenRequest, TokenSource};

use crate::{BuildError, grant::Ground};

/// What kind of token one is, as token exchange names it (RFC 8693 section 3): a URI.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenTypeUri(Cow<'static, str>);

impl TokenTypeUri {
    /// An access token of the server that is asked, in whatever form.
    pub const ACCESS_TOKEN: Self = Self::known("urn:ietf:params:oauth:token-type:access_token");
    /// An ID token (OpenID Connect Core section 2).
    pub const ID_TOKEN: Self = Self::known("urn:ietf:params:oauth:token-type:id_token");
    /// A JWT (RFC 7519) of any issuer that the server trusts.
    pub const JWT: Self = Self::known("urn:ietf:params:oauth:token-type:jwt");
    /// A refresh token of the server that is asked.
    pub const REFRESH_TOKEN: Self = Self::known("urn:ietf:params:oauth:token-type:refresh_token");
    /// A SAML 1.1 assertion, base64url-encoded.
    pub const SAML1: Self = Self::known("urn:ietf:params:oauth:token-type:saml1");
    /// A SAML 2.0 assertion, base64url-encoded.
    pub const SAML2: Self = Self::known("urn:ietf:params:oauth:token-type:saml2");

    const fn known(uri: &'static str) -> Self {
        Self(Cow::Borrowed(uri))
    }

    /// A type of the server's own.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] where it is no absolute URI.
    pub fn new(uri: impl Into<String>) -> Result<Self, BuildError> {
        let uri = uri.into();
        match url::Url::parse(&uri) {
            Ok(_) if uri.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Self(uri.into())),
            _ => Err(BuildError::new(
                "token_type",
                "it is no absolute URI; most servers know `urn:ietf:params:oauth:token-type:access_token` and its like (RFC 8693 section 3)",
            )),
        }
    }

    /// The URI.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenTypeUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A token that stands for someone in a [token exchange](crate::TokenExchange): the subject, or who acts for them. It
/// always comes with its type (RFC 8693 section 2.1).
#[derive(Clone)]
pub struct SecurityToken {
    origin: Origin,
    token_type: TokenTypeUri,
}

#[derive(Clone)]
enum Origin {
    Secret(Arc<dyn SecretSource>),
    Source(Arc<dyn TokenSource>, TokenRequest),
}

impl SecurityToken {
    /// One that is in this source now: that came in with a request, that a platform writes into a file. It is read for
    /// each attempt.
    ///
    /// The token is no part of the [`TokenRequest`], so that a cache above the exchange cannot tell one from another.
    /// Where each caller has a token of their own, that came in with a request for example, build an exchange for each
    /// and never put one cache over all of them: it would hand one caller's token to another.
    pub fn from_secret(source: impl SecretSource + 'static, token_type: TokenTypeUri) -> Self {
        Self {
            origin: Origin::Secret(Arc::new(source)),
            token_type,
        }
    }

    /// An access token of this source, which is asked for each attempt: let it be one with a cache. What comes of the
    /// exchange lives no longer than the token that it was exchanged for, so both sources must read the same clock.
    pub fn from_source(source: impl TokenSource + 'static) -> Self {
        Self {
            origin: Origin::Source(Arc::new(source), TokenRequest::new()),
            token_type: TokenTypeUri::ACCESS_TOKEN,
        }
    }

    /// Asks the source for this, in place of what it was built for: the audience of the server that exchanges, for one.
    /// It changes nothing where the token comes from a [secret](Self::from_secret).
    #[must_use]
    pub fn request(mut self, request: TokenRequest) -> Self {
        if let Origin::Source(_, asked) = &mut self.origin {
            *asked = request;
        }
        self
    }

    /// Sends it as this type: a source's access token as a [JWT](TokenTypeUri::JWT), where another server issued it.
    #[must_use]
    pub fn token_type(mut self, token_type: TokenTypeUri) -> Self {
        self.token_type = token_type;
        self
    }

    pub(crate) fn type_uri(&self) -> &str {
        self.token_type.as_str()
    }

    /// The token as it is now, and when it ends where that is known.
    pub(crate) async fn now(
        &self,
        party: &'static str,
    ) -> Result<(Ground, Option<Timestamp>), TokenError> {
        match &self.origin {
            Origin::Secret(source) => Ok((Ground::Secret(source.secret().await?), None)),
            Origin::Source(source, request) => {
                let token = source.token(request).await.map_err(|error| {
                    // Its host and status are those of another request.
                    let message = format!("the {party}'s token could not be had: {error}");
                    let told = TokenError::new(error.kind(), message);
                    let told = told
                        .with_transient(error.is_transient())
                        .with_local(error.is_local());
                    match error.retry_after() {
                        Some(wait) => told.with_retry_after(wait),
                        None => told,
                    }
                })?;
                let ends = token.deadline();
                Ok((Ground::Token(token), Some(ends)))
            }
        }
    }

    pub(crate) fn epoch(&self) -> u64 {
        match &self.origin {
            Origin::Secret(source) => source.epoch(),
            Origin::Source(source, _) => source.credential_epoch(),
        }
    }

    pub(crate) fn refused(&self, ground: &Ground) {
        match (&self.origin, ground) {
            (Origin::Secret(source), Ground::Secret(secret)) => source.refused(secret),
            (Origin::Source(source, _), Ground::Token(token)) => source.invalidate(token),
            _ => {}
        }
    }
}

/// A source of tokens need not be able to show itself.
impl fmt::Debug for SecurityToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("SecurityToken");
        shown.field("token_type", &self.token_type.as_str());
        match &self.origin {
            Origin::Secret(source) => shown.field("source", source).finish(),
            Origin::Source(_, request) => shown.field("request", request).finish_non_exhaustive(),
        }
    }
}
