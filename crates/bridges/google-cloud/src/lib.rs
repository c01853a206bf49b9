#![doc = include_str!("../README.md")]

mod credentials;
mod retry;
mod source;

pub use credentials::SourceCredentials;
pub use retry::RefusedTokenRetry;
pub use source::CredentialsSource;

/// The page of the book, whose code is tested here.
#[cfg(doctest)]
#[doc = include_str!("../../../../docs/google-cloud.md")]
mod page {}
