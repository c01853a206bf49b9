//! Access tokens for code that blocks: threads, ureq, reqwest's blocking client.
//!
//! A [`BlockingTokenSource`] runs an async token source on a thread and a tokio runtime of its own:
//!
//! ```
//! use hallpass_blocking::BlockingTokenSource;
//! use hallpass_cache::CachedTokenSource;
//! use hallpass_core::TokenRequest;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let source = hallpass_testkit::StaticSource::new("fake");
//! let tokens = BlockingTokenSource::new(CachedTokenSource::new(source))?;
//! let token = tokens.token(&TokenRequest::default())?;
//! assert_eq!(token.header_value(), "Bearer fake");
//! # Ok(())
//! # }
//! ```
//!
//! - A cached token is returned at once: without a lock, and without another thread.
//! - Otherwise the calling thread waits. The runtime also refreshes tokens while no call is in progress.
//! - On a thread that runs async tasks, a call returns an error that names the remedy.
//!
//! A [`BlockingAuthorizer`] adds tokens to the requests of a client, by the policy that all integrations share
//! ([`hallpass_core::authorize`]): with the feature `ureq` to those of a `ureq::Agent`, with the feature `reqwest` to
//! those of a `reqwest::blocking::Client`.
//!
//! # Shutdown
//!
//! [`BlockingTokenSource::shutdown`] ends the calls in progress with an error, runs the future that was set with
//! [`on_shutdown`](BlockingTokenSourceBuilder::on_shutdown), and ends the thread. Dropping the last clone does the same.
//! Both wait at most for [`shutdown_timeout`](BlockingTokenSourceBuilder::shutdown_timeout). A cache with a shared store
//! writes its tokens after it returned them; let it finish:
//!
//! ```
//! # use std::sync::Arc;
//! # use hallpass_blocking::BlockingTokenSource;
//! # use hallpass_cache::{CachedTokenSource, MemoryTokenStore};
//! # use hallpass_core::TokenRequest;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let source = hallpass_testkit::StaticSource::new("fake");
//! # let store = MemoryTokenStore::default();
//! let cache = CachedTokenSource::builder(source).store(store, "login.example/orders").build();
//! let cache = Arc::new(cache);
//! let tokens = BlockingTokenSource::builder(cache.clone())
//!     .on_shutdown(async move { cache.shutdown().await })
//!     .build()?;
//! let token = tokens.token(&TokenRequest::default())?;
//! // The job's work.
//! # let _ = token;
//! assert!(tokens.shutdown());
//! # Ok(())
//! # }
//! ```
//!
//! # Fork
//!
//! A fork copies the calling thread only, so a child process has no runtime: build the source after the fork. In a child
//! of a process that built it before, cached tokens are returned until they expire, and every other call returns an error.

mod authorizer;
mod driver;
mod error;
#[cfg(feature = "reqwest")]
mod reqwest_client;
#[cfg(any(feature = "reqwest", feature = "ureq"))]
mod send;
mod source;
mod thread;
#[cfg(feature = "ureq")]
mod ureq_agent;

pub use authorizer::BlockingAuthorizer;
pub use error::Error;
#[cfg(feature = "reqwest")]
pub use reqwest_client::BlockingRequestBuilderExt;
pub use source::{BlockingTokenSource, BlockingTokenSourceBuilder};
#[cfg(feature = "ureq")]
pub use ureq_agent::{AgentExt, RequestBody};
