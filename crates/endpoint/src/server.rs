//! An authorization server's addresses, set or discovered.

pub(crate) mod address;
pub(crate) mod addresses;
mod discovery;
mod document;
mod endpoint;
mod fetch;
pub(crate) mod jwks;
mod metadata;

pub use discovery::Discovery;
pub use endpoint::Endpoint;
pub use metadata::Metadata;
