//! A client authentication on a connection with a client certificate.

use async_trait::async_trait;
use hallpass_core::TokenError;

use super::{
    context::AuthenticationContext, credentials::Credentials, digest::credential_digest,
    method::ClientAuthentication, mtls::MutualTls,
};
use crate::{BuildError, SecurityProfile};

/// Another client authentication together with a client certificate in TLS, for a server that wants both: it identifies
/// the client by its secret or assertion, and accepts it only on a connection with a certificate, to which it may bind
/// tokens (RFC 8705 section 3).
///
/// ```
/// use hallpass_core::SecretSource;
/// use hallpass_endpoint::{BuildError, ClientCredentials, ClientSecretPost, MutualTls, WithCertificate};
///
/// fn source(
///     secret: impl SecretSource + 'static,
///     certificate: impl SecretSource + 'static,
/// ) -> Result<ClientCredentials, BuildError> {
///     let authentication = WithCertificate::new(ClientSecretPost::new(secret), MutualTls::new(certificate));
///     ClientCredentials::builder("https://mtls.login.example/token", "orders-service", authentication).build()
/// }
/// ```
///
/// Both are read for each token request. The method is that of the other authentication; the certificate decides about
/// [bound tokens](MutualTls#bound-tokens) and the address, as with [`MutualTls`].
#[derive(Clone, Debug)]
pub struct WithCertificate<A> {
    authentication: A,
    certificate: MutualTls,
}

impl<A: ClientAuthentication> WithCertificate<A> {
    /// Creates the combination of a client authentication and a certificate.
    pub fn new(authentication: A, certificate: MutualTls) -> Self {
        Self {
            authentication,
            certificate,
        }
    }
}

#[async_trait]
impl<A: ClientAuthentication> ClientAuthentication for WithCertificate<A> {
    async fn credentials(
        &self,
        context: &AuthenticationContext<'_>,
    ) -> Result<Credentials, TokenError> {
        let identity = self.certificate.identity().await?;
        let credentials = self.authentication.credentials(context).await?;
        let credentials = credentials.with_identity(identity);
        Ok(if self.certificate.binds_tokens() {
            credentials
        } else {
            credentials.unbound_tokens()
        })
    }

    fn epoch(&self) -> u64 {
        let epoch = self.authentication.epoch();
        epoch.wrapping_add(self.certificate.epoch())
    }

    async fn digest(&self, client_id: &str) -> Option<[u8; 32]> {
        let one = self.authentication.digest(client_id).await?;
        let other = self.certificate.digest(client_id).await?;
        Some(credential_digest("with_certificate", &[&one, &other]))
    }

    fn binds_tokens(&self) -> bool {
        self.certificate.binds_tokens()
    }

    fn method(&self) -> Option<&'static str> {
        self.authentication.method()
    }

    fn algorithm(&self) -> Option<&'static str> {
        self.authentication.algorithm()
    }

    fn needs_discovery(&self) -> bool {
        self.authentication.needs_discovery()
    }

    fn check_profile(&self, profile: SecurityProfile) -> Result<(), BuildError> {
        self.authentication.check_profile(profile)
    }

    fn refused(&self, credentials: &Credentials) {
        self.authentication.refused(credentials);
        self.certificate.refused(credentials);
    }
}
