use std::{error::Error, fmt, iter::successors, sync::Arc, time::Duration};

use async_trait::async_trait;
use azure_core::{
    credentials::TokenCredential, error::ErrorKind as AzureKind, time::OffsetDateTime,
};
use hallpass_core::{
    AccessToken, Clock, ErrorKind, ScopeSet, SystemClock, TokenError, TokenRequest, TokenSource,
};
use http::StatusCode;

/// A token source from a credential of the Azure SDK, such as a managed identity of `azure_identity`.
///
/// Its tokens can be cached, shared and put on requests as those of any other source. The scopes of a token request are
/// passed to the credential; one without scopes gets those that the source was created with.
///
/// The credentials of `azure_identity` cache their tokens themselves, until five minutes before they expire.
/// [`invalidate`](TokenSource::invalidate) has no effect on such a cache, since the trait of azure_core has no way to report
/// a refused token: the credential may return that token again until then.
///
/// # Errors
///
/// - [`Unavailable`](ErrorKind::Unavailable), transient: no connection, 408, 429 or a server error.
/// - [`CredentialsRefused`](ErrorKind::CredentialsRefused): 401 or 403, or a credential that gives no reason.
/// - [`RequestRefused`](ErrorKind::RequestRefused): another client error, such as 400 for a wrong scope.
/// - [`UnusableResponse`](ErrorKind::UnusableResponse): an answer that cannot be parsed, which is transient because it may
///   be a gateway's; or an expired token.
/// - [`Configuration`](ErrorKind::Configuration): a request without scopes, or with parts that a credential cannot express
///   (resources, audiences, extra parameters); and other errors of the SDK.
///
/// A [`TokenError`] in the source chain is returned as it is. Otherwise the source is the SDK's error.
///
/// # Cancellation
///
/// Dropping the future of [`token`](TokenSource::token) drops the call of the credential.
pub struct CredentialSource {
    credential: Arc<dyn TokenCredential>,
    scopes: ScopeSet,
    clock: Arc<dyn Clock>,
}

impl CredentialSource {
    /// Creates a source of this credential's tokens, with the scopes for requests that have none, such as
    /// `https://vault.azure.net/.default`.
    pub fn new(credential: Arc<dyn TokenCredential>, scopes: ScopeSet) -> Self {
        Self {
            credential,
            scopes,
            clock: Arc::new(SystemClock),
        }
    }

    /// Sets the clock. Default: the system's.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    fn scopes<'a>(&'a self, request: &'a TokenRequest) -> Result<&'a ScopeSet, TokenError> {
        let other = if request.resources().next().is_some() {
            Some("a resource")
        } else if request.audiences().next().is_some() {
            Some("an audience")
        } else {
            request.parameters().next().map(|_| "an extra parameter")
        };
        if let Some(other) = other {
            let error = TokenError::configuration(format!(
                "an Azure credential cannot request a token with {other}"
            ));
            return Err(
                error.with_hint("request scopes only, such as https://vault.azure.net/.default")
            );
        }
        let own = request.scopes();
        let scopes = if own.is_empty() { &self.scopes } else { own };
        if scopes.is_empty() {
            let error = TokenError::configuration("an Azure credential needs a scope");
            return Err(error.with_hint(
                "request one, or create the `CredentialSource` with one, such as https://vault.azure.net/.default",
            ));
        }
        Ok(scopes)
    }
}

#[async_trait]
impl TokenSource for CredentialSource {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        let scopes = self.scopes(request)?;
        let names: Vec<&str> = scopes.iter().collect();
        let requested_at = self.clock.moment();
        let token = self.credential.get_token(&names, None).await;
        let token = token.map_err(token_error)?;
        let lifetime = token.expires_on - OffsetDateTime::from(requested_at.wall);
        let lifetime = Duration::try_from(lifetime).unwrap_or_default();
        let token = AccessToken::bearer(token.token.secret(), requested_at, lifetime)?;
        if token.is_expired(self.clock.now()) {
            let error =
                TokenError::unusable_response("the Azure credential returned an expired token");
            return Err(error.with_hint("check the clock of this machine"));
        }
        Ok(token.with_scopes(scopes.clone()))
    }
}

fn token_error(error: azure_core::Error) -> TokenError {
    if let Some(own) = TokenError::find_in(&error) {
        return own.clone();
    }
    let first: &(dyn Error + 'static) = &error;
    let mut causes = successors(Some(first), |&error| error.source());
    let known = causes.find_map(|error| error.downcast_ref().and_then(classify));
    let (kind, status) = known.unwrap_or((ErrorKind::CredentialsRefused, None));
    // The SDK does not report the status of an answer without JSON, such as a gateway's error page.
    let transient = matches!(kind, ErrorKind::Unavailable | ErrorKind::UnusableResponse);
    let mut mapped = TokenError::new(kind, "the Azure credential returned no token")
        .with_transient(transient)
        .with_server_message(&error.to_string());
    if let Some(status) = status {
        mapped = mapped.with_status(status);
    }
    mapped.with_source(error)
}

/// Returns the kind of an error, and its HTTP status; `None` if a cause of it says more.
fn classify(error: &azure_core::Error) -> Option<(ErrorKind, Option<StatusCode>)> {
    let status = match error.kind() {
        AzureKind::HttpResponse { status, .. } => u16::from(*status),
        AzureKind::Connection | AzureKind::Io => return Some((ErrorKind::Unavailable, None)),
        AzureKind::DataConversion => return Some((ErrorKind::UnusableResponse, None)),
        AzureKind::Other if error.source().is_none() => {
            return Some((ErrorKind::Configuration, None));
        }
        AzureKind::Credential | AzureKind::Other => return None,
    };
    let kind = match status {
        408 | 429 | 500.. => ErrorKind::Unavailable,
        401 | 403 => ErrorKind::CredentialsRefused,
        400.. => ErrorKind::RequestRefused,
        _ => ErrorKind::UnusableResponse,
    };
    Some((kind, StatusCode::from_u16(status).ok()))
}

impl fmt::Debug for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialSource")
            .field("credential", &self.credential)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}
