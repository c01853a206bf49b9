#![doc = include_str!("../README.md")]

mod connector;
#[cfg(any(feature = "azure", feature = "gcp"))]
mod credentials;

pub use connector::TokenConnector;
#[cfg(any(feature = "azure", feature = "gcp"))]
pub use credentials::{BearerCredential, TokenCredentials};

/// The page of the book, whose code is tested here.
#[cfg(all(doctest, feature = "azure", feature = "gcp"))]
#[doc = include_str!("../../../../docs/object-store.md")]
mod page {}
