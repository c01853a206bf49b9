#![doc = include_str!("../README.md")]

mod credential;
mod policy;
mod source;

pub use credential::SourceCredential;
pub use policy::RefusedTokenPolicy;
pub use source::CredentialSource;

/// The page of the book, whose code is tested here.
#[cfg(doctest)]
#[doc = include_str!("../../../../docs/azure-core.md")]
mod page {}
