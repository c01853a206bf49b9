//! Access tokens from any RFC 6749 token endpoint, with the machine-to-machine grants.
//!
//! [`ClientCredentials`] is a [`TokenSource`](hallpass_core::TokenSource): it needs the endpoint, the `client_id` and a
//! [client authentication](ClientAuthentication) method. Everything else has a default: deadlines, limits,
//! [retries](Retry), a [transport](HttpTransport) that follows no redirect.
//!
//! A server that publishes metadata can be discovered by its issuer: [`Endpoint::discover`]. For introspection and
//! revocation of tokens, see [`TokenManagement`].
//!
//! | source | grant | input |
//! |---|---|---|
//! | [`ClientCredentials`] | client credentials, RFC 6749 section 4.4 | none but the client's credentials; fits most
//! services |
//! | [`JwtBearer`] | JWT bearer, RFC 7523 section 2.1 | an assertion, from an [`AssertionSource`] |
//! | [`TokenExchange`] | token exchange, RFC 8693 | another token, a [`SecurityToken`] |
//! | [`RefreshToken`] | refresh token, RFC 6749 section 6 | a refresh token, in a [`SecretStore`](hallpass_core::SecretStore) |
//!
//! Each has the same builder, [`SourceBuilder`].
//!
//! Use it for a server without an adapter, or build an adapter on it.
//!
//! ```
//! use hallpass_core::Secret;
//! use hallpass_endpoint::{ClientCredentials, ClientSecretBasic};
//!
//! let secret = Secret::new("s3cr3t")?;
//! let build = |endpoint| {
//!     ClientCredentials::builder(endpoint, "orders-service", ClientSecretBasic::new(secret.clone()))
//!         .scope("orders.read")
//!         .build()
//! };
//! assert!(build("https://login.example/oauth/token").is_ok());
//! // A wrong setting is an error before anything is sent.
//! assert_eq!(build("http://login.example/oauth/token").unwrap_err().setting(), "token_endpoint");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod address;
mod anonymous;
mod answer;
mod assertion_source;
mod authentication;
mod builder;
mod client;
mod client_credentials;
mod discovery;
mod dpop;
mod endpoint;
mod error;
mod fault;
mod form;
mod grant;
pub mod hints;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
mod introspection;
mod json;
mod jwt_bearer;
mod management;
mod metadata;
mod mtls;
pub mod presets;
mod public_client;
mod redact;
mod refresh_token;
mod refusal;
mod response;
mod retry;
mod revoking;
mod security_token;
mod skew;
mod strongest;
mod token_exchange;
mod transport;

pub use anonymous::Anonymous;
pub use assertion_source::{Assertion, AssertionSource, SecretAssertion};
pub use authentication::{
    AuthenticationContext, ClientAuthentication, ClientSecretBasic, ClientSecretPost, Credentials,
};
pub use builder::{Hints, SourceBuilder};
pub use client_credentials::ClientCredentials;
pub use discovery::Discovery;
pub use endpoint::Endpoint;
pub use error::BuildError;
pub use fault::explain_tls_error;
pub use grant::Source;
pub use introspection::Introspection;
pub use jwt_bearer::JwtBearer;
pub use management::{TokenManagement, TokenManagementBuilder};
pub use metadata::Metadata;
pub use mtls::{ClientIdentity, MutualTls};
pub use public_client::PublicClient;
pub use refresh_token::RefreshToken;
pub use retry::Retry;
pub use revoking::{Revocations, RevokeOnShutdown};
pub use security_token::{SecurityToken, TokenTypeUri};
pub use strongest::Strongest;
pub use token_exchange::TokenExchange;
pub use transport::{HttpTransport, HttpTransportBuilder};
