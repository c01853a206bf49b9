#![doc = include_str!("../README.md")]
// The Workload API is a Unix socket; Windows agents use named pipes, which are not supported.
#![cfg(unix)]

mod agent;
mod error;
mod jwt;
mod messages;
mod pem;
mod x509;

pub use agent::WorkloadApi;
pub use jwt::JwtSvid;
pub use x509::X509Svid;

/// The page of the book about this crate, whose code is tested here.
#[cfg(doctest)]
#[doc = include_str!("../../../../docs/spiffe-workload-api.md")]
mod page {}

#[cfg(test)]
mod tests;
