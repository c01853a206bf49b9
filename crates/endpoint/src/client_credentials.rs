use std::sync::OnceLock;

use async_trait::async_trait;
use hallpass_core::{AccessToken, TokenError, TokenRequest, TokenSource};

use crate::{
    AuthenticationContext, ClientAuthentication, Endpoint, SourceBuilder,
    client::Client,
    form::GrantEncoder,
    grant::{About, Body, Form, Grant, Source},
};

/// Tokens from a token endpoint with the client credentials grant (RFC 6749 section 4.4).
///
/// Each call of [`token`](TokenSource::token) asks the server: wrap it in a cache to share one token between calls.
///
/// ```no_run
/// use hallpass_core::{Secret, TokenRequest, TokenSource};
/// use hallpass_endpoint::{ClientCredentials, ClientSecretBasic};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let secret = Secret::new(std::env::var("CLIENT_SECRET")?)?;
/// let source = ClientCredentials::builder(
///     "https://login.example/oauth/token",
///     "orders-service",
///     ClientSecretBasic::new(secret),
/// )
/// .scope("orders.read")
/// .build()?;
/// let token = source.token(&TokenRequest::default()).await?;
/// println!("granted: {}", token.scopes());
/// # Ok(())
/// # }
/// ```
///
/// # Cancellation
///
/// Dropping the future of a call drops its request; the connection is closed, or kept if it is still in order.
#[derive(Debug)]
pub struct ClientCredentials(Client<ClientCredentialsGrant>);

impl ClientCredentials {
    /// Starts a source: what it cannot do without comes first, so that it cannot be forgotten.
    pub fn builder(
        token_endpoint: impl Into<Endpoint>,
        client_id: impl Into<String>,
        authentication: impl ClientAuthentication + 'static,
    ) -> SourceBuilder<Self> {
        SourceBuilder::new(
            token_endpoint.into(),
            client_id.into(),
            Box::new(authentication),
            ClientCredentialsGrant::default(),
        )
    }
}

#[async_trait]
impl TokenSource for ClientCredentials {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        self.0.token(request).await
    }

    fn check_token(&self, request: &TokenRequest, token: &AccessToken) -> Result<(), TokenError> {
        self.0.check_token(request, token)
    }

    fn credential_epoch(&self) -> u64 {
        self.0.epoch()
    }
}

impl Source for ClientCredentials {
    type Grant = ClientCredentialsGrant;

    fn of(client: Client<ClientCredentialsGrant>) -> Self {
        Self(client)
    }
}

/// The grant that stands on nothing but the client itself.
#[derive(Debug, Default)]
pub struct ClientCredentialsGrant {
    encoder: GrantEncoder,
    /// What the encoder wrote for the first request: nearly every one after it asks for the same.
    first: OnceLock<(TokenRequest, Box<[u8]>)>,
}

#[async_trait]
impl Grant for ClientCredentialsGrant {
    const ABOUT: About = About::of_the_client("client_credentials");

    async fn form(
        &self,
        request: &TokenRequest,
        _: &AuthenticationContext<'_>,
    ) -> Result<Form<'_>, TokenError> {
        let write = || self.encoder.encode(request);
        let (first, written) = self
            .first
            .get_or_init(|| (request.clone(), write().into_boxed_slice()));
        let body = if first == request {
            Body::Borrowed(written)
        } else {
            Body::Owned(write().into())
        };
        Ok(Form::new(body, Vec::new()))
    }
}
