use async_trait::async_trait;
use hallpass_core::TokenError;

use crate::{AuthenticationContext, ClientAuthentication, Credentials, hints};

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
        Ok(Credentials::parameters(none).refusal_hint(hints::ANONYMOUS))
    }
}
