//! Test tools for OAuth 2.0 clients, hallpass's own and yours.
//!
//! - [`AuthorizationServer`]: a server and a protected API on loopback, with the checks of real ones.
//! - [`raw`]: a server that sends arbitrary bytes, for faults below HTTP.
//! - [`ManualClock`]: a clock that a test sets; [`TokioClock`]: one that follows tokio's paused time.
//! - [`Breakpoint`]: interrupts a run before each poll in turn.
//! - [`FakeTokens`]: a source of valid, expiring or failing tokens, for tests of code that uses tokens.
//! - [`StaticSource`], [`ScriptedSource`] and [`Gate`]: token sources without a server, and exact concurrency.
//! - [`RotatingSecret`]: a client's secret that a test rotates, or a refresh token that a source saves.
//! - [`mod@conformance`]: checks a token source against the promises of its trait, one named test per rule.
//! - [`bridge`]: checks an adapter to another crate's credential trait.
//! - [`faults`]: responses of real servers, as data.
//! - [`leak`]: finds a secret in any text that it leaked into.
//!
//! ```
//! use hallpass_testkit::{AuthorizationServer, Client};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = AuthorizationServer::builder()
//!     .client(Client::new("orders-service", "s3cr3t").scopes("orders.read"))
//!     .start()
//!     .await;
//! let answer = reqwest::Client::new()
//!     .post(server.token_endpoint())
//!     .header("content-type", "application/x-www-form-urlencoded")
//!     .body("grant_type=client_credentials&client_id=orders-service&client_secret=s3cr3t")
//!     .send()
//!     .await?;
//! assert_eq!(answer.status(), 200);
//! assert_eq!(server.token_request_count(), 1);
//! # Ok(())
//! # }
//! ```

mod assertion;
mod breakpoint;
pub mod bridge;
mod client;
mod clock;
pub mod conformance;
mod fake;
pub mod faults;
mod grant;
pub mod leak;
pub mod raw;
mod record;
mod secret;
mod server;
mod source;

pub use breakpoint::Breakpoint;
pub use client::{AuthMethod, Client};
pub use clock::{ManualClock, TokioClock};
pub use fake::FakeTokens;
pub use record::TokenRequestRecord;
pub use secret::RotatingSecret;
pub use server::{AuthorizationServer, AuthorizationServerBuilder};
pub use source::{Gate, ScriptedSource, StaticSource};
