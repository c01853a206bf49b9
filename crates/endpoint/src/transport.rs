//! One HTTP exchange with a server: bounded, without redirects, cookies or decompression.

pub(crate) mod answer;
mod builder;
mod client;
mod clients;
pub(crate) mod error;
pub(crate) mod identity;
pub(crate) mod reach;
pub(crate) mod redirect;
mod reuse;
#[cfg(feature = "unstable-spiffe")]
mod spiffe;

pub(crate) use answer::Answer;
pub use builder::HttpTransportBuilder;
pub use client::HttpTransport;
pub use error::explain_tls_error;
pub use identity::ClientIdentity;
