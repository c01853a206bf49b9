use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use google_cloud_auth::{
    credentials::{CacheableResource, Credentials},
    errors::CredentialsError,
};
use hallpass_core::{
    AccessToken, Clock, ErrorKind, SystemClock, TokenError, TokenRequest, TokenSource,
};
use http::{Extensions, HeaderMap, header::AUTHORIZATION};

/// The lifetime of a token whose expiry is unknown. It bounds the time for which a cache uses a token after its expiry.
const ASSUMED_LIFETIME: Duration = Duration::from_secs(10);

/// A token source from credentials of the Google Cloud SDK: of the metadata server, a service account or a workload
/// identity.
///
/// Its tokens can be shared and put on requests as those of any other source. Scopes are set where the credentials are
/// built, so that only the default [`TokenRequest`] is accepted.
///
/// The SDK does not report when a token expires, so that each token counts as valid for ten seconds. The credentials have a
/// cache of their own, which replaces a token four minutes before it expires and never returns an expired one. A cache
/// around this source therefore calls them every few seconds, which needs no request; it uses a token at most ten seconds
/// longer than they do.
///
/// [`invalidate`](TokenSource::invalidate) has no effect, since the credentials have no way to drop a refused token: they
/// return it until they replace it. The header `x-goog-user-project` of credentials with a quota project is not a part of
/// the token; set it on the requests.
///
/// # Errors
///
/// - [`Unavailable`](ErrorKind::Unavailable), transient, if the SDK's error is transient.
/// - [`CredentialsRefused`](ErrorKind::CredentialsRefused), if it is not. The credentials return it for all later calls too.
/// - [`Configuration`](ErrorKind::Configuration) for credentials without an access token (an API key, anonymous ones), and
///   for a token request that is not the default one.
///
/// A [`TokenError`] in the source chain is returned as it is. Otherwise the source is the SDK's error.
///
/// # Cancellation
///
/// Dropping the future of [`token`](TokenSource::token) drops the call of the credentials.
pub struct CredentialsSource {
    credentials: Credentials,
    clock: Arc<dyn Clock>,
}

impl CredentialsSource {
    /// Creates a source of these credentials' tokens.
    pub fn new(credentials: impl Into<Credentials>) -> Self {
        Self {
            credentials: credentials.into(),
            clock: Arc::new(SystemClock),
        }
    }

    /// Sets the clock. Default: the system's.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }
}

#[async_trait]
impl TokenSource for CredentialsSource {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        if !request.is_default() {
            let error = TokenError::configuration(
                "credentials of Google Cloud cannot request a token with other scopes or parameters",
            );
            return Err(error.with_hint("set the scopes where the credentials are built"));
        }
        let headers = self.credentials.headers(Extensions::new()).await;
        let headers = match headers.map_err(|error| token_error(&error))? {
            CacheableResource::New { data, .. } => data,
            CacheableResource::NotModified => HeaderMap::new(),
        };
        let token = headers.get(AUTHORIZATION).and_then(|header| {
            let (scheme, token) = header.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("Bearer").then_some(token)
        });
        let Some(token) = token else {
            let error =
                TokenError::configuration("the credentials of Google Cloud have no access token");
            return Err(error.with_hint(
                "use credentials with one: not an API key, and not anonymous credentials",
            ));
        };
        // The credentials check the expiry when they return a token.
        let returned_at = self.clock.moment();
        Ok(AccessToken::bearer(token, returned_at, ASSUMED_LIFETIME)?)
    }
}

fn token_error(error: &CredentialsError) -> TokenError {
    if let Some(own) = TokenError::find_in(error) {
        return own.clone();
    }
    let kind = if error.is_transient() {
        ErrorKind::Unavailable
    } else {
        ErrorKind::CredentialsRefused
    };
    TokenError::new(kind, "the credentials of Google Cloud returned no token")
        .with_server_message(&error.to_string())
        .with_source(error.clone())
}

impl fmt::Debug for CredentialsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialsSource")
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}
