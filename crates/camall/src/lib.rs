//! Access tokens from camall.io with the client credentials grant.
//!
//! [`Camall`] is [`ClientCredentials`] with the values of camall.io's documentation: the endpoint, credentials in the
//! form, a lifetime of an hour if a response has none, and hints for camall.io's settings.
//!
//! ```no_run
//! use hallpass_camall::Camall;
//! use hallpass_core::{TokenRequest, TokenSource};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! // CAMALL_CLIENT_ID, CAMALL_CLIENT_SECRET and, optionally, CAMALL_SCOPE and CAMALL_TOKEN_ENDPOINT.
//! let source = Camall::from_env()?.build()?;
//! let token = source.token(&TokenRequest::default()).await?;
//! println!("granted: {}", token.scopes());
//! # Ok(())
//! # }
//! ```

mod builder;
mod env;
pub mod hints;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use hallpass_core::{AccessToken, SecretSource, TokenError, TokenRequest, TokenSource};
use hallpass_endpoint::ClientCredentials;

pub use builder::{Authentication, CamallBuilder};

/// The token endpoint of camall.io.
pub const TOKEN_ENDPOINT: &str = "https://login.camall.io/oauth/token";

/// The documented lifetime of a token, for a response that has none.
const LIFETIME: Duration = Duration::from_secs(3_600);

/// A source of camall.io tokens.
///
/// Each call of [`token`](TokenSource::token) sends a request: wrap it in a cache to share one token between calls.
/// camall.io issues no refresh token in this flow; each request uses the credentials.
#[derive(Debug)]
pub struct Camall(ClientCredentials);

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

#[async_trait]
impl TokenSource for Camall {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        self.0.token(request).await
    }

    fn ready_token(&self, request: &TokenRequest) -> Option<AccessToken> {
        self.0.ready_token(request)
    }

    fn invalidate(&self, token: &AccessToken) {
        self.0.invalidate(token);
    }

    fn check_token(&self, request: &TokenRequest, token: &AccessToken) -> Result<(), TokenError> {
        self.0.check_token(request, token)
    }

    fn credential_epoch(&self) -> u64 {
        self.0.credential_epoch()
    }
}
