//! Access tokens from any RFC 6749 token endpoint, with the machine-to-machine grants.
//!
//! [`ClientCredentials`] is a [`TokenSource`](hallpass_core::TokenSource): it needs the endpoint, the `client_id` and a
//! [client authentication](ClientAuthentication) method. Everything else has a default: deadlines, limits,
//! [retries](Retry), a [transport](HttpTransport) that follows no redirect.
//!
//! A server that publishes metadata can be discovered by its issuer: [`Endpoint::discover`], or from an API that names it:
//! [`ResourceDiscovery`]. For introspection and revocation of tokens, see [`TokenManagement`].
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
//! Use it for a server without an adapter, or build an adapter on it. [`ServiceClient`] calls a service that a credential
//! depends on.
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

mod authentication;
mod builder;
mod encoding;
mod error;
mod exchange;
mod grant;
pub mod hints;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
mod management;
pub mod presets;
mod response;
mod security_profile;
mod server;
mod service;
mod transport;
mod unique;

pub use authentication::{
    Anonymous, Assertion, AssertionSource, AuthenticationContext, ClientAuthentication,
    ClientSecretBasic, ClientSecretPost, Credentials, MutualTls, PublicClient, SecretAssertion,
    Strongest, WithCertificate, credential_digest,
};
pub use builder::SourceBuilder;
pub use error::BuildError;
pub use exchange::{GrantSource, Hints, Retry};
pub use grant::{
    ClientCredentials, JwtBearer, RefreshToken, SecurityToken, TokenExchange, TokenTypeUri,
};
#[cfg(feature = "unstable-id-jag")]
pub use grant::{IdJagProvider, IdentityAssertion};
pub use management::{
    Introspection, ResponseVerifier, Revocations, RevokeOnShutdown, TokenManagement,
    TokenManagementBuilder, UnverifiedResponse,
};
pub use response::layout::ExpiryFormat;
pub use security_profile::{Requirement, SecurityProfile};
pub use server::{
    Discovery, Endpoint, Metadata, ProtectedResource, ResourceDiscovery, ResourceDiscoveryBuilder,
};
pub use service::{ServiceClient, ServiceHints};
pub use transport::{ClientIdentity, HttpTransport, HttpTransportBuilder, explain_tls_error};
