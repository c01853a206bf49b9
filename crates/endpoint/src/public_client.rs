use async_trait::async_trait;
use hallpass_core::TokenError;

use crate::{AuthenticationContext, ClientAuthentication, Credentials};

/// `none`: the client sends its `client_id` without credentials.
///
/// For a server that identifies the client by other means than the request: a service mesh, a private network. Anyone
/// who can reach such a server is this client. RFC 6749 section 4.4 restricts the client credentials grant to
/// confidential clients, so most servers reject it.
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
            Credentials::parameters([("client_id", context.client_id())]).refusal_hint(
                "check `client_id`, and that the server takes this client without a proof",
            ),
        )
    }

    fn method(&self) -> Option<&'static str> {
        Some("none")
    }
}
