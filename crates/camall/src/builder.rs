use std::{sync::Arc, time::Duration};

use hallpass_core::{Clock, SecretSource};
use hallpass_endpoint::{
    BuildError, ClientCredentials, ClientSecretBasic, ClientSecretPost, Endpoint, HttpTransport,
    Retry, SourceBuilder,
};

use crate::{hints, source::Camall};

/// The token endpoint of camall.io.
pub const TOKEN_ENDPOINT: &str = "https://login.camall.io/oauth/token";

/// The documented lifetime of a token, for a response that has none.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(3_600);

/// The transmission of `client_id` and `client_secret`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Authentication {
    /// In the form: the documentation's first example, and unambiguous for every secret.
    #[default]
    Post,
    /// In a Basic header, form-encoded (RFC 6749 section 2.3.1).
    Basic,
    /// In a Basic header without encoding, like the documentation's Basic example. It differs from
    /// [`Basic`](Self::Basic) only if id or secret contain characters other than letters, digits and `*-._`.
    BasicRaw,
}

/// A builder of [`Camall`]. [`build`](Self::build) reports invalid settings, before any I/O.
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
                .default_lifetime(DEFAULT_LIFETIME)
                .hints(hints::hint),
            client_secret,
        }
    }

    /// Sets how the credentials are sent. Default: in the form.
    pub fn authentication(self, authentication: Authentication) -> Self {
        let secret = self.client_secret.clone();
        self.with_endpoint(|endpoint| match authentication {
            Authentication::Post => endpoint.authentication(ClientSecretPost::new(secret)),
            Authentication::Basic => endpoint.authentication(ClientSecretBasic::new(secret)),
            Authentication::BasicRaw => endpoint.authentication(ClientSecretBasic::raw(secret)),
        })
    }

    /// Sets the scopes, separated by spaces, for calls that name none. Request as few as possible.
    pub fn scope(self, scope: &str) -> Self {
        self.with_endpoint(|endpoint| endpoint.scope(scope))
    }

    /// Replaces the token endpoint [`TOKEN_ENDPOINT`], for staging or tests.
    pub fn token_endpoint(self, url: impl Into<Endpoint>) -> Self {
        self.with_endpoint(|endpoint| endpoint.token_endpoint(url))
    }

    /// Allows plain HTTP to a server on this machine, for tests. Danger: other processes on this machine may listen.
    /// HTTP to any other host stays forbidden.
    pub fn danger_allow_http_on_loopback(self) -> Self {
        self.with_endpoint(SourceBuilder::danger_allow_http_on_loopback)
    }

    /// Fails if the server grants fewer scopes than requested. By default the granted set is only recorded.
    pub fn require_granted_scopes(self) -> Self {
        self.with_endpoint(SourceBuilder::require_granted_scopes)
    }

    /// Sets the transport, for a proxy, a local address for an IP allow-list, or other timeouts.
    pub fn transport(self, transport: HttpTransport) -> Self {
        self.with_endpoint(|endpoint| endpoint.transport(transport))
    }

    /// Sets the retry policy; see [`Retry`] for the default.
    pub fn retry(self, retry: Retry) -> Self {
        self.with_endpoint(|endpoint| endpoint.retry(retry))
    }

    /// Sets the clock, for tests.
    pub fn clock(self, clock: impl Clock + 'static) -> Self {
        self.with_endpoint(|endpoint| endpoint.clock(clock))
    }

    /// Changes any other setting of the underlying builder.
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

    /// Builds the source without connecting to anything.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] that names the first invalid setting.
    pub fn build(self) -> Result<Camall, BuildError> {
        self.endpoint.build().map(Camall)
    }
}

impl Camall {
    /// Creates a builder for this client.
    ///
    /// ```
    /// use hallpass_camall::Camall;
    /// use hallpass_core::Secret;
    ///
    /// let secret = Secret::new("s3cr3t")?;
    /// let source = Camall::builder("orders-service", secret).scope("openapi").build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder(
        client_id: impl Into<String>,
        client_secret: impl SecretSource + 'static,
    ) -> CamallBuilder {
        CamallBuilder::new(client_id.into(), Arc::new(client_secret))
    }
}
