use std::sync::Arc;

use async_trait::async_trait;
use hallpass_core::{SecretSource, TokenError};
use hallpass_endpoint::{AuthenticationContext, ClientAuthentication, Credentials};

use crate::{
    AssertionSettings,
    assertion::{Header, Unsigned},
    provider,
};

/// A signature algorithm for a `client_secret` (RFC 7518 section 3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HmacAlgorithm {
    /// HMAC with SHA-256, which needs a secret of at least 32 bytes.
    #[default]
    Hs256,
    /// HMAC with SHA-384, which needs a secret of at least 48 bytes.
    Hs384,
    /// HMAC with SHA-512, which needs a secret of at least 64 bytes.
    Hs512,
}

impl HmacAlgorithm {
    /// Returns the name in an assertion's header: `HS256`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
        }
    }

    /// Returns the minimum length of a secret: that of the hash (RFC 7518 section 3.2).
    fn shortest_secret(self) -> usize {
        match self {
            Self::Hs256 => 32,
            Self::Hs384 => 48,
            Self::Hs512 => 64,
        }
    }
}

/// `client_secret_jwt`: an assertion signed with the shared secret (OpenID Connect Core section 9). The secret does
/// not go over the wire, but the server still holds it: prefer [`PrivateKeyJwt`](crate::PrivateKeyJwt) where the
/// server supports both.
///
/// ```
/// use hallpass_core::Secret;
/// use hallpass_endpoint::ClientCredentials;
/// use hallpass_jwt::{AssertionSettings, ClientSecretJwt};
///
/// let secret = Secret::new("a-secret-of-at-least-thirty-two-bytes")?;
/// let how = ClientSecretJwt::new(AssertionSettings::new("https://login.example")?, secret);
/// let source = ClientCredentials::builder("https://login.example/token", "orders-service", how).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClientSecretJwt {
    settings: AssertionSettings,
    secret: Arc<dyn SecretSource>,
    algorithm: HmacAlgorithm,
}

impl ClientSecretJwt {
    /// Signs with this secret and [`HmacAlgorithm::Hs256`].
    pub fn new(settings: AssertionSettings, secret: impl SecretSource + 'static) -> Self {
        Self {
            settings,
            secret: Arc::new(secret),
            algorithm: HmacAlgorithm::default(),
        }
    }

    /// Sets the signature algorithm.
    #[must_use]
    pub fn algorithm(mut self, algorithm: HmacAlgorithm) -> Self {
        self.algorithm = algorithm;
        self
    }
}

const HINT: &str = "check `client_id` and `client_secret`, and that the server takes `client_secret_jwt` by this algorithm and is the issuer that the assertion names";

#[async_trait]
impl ClientAuthentication for ClientSecretJwt {
    async fn credentials(
        &self,
        context: &AuthenticationContext<'_>,
    ) -> Result<Credentials, TokenError> {
        let secret = self.secret.secret().await?;
        let shortest = self.algorithm.shortest_secret();
        if secret.expose().len() < shortest {
            return Err(TokenError::configuration(format!(
                "the `client_secret` is too short to sign by {}, which takes {shortest} bytes at least (RFC 7518 section 3.2)",
                self.algorithm.name()
            ))
            .with_hint("have the server make a longer one"));
        }
        let header = Header {
            alg: self.algorithm.name(),
            kid: None,
            thumbprint: None,
        };
        let unsigned = Unsigned::new(&self.settings, context, header)?;
        let signature = provider::hmac(
            self.algorithm,
            secret.expose().as_bytes(),
            unsigned.message(),
        );
        let signed = unsigned.signed(signature.as_ref());
        Ok(signed.into_credentials(context, HINT).from_secret(secret))
    }

    fn method(&self) -> Option<&'static str> {
        Some("client_secret_jwt")
    }

    fn algorithm(&self) -> Option<&'static str> {
        Some(self.algorithm.name())
    }

    fn epoch(&self) -> u64 {
        self.secret.epoch()
    }

    fn refused(&self, credentials: &Credentials) {
        if let Some(secret) = credentials.secret() {
            self.secret.refused(secret);
        }
    }
}

#[cfg(test)]
mod tests;
