use std::sync::Arc;

use hallpass_core::{Clock, SecretSource};
use hallpass_endpoint::{
    BuildError, ClientCredentials, ClientSecretBasic, ClientSecretPost, HttpTransport, Retry,
    SourceBuilder,
};

use crate::{Camall, LIFETIME, TOKEN_ENDPOINT, hints};

/// How `client_id` and `client_secret` travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Authentication {
    /// In the form: the documentation's first example, and the one that is clear for every secret.
    #[default]
    Form,
    /// In a Basic header, form-encoded as RFC 6749 section 2.3.1 asks.
    Basic,
    /// In a Basic header, as they are: what the documentation's Basic example does. It differs from
    /// [`Basic`](Self::Basic) only where id or secret hold other than letters, digits and `*-._`.
    RawBasic,
}

/// Sets up a [`Camall`] source. What is wrong is told by [`build`](Self::build), before any I/O.
#[derive(Debug)]
#[must_use]
pub struct CamallBuilder {
    endpoint: SourceBuilder<ClientCredentials>,
    client_secret: Arc<dyn SecretSource>,
}

impl CamallBuilder {
    pub(crate) fn new(client_id: String, client_secret: Arc<dyn SecretSource>) -> Self {
        let form = ClientSecretPost::new(client_secret.clone());
        Self {
            endpoint: ClientCredentials::builder(TOKEN_ENDPOINT, client_id, form)
                .default_lifetime(LIFETIME)
                .hints(hints::hint),
            client_secret,
        }
    }

    /// How the credentials travel. Default: in the form.
    pub fn authentication(self, authentication: Authentication) -> Self {
        let secret = self.client_secret.clone();
        self.with_endpoint(|endpoint| match authentication {
            Authentication::Form => endpoint.authentication(ClientSecretPost::new(secret)),
            Authentication::Basic => endpoint.authentication(ClientSecretBasic::new(secret)),
            Authentication::RawBasic => endpoint.authentication(ClientSecretBasic::raw(secret)),
        })
    }

    /// Asks for these scopes, with spaces between them, in calls that name none. Ask for the least that is needed.
    pub fn scope(self, scope: &str) -> Self {
        self.with_endpoint(|endpoint| endpoint.scope(scope))
    }

    /// Asks another server than [`TOKEN_ENDPOINT`]: staging, or one for tests.
    pub fn token_endpoint(self, url: impl Into<String>) -> Self {
        self.with_endpoint(|endpoint| endpoint.token_endpoint(url.into()))
    }

    /// Allows plain HTTP to a server on this machine, for tests. The danger: whoever else is on this machine may
    /// listen. HTTP to any other host stays forbidden.
    pub fn danger_allow_http_on_loopback(self) -> Self {
        self.with_endpoint(SourceBuilder::danger_allow_http_on_loopback)
    }

    /// Fails where fewer scopes are granted than were asked for. Without it the granted set is only recorded.
    pub fn require_granted_scopes(self) -> Self {
        self.with_endpoint(SourceBuilder::require_granted_scopes)
    }

    /// Uses this transport: a proxy, a local address for an IP allow-list, other deadlines.
    pub fn transport(self, transport: HttpTransport) -> Self {
        self.with_endpoint(|endpoint| endpoint.transport(transport))
    }

    /// When to try again; see [`Retry`] for the default.
    pub fn retry(self, retry: Retry) -> Self {
        self.with_endpoint(|endpoint| endpoint.retry(retry))
    }

    /// Reads time from this clock: a test's.
    pub fn clock(self, clock: impl Clock + 'static) -> Self {
        self.with_endpoint(|endpoint| endpoint.clock(clock))
    }

    /// Changes whatever else can be set on the endpoint that this adapter stands on.
    ///
    /// ```
    /// use hallpass_camall::Camall;
    /// use hallpass_core::Secret;
    ///
    /// let source = Camall::builder("orders-service", Secret::new("s3cr3t")?)
    ///     .with_endpoint(|endpoint| endpoint.parameter("tenant", "blue").max_token_bytes(8_192))
    ///     .build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_endpoint(
        mut self,
        change: impl FnOnce(SourceBuilder<ClientCredentials>) -> SourceBuilder<ClientCredentials>,
    ) -> Self {
        self.endpoint = change(self.endpoint);
        self
    }

    /// Builds the source; connects nowhere.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] names the first setting that cannot be used.
    pub fn build(self) -> Result<Camall, BuildError> {
        self.endpoint.build().map(Camall)
    }
}
