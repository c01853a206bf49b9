use std::sync::Arc;

use async_trait::async_trait;
use hallpass_core::{SecretSource, TokenError};
use hallpass_endpoint::{
    AuthenticationContext, ClientAuthentication, Credentials, credential_digest,
};

use crate::{
    AssertionSettings, HmacAlgorithm,
    assertion::{Header, UnsignedAssertion},
    provider,
};

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
/// let authentication = ClientSecretJwt::new(AssertionSettings::new("https://login.example")?, secret);
/// let source = ClientCredentials::builder("https://login.example/token", "orders-service", authentication).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClientSecretJwt {
    settings: AssertionSettings,
    secret: Arc<dyn SecretSource>,
    algorithm: HmacAlgorithm,
}

impl ClientSecretJwt {
    /// Creates a client authentication that signs with this secret and [`HmacAlgorithm::Hs256`].
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

const HINT: &str = "check `client_id` and `client_secret`, that the server supports `client_secret_jwt` with this algorithm, and that it is the issuer that the assertion names";

#[async_trait]
impl ClientAuthentication for ClientSecretJwt {
    async fn credentials(
        &self,
        context: &AuthenticationContext<'_>,
    ) -> Result<Credentials, TokenError> {
        let secret = self.secret.secret().await?;
        let min = self.algorithm.min_secret_len();
        if secret.expose().len() < min {
            return Err(TokenError::configuration(format!(
                "the `client_secret` is too short to sign with {}, which needs at least {min} bytes (RFC 7518 section 3.2)",
                self.algorithm.name()
            ))
            .with_hint("have the server generate a longer secret, or use a shorter hash with `ClientSecretJwt::algorithm`"));
        }
        let header = Header {
            alg: self.algorithm.name(),
            kid: None,
            thumbprint: None,
            x5c: Vec::new(),
        };
        let unsigned = UnsignedAssertion::new(&self.settings, context, header)?;
        let signature = provider::hmac(
            self.algorithm,
            secret.expose().as_bytes(),
            unsigned.message(),
        );
        let signed = unsigned.signed(signature.as_ref());
        Ok(signed.into_credentials(context, HINT).from_secret(secret))
    }

    fn needs_discovery(&self) -> bool {
        self.settings.needs_discovery()
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

    async fn digest(&self, client_id: &str) -> Option<[u8; 32]> {
        let secret = self.secret.secret().await.ok()?;
        let [audience, typ] = self.settings.digest_parts();
        let parts: [&[u8]; 5] = [
            client_id.as_bytes(),
            secret.expose().as_bytes(),
            self.algorithm.name().as_bytes(),
            audience,
            typ,
        ];
        Some(credential_digest("client_secret_jwt", &parts))
    }

    fn refused(&self, credentials: &Credentials) {
        if let Some(secret) = credentials.secret() {
            self.secret.refused(secret);
        }
    }
}

#[cfg(test)]
mod tests;
