//! Access tokens from camall.io with the client credentials grant.
//!
//! [`Camall`] is [`ClientCredentials`](hallpass_endpoint::ClientCredentials) with the values of camall.io's
//! documentation: the endpoint, credentials in the form, a lifetime of an hour if a response has none, and hints for
//! camall.io's settings.
//!
//! ```no_run
//! use hallpass_camall::Camall;
//! use hallpass_core::{TokenRequest, TokenSourceExt};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! // CAMALL_CLIENT_ID, CAMALL_CLIENT_SECRET and, optionally, CAMALL_SCOPE and CAMALL_TOKEN_ENDPOINT.
//! let source = Camall::from_env()?.build()?;
//! let token = source.access_token(&TokenRequest::default()).await?;
//! println!("granted: {}", token.scopes());
//! # Ok(())
//! # }
//! ```

mod builder;
mod env;
pub mod hints;
mod source;

pub use builder::{Authentication, CamallBuilder, TOKEN_ENDPOINT};
pub use source::Camall;
