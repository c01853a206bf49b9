//! The grants: one token source for each.

pub(crate) mod client_credentials;
#[cfg(feature = "unstable-id-jag")]
mod id_jag;
mod jwt_bearer;
mod refresh_token;
mod security_token;
mod token_exchange;

pub use client_credentials::ClientCredentials;
#[cfg(feature = "unstable-id-jag")]
pub use id_jag::{IdJagProvider, IdentityAssertion};
pub use jwt_bearer::JwtBearer;
pub use refresh_token::RefreshToken;
pub use security_token::{SecurityToken, TokenTypeUri};
pub use token_exchange::TokenExchange;
