//! The core of hallpass: access tokens, and the trait of token sources.
//!
//! An [`AccessToken`] comes from a [`TokenSource`]; decorators wrap sources (a cache), and integrations put the token
//! on a request. This crate defines the first two, and the policy that integrations share ([`authorize`]): no I/O, no
//! runtime, no HTTP client, no cache.
//!
//! Use it directly to **write a provider**: implement [`TokenSource::token`], and everything that accepts a source
//! accepts yours. A service that only needs tokens uses the `hallpass` crate, which re-exports all of this.
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use hallpass_core::{
//!     AccessToken, Clock, SystemClock, TokenError, TokenRequest, TokenSource, TokenSourceExt, async_trait,
//! };
//!
//! /// A minimal provider, which creates its own tokens.
//! struct MyProvider(SystemClock);
//!
//! #[async_trait]
//! impl TokenSource for MyProvider {
//!     async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
//!         let requested_at = self.0.moment(); // before the request is sent: the lifetime counts from here
//!         let token = AccessToken::bearer("0123abc", requested_at, Duration::from_secs(3_600))?;
//!         Ok(token.with_scopes(request.scopes().clone()))
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let source: Arc<dyn TokenSource> = Arc::new(MyProvider(SystemClock));
//! let token = source.access_token(&TokenRequest::new().with_scopes("orders.read".parse()?)).await?;
//! assert!(token.header_value().is_sensitive());
//! assert!(!format!("{token:?}").contains("0123abc"));
//! # Ok(())
//! # }
//! ```

mod authorization_details;
pub mod authorize;
mod binding;
mod challenge;
mod clock;
mod error;
mod hint;
mod observer;
mod origin;
mod proof;
mod proofs;
mod quota;
mod refusal;
mod request;
mod scope;
mod secret;
mod source;
mod text;
mod token;

pub use async_trait::async_trait;
pub use authorization_details::AuthorizationDetails;
#[cfg(feature = "authorization-details")]
pub use authorization_details::InvalidAuthorizationDetails;
pub use binding::Binding;
pub use clock::{Clock, Moment, SystemClock, Timestamp};
pub use error::{ErrorKind, OAuthError, TokenError};
pub use hint::Hint;
pub use observer::{Event, EventKind, Observer, ObserverPanicked, Observers};
pub use origin::is_loopback_host;
pub use proof::{Proof, ProofRequest, Prover};
pub use proofs::Proofs;
pub use quota::Quota;
pub use request::{InvalidRequest, TokenRequest};
pub use scope::{InvalidScope, Scope, ScopeSet};
pub use secret::{Secret, SecretAnomaly, SecretError, SecretSource, SecretStore};
pub use source::{TokenSource, TokenSourceExt};
pub use text::TextFilter;
pub use token::{AccessToken, InvalidToken, TokenType};
