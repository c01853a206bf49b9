use std::{
    fmt,
    marker::PhantomData,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use hallpass_core::{
    AccessToken, ErrorKind, TokenError, TokenRequest, TokenSource, TokenSourceExt as _,
};
use reqsign_core::{Context, ProvideCredential, SigningCredential, time::Timestamp};

/// A credential of reqsign that consists of a bearer token. Implemented for those of Azure Storage and Google Cloud.
pub trait BearerCredential: SigningCredential {
    /// Creates the credential with this token's text and expiry; `None` if a [`Timestamp`] cannot represent it.
    fn from_bearer(token: &str, expires_at: Option<Timestamp>) -> Self;
}

#[cfg(feature = "azure")]
impl BearerCredential for reqsign_azure_storage::Credential {
    fn from_bearer(token: &str, expires_at: Option<Timestamp>) -> Self {
        Self::with_bearer_token(token, expires_at)
    }
}

#[cfg(feature = "google")]
impl BearerCredential for reqsign_google::Credential {
    fn from_bearer(token: &str, expires_at: Option<Timestamp>) -> Self {
        Self::with_token(reqsign_google::Token {
            access_token: token.to_owned(),
            expires_at,
        })
    }
}

/// A provider of reqsign's credentials from a token source, for a `Signer` or a builder's `credential_provider`.
///
/// A signer keeps the credential until shortly before it expires, and asks for another one then, for one request at a
/// time. Wrap the source in a cache: a request then waits for the authorization server only if there is no valid token.
///
/// A signer does not report that a server refused a token, and keeps it. One that is revoked before it expires is
/// therefore used until it expires; `TokenFetch` (feature `opendal`) replaces it.
///
/// Services of OpenDAL ask several providers in turn, and use the credentials of the next one if this one fails: those of
/// another identity, such as the machine's. Disable the others: `disable_config_load()` and `disable_vm_metadata()`.
///
/// # Errors
///
/// A failed credential is a [`reqsign_core::Error`] whose source is the [`TokenError`], with its kind and its hint; it is
/// retryable if the token error is transient. A token that is bound to a key (DPoP) is no bearer token, and is refused.
///
/// # Cancellation
///
/// Dropping the future of a signature drops its call of the token source.
pub struct TokenCredentials<C> {
    source: Arc<dyn TokenSource>,
    request: TokenRequest,
    credential: PhantomData<fn() -> C>,
}

impl<C: BearerCredential> TokenCredentials<C> {
    /// Creates a provider of this source's default tokens.
    pub fn new(source: impl TokenSource + 'static) -> Self {
        Self {
            source: Arc::new(source),
            request: TokenRequest::new(),
            credential: PhantomData,
        }
    }

    /// Sets the token request, with the service's scope for example.
    #[must_use]
    pub fn request(mut self, request: TokenRequest) -> Self {
        self.request = request;
        self
    }
}

impl<C: BearerCredential> ProvideCredential for TokenCredentials<C> {
    type Credential = C;

    async fn provide_credential(&self, _: &Context) -> reqsign_core::Result<Option<C>> {
        let token = self.source.access_token(&self.request).await;
        token
            .and_then(|token| credential(&token))
            .map(Some)
            .map_err(reqsign_error)
    }
}

fn credential<C: BearerCredential>(token: &AccessToken) -> Result<C, TokenError> {
    let usable = token.require_bearer();
    usable.map_err(|error| {
        error.with_hint("request a bearer token, or use `TokenFetch`, which sends proofs")
    })?;
    let expires_at = token.expires_at().and_then(timestamp);
    Ok(C::from_bearer(token.expose(), expires_at))
}

fn timestamp(time: SystemTime) -> Option<Timestamp> {
    let millis = time.duration_since(UNIX_EPOCH).ok()?.as_millis();
    Timestamp::from_millisecond(millis.try_into().ok()?).ok()
}

fn reqsign_error(error: TokenError) -> reqsign_core::Error {
    let kind = match error.kind() {
        ErrorKind::Configuration => reqsign_core::ErrorKind::ConfigInvalid,
        ErrorKind::CredentialsRefused => reqsign_core::ErrorKind::CredentialInvalid,
        ErrorKind::RequestRefused => reqsign_core::ErrorKind::PermissionDenied,
        _ => reqsign_core::ErrorKind::Unexpected,
    };
    let transient = error.is_transient();
    reqsign_core::Error::new(kind, "no access token is available")
        .with_source(error)
        .set_retryable(transient)
}

impl<C> fmt::Debug for TokenCredentials<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCredentials")
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}
