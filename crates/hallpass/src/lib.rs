//! OAuth 2.0 access tokens for machine-to-machine work: services, jobs, pipelines, command-line tools, monitors.
//!
//! A [`TokenSource`] returns [`AccessToken`]s. Build one for your server, store it as `Arc<dyn TokenSource>`, and put
//! the token's header value on each request.
//!
//! ```no_run
//! use std::sync::Arc;
//! use hallpass::{Secret, TokenRequest, TokenSource, TokenSourceExt, camall::Camall};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let secret = Secret::new(std::env::var("CAMALL_CLIENT_SECRET")?)?;
//! let source: Arc<dyn TokenSource> =
//!     Arc::new(Camall::builder("orders-service", secret).scope("orders.read").build()?);
//!
//! let token = source.access_token(&TokenRequest::default()).await?;
//! println!("{} for {}", token.token_type(), token.scopes());
//! // On a request: .header("authorization", token.header_value().clone())
//! # Ok(())
//! # }
//! ```
//!
//! A complete exchange, against a server that runs in the test:
//!
//! ```
//! use hallpass::{Secret, TokenRequest, TokenSourceExt, endpoint::{ClientCredentials, ClientSecretBasic}};
//! use hallpass_testkit::{AuthorizationServer, Client};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = AuthorizationServer::builder()
//!     .client(Client::new("orders-service", "s3cr3t").scopes("orders.read"))
//!     .start()
//!     .await;
//! let basic = ClientSecretBasic::new(Secret::new("s3cr3t")?);
//! let source = ClientCredentials::builder(server.token_endpoint(), "orders-service", basic)
//!     .danger_allow_http_on_loopback()
//!     .build()?;
//! let token = source.access_token(&TokenRequest::default()).await?;
//! assert_eq!(token.scopes().as_str(), "orders.read");
//! # Ok(())
//! # }
//! ```
//!
//! | module | feature | content |
//! |---|---|---|
//! | [`cache`] | `cache` (default) | [`CachedTokenSource`](cache::CachedTokenSource): single-flight requests, refresh ahead of expiry |
//! | [`camall`] | `camall` (default) | camall.io |
//! | [`endpoint`] | `endpoint` (default) | any RFC 6749 token endpoint: client credentials, JWT bearer, token exchange, refresh tokens; transports, client authentication |
//! | `jwt` | `jwt`, or `jwt-ring` | client authentication by signed assertions: `private_key_jwt`, `client_secret_jwt`, workload identity; assertions for the JWT bearer grant; sender-constrained tokens: DPoP |
//! | `jwt` | `jwt-pkcs11` | the same with a key in a hardware token |
//! | `profiles` | `profiles` | sources that operators configure: a file, variables, references to secrets |
//! | `redis_store` | `redis` | [`TokenStore`](cache::TokenStore) on Redis: tokens shared between processes, encrypted |
//! | [`reqwest_ext`] | `reqwest`, `reqwest-middleware` | tokens on the requests of a reqwest client |
//! | [`tower_ext`] | `tower` | tokens on the requests of a tower service: hyper, tonic |
//! | `blocking` | `blocking`, `ureq`, `reqwest-blocking` | tokens for code that blocks, and on the requests of its clients |
//! | [`secrets`] | `secrets` (default) | secret sources, rotated without a restart |
//! | [`authorize`] | always | [`Authorizer`](authorize::Authorizer): which requests get a token, and what follows an API's refusal |
//!
//! The core types and traits are at the root: those above, and those for providers, decorators and integrations.
//! A feature adds a module and changes nothing else. A module that extends another crate has a suffix (`reqwest_ext`),
//! so that its name does not hide that crate's.

#[doc(inline)]
pub use hallpass_core::*;

#[cfg(feature = "blocking")]
pub use hallpass_blocking as blocking;
#[cfg(feature = "cache")]
pub use hallpass_cache as cache;
#[cfg(feature = "camall")]
pub use hallpass_camall as camall;
#[cfg(feature = "endpoint")]
pub use hallpass_endpoint as endpoint;
#[cfg(any(feature = "jwt", feature = "jwt-pkcs11", feature = "jwt-ring"))]
pub use hallpass_jwt as jwt;
#[cfg(feature = "profiles")]
pub use hallpass_profiles as profiles;
#[cfg(feature = "redis")]
pub use hallpass_redis as redis_store;
#[cfg(feature = "reqwest")]
pub use hallpass_reqwest as reqwest_ext;
#[cfg(feature = "secrets")]
pub use hallpass_secrets as secrets;
#[cfg(feature = "tower")]
pub use hallpass_tower as tower_ext;
