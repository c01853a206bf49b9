//! The grants: one token source for each.

pub(crate) mod client_credentials;
mod jwt_bearer;
mod refresh_token;
mod security_token;
mod token_exchange;

pub use client_credentials::ClientCredentials;
pub use jwt_bearer::JwtBearer;
pub use refresh_token::RefreshToken;
pub use security_token::{SecurityToken, TokenTypeUri};
pub use token_exchange::TokenExchange;
