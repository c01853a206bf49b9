//! Clients that present no credentials.

use async_trait::async_trait;
use hallpass_core::TokenError;

use super::{
    context::AuthenticationContext, credentials::Credentials, digest::credential_digest,
    method::ClientAuthentication,
};
use crate::hints;

/// No client authentication: neither credentials nor a `client_id` are sent.
///
/// For grants in which the server identifies the client by the grant itself: [`JwtBearer`](crate::JwtBearer) with an
/// assertion that names its issuer (RFC 7521 section 4.1), which Google's servers accept. The source's `client_id` is
/// then the assertion's default subject.
///
/// ```
/// use hallpass_core::SecretSource;
/// use hallpass_endpoint::{Anonymous, JwtBearer, SecretAssertion};
///
/// # fn example(assertion: impl SecretSource + 'static) -> Result<(), hallpass_endpoint::BuildError> {
/// let source = JwtBearer::builder("https://login.example/token", "orders-service", Anonymous::new(), SecretAssertion::new(assertion)).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Anonymous;

impl Anonymous {
    /// Creates an authentication that sends no credentials.
    pub const fn new() -> Self {
        Self
    }
}

#[async_trait]
impl ClientAuthentication for Anonymous {
    async fn credentials(&self, _: &AuthenticationContext<'_>) -> Result<Credentials, TokenError> {
        let none: [(&str, &str); 0] = [];
        Ok(Credentials::parameters(none)
            .refusal_hint(hints::ANONYMOUS)
            .fixed())
    }

    /// The grant's input is the only credential.
    async fn digest(&self, _: &str) -> Option<[u8; 32]> {
        Some(credential_digest("anonymous", &[]))
    }
}

/// `none`: the client sends its `client_id` without credentials.
///
/// For a server that identifies the client by other means than the request: a service mesh, a private network. Anyone
/// who can reach such a server is this client. RFC 6749 section 4.4 restricts the client credentials grant to
/// confidential clients, so most servers refuse it.
///
/// ```
/// use hallpass_endpoint::{ClientCredentials, PublicClient};
///
/// let source = ClientCredentials::builder("https://login.mesh.example/token", "orders-service", PublicClient::new()).build()?;
/// # Ok::<(), hallpass_endpoint::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublicClient;

impl PublicClient {
    /// Creates the authentication of a client that sends only its `client_id`.
    pub const fn new() -> Self {
        Self
    }
}

#[async_trait]
impl ClientAuthentication for PublicClient {
    async fn credentials(
        &self,
        context: &AuthenticationContext<'_>,
    ) -> Result<Credentials, TokenError> {
        Ok(
            Credentials::parameters([("client_id", context.client_id())]).fixed().refusal_hint(
                "check `client_id`, and that the server accepts this client without authentication",
            ),
        )
    }

    fn method(&self) -> Option<&'static str> {
        Some("none")
    }
}
