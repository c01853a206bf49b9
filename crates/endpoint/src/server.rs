//! An authorization server's addresses, set or discovered.

pub(crate) mod address;
pub(crate) mod addresses;
mod discovery;
mod document;
mod endpoint;
mod fetch;
pub(crate) mod jwks;
mod members;
mod metadata;
mod protected_resource;
mod resource_document;

pub use discovery::Discovery;
pub use endpoint::Endpoint;
pub use metadata::Metadata;
pub use protected_resource::{ProtectedResource, ResourceDiscovery, ResourceDiscoveryBuilder};
