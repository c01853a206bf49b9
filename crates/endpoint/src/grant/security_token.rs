use std::{borrow::Cow, fmt, sync::Arc};

use hallpass_core::{SecretSource, Timestamp, TokenError, TokenRequest, TokenSource};

use crate::{BuildError, credential_digest, exchange::form::Input};

/// A token type identifier of token exchange (RFC 8693 section 3): a URI.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenTypeUri(Cow<'static, str>);

impl TokenTypeUri {
    /// An access token of the authorization server, in any format.
    pub const ACCESS_TOKEN: Self = Self::known("urn:ietf:params:oauth:token-type:access_token");
    /// An Identity Assertion JWT Authorization Grant (draft-ietf-oauth-identity-assertion-authz-grant-03).
    #[cfg(feature = "unstable-id-jag")]
    pub(crate) const ID_JAG: Self = Self::known("urn:ietf:params:oauth:token-type:id-jag");
    /// An ID token (OpenID Connect Core section 2).
    pub const ID_TOKEN: Self = Self::known("urn:ietf:params:oauth:token-type:id_token");
    /// A JWT (RFC 7519) of any issuer that the server trusts.
    pub const JWT: Self = Self::known("urn:ietf:params:oauth:token-type:jwt");
    /// A refresh token of the authorization server.
    pub const REFRESH_TOKEN: Self = Self::known("urn:ietf:params:oauth:token-type:refresh_token");
    /// A SAML 1.1 assertion, base64url-encoded.
    pub const SAML1: Self = Self::known("urn:ietf:params:oauth:token-type:saml1");
    /// A SAML 2.0 assertion, base64url-encoded.
    pub const SAML2: Self = Self::known("urn:ietf:params:oauth:token-type:saml2");

    const fn known(uri: &'static str) -> Self {
        Self(Cow::Borrowed(uri))
    }

    /// Creates a server-specific type.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] if it is not an absolute URI.
    pub fn new(uri: impl Into<String>) -> Result<Self, BuildError> {
        let uri = uri.into();
        match url::Url::parse(&uri) {
            Ok(_) if uri.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Self(uri.into())),
            _ => Err(BuildError::new(
                "token_type",
                "not an absolute URI; use an identifier of RFC 8693 section 3, such as `urn:ietf:params:oauth:token-type:access_token`",
            )),
        }
    }

    /// Returns the URI.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenTypeUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A token that represents a party in a [token exchange](crate::TokenExchange), the subject or the actor, with its type
/// (RFC 8693 section 2.1).
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
    /// Creates one from the current value of this source, such as a token from an incoming request or one that a
    /// platform writes to a file. It is read for each attempt.
    ///
    /// The token is not part of the [`TokenRequest`], so a cache above the exchange cannot distinguish one from
    /// another. If each caller has its own token, such as that of an incoming request, build an exchange for each and
    /// never put one cache over all of them: it would return one caller's token to another.
    pub fn from_secret(source: impl SecretSource + 'static, token_type: TokenTypeUri) -> Self {
        Self {
            origin: Origin::Secret(Arc::new(source)),
            token_type,
        }
    }

    /// Creates one from an access token of this source, which is called for each attempt and should have a cache. The
    /// issued token expires no later than the exchanged one, so both sources must use the same clock.
    pub fn from_source(source: impl TokenSource + 'static) -> Self {
        Self {
            origin: Origin::Source(Arc::new(source), TokenRequest::new()),
            token_type: TokenTypeUri::ACCESS_TOKEN,
        }
    }

    /// Sets the request to the source, replacing its defaults, for example the audience of the exchanging server. It
    /// has no effect on a token from a [secret](Self::from_secret).
    #[must_use]
    pub fn request(mut self, request: TokenRequest) -> Self {
        if let Origin::Source(_, stored) = &mut self.origin {
            *stored = request;
        }
        self
    }

    /// Overrides the token type, such as [JWT](TokenTypeUri::JWT) for an access token that another server issued.
    #[must_use]
    pub fn token_type(mut self, token_type: TokenTypeUri) -> Self {
        self.token_type = token_type;
        self
    }

    pub(crate) fn type_uri(&self) -> &str {
        self.token_type.as_str()
    }

    /// Returns the current token, and when it expires if that is known.
    pub(crate) async fn current(
        &self,
        party: &'static str,
    ) -> Result<(Input, Option<Timestamp>), TokenError> {
        match &self.origin {
            Origin::Secret(source) => Ok((Input::Secret(source.secret().await?), None)),
            Origin::Source(source, request) => {
                let token = source.token(request).await.map_err(|error| {
                    // The host and status in the error are those of another request.
                    let message = format!("the {party}'s token could not be obtained: {error}");
                    let failure = TokenError::new(error.kind(), message);
                    let failure = failure
                        .with_transient(error.is_transient())
                        .with_local(error.is_local());
                    match error.retry_after() {
                        Some(wait) => failure.with_retry_after(wait),
                        None => failure,
                    }
                })?;
                let ends = token.deadline();
                Ok((Input::Token(token), Some(ends)))
            }
        }
    }

    pub(crate) fn epoch(&self) -> u64 {
        match &self.origin {
            Origin::Secret(source) => source.epoch(),
            Origin::Source(source, _) => source.credential_epoch(),
        }
    }

    /// Returns a digest of the token, or of the credentials by which it is obtained.
    pub(crate) async fn digest(&self) -> Option<[u8; 32]> {
        let digest = match &self.origin {
            Origin::Secret(source) => {
                let secret = source.secret().await.ok()?;
                credential_digest("token", &[secret.expose().as_bytes()])
            }
            Origin::Source(source, _) => source.credential_digest().await?,
        };
        Some(credential_digest(self.type_uri(), &[&digest]))
    }

    pub(crate) fn refused(&self, input: &Input) {
        match (&self.origin, input) {
            (Origin::Secret(source), Input::Secret(secret)) => source.refused(secret),
            (Origin::Source(source, _), Input::Token(token)) => source.invalidate(token),
            _ => {}
        }
    }
}

/// Implemented by hand: a token source need not implement `Debug`.
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

#[cfg(test)]
mod tests {
    use hallpass_core::{AccessToken, Secret, async_trait};

    use super::*;

    /// A source with a digest of its credentials, or with none.
    struct Digest(Option<[u8; 32]>);

    #[async_trait]
    impl TokenSource for Digest {
        async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
            Err(TokenError::unavailable("not called"))
        }

        async fn credential_digest(&self) -> Option<[u8; 32]> {
            self.0
        }
    }

    #[tokio::test]
    async fn a_digest_follows_the_token_or_its_sources_credentials() {
        let read =
            |text: &str| SecurityToken::from_secret(Secret::new(text).unwrap(), TokenTypeUri::JWT);
        let of = |digest| SecurityToken::from_source(Digest(digest));
        let digests = [
            read("one").digest().await,
            read("other").digest().await,
            read("one")
                .token_type(TokenTypeUri::ID_TOKEN)
                .digest()
                .await,
            of(Some([1; 32])).digest().await,
            of(Some([2; 32])).digest().await,
        ];
        for (at, digest) in digests.iter().enumerate() {
            assert!(digest.is_some() && !digests[..at].contains(digest), "{at}");
        }
        assert_eq!(read("one").digest().await, digests[0]);
        assert_eq!(of(None).digest().await, None);
    }
}
