#![doc = include_str!("../README.md")]

mod crc32c;
mod error;
mod key;
mod service;

pub use key::GoogleKmsKey;
pub use service::GoogleKms;

/// The page of the book about this crate and those of the other services, whose code is tested here.
#[cfg(doctest)]
#[doc = include_str!("../../../../docs/kms.md")]
mod page {}
