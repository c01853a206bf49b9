//! An authorization server's addresses, set or discovered.

pub(crate) mod address;
mod discovery;
pub(crate) mod endpoint;
mod metadata;

pub use discovery::Discovery;
pub use endpoint::Endpoint;
pub use metadata::Metadata;
