//! Management of issued tokens: introspection (RFC 7662) and revocation (RFC 7009).

mod client;
mod introspection;
mod request;
mod revoke_on_shutdown;
mod signed;

pub use client::{TokenManagement, TokenManagementBuilder};
pub use introspection::Introspection;
pub use revoke_on_shutdown::{Revocations, RevokeOnShutdown};
pub use signed::{ResponseVerifier, UnverifiedResponse};
