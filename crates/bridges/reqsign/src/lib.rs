#![doc = include_str!("../README.md")]

#[cfg(any(feature = "azure", feature = "google"))]
mod credentials;
#[cfg(feature = "opendal")]
mod fetch;

#[cfg(any(feature = "azure", feature = "google"))]
pub use credentials::{BearerCredential, TokenCredentials};
#[cfg(feature = "opendal")]
pub use fetch::TokenFetch;

/// The page of the book, whose code is tested here.
#[cfg(all(doctest, feature = "azure", feature = "google", feature = "opendal"))]
#[doc = include_str!("../../../../docs/opendal.md")]
mod page {}
