//! One HTTP exchange with a server: bounded, without redirects or cookies.

pub(crate) mod answer;
mod body;
mod builder;
mod client;
mod clients;
pub(crate) mod error;
#[cfg(feature = "gzip")]
mod gzip;
pub(crate) mod identity;
pub(crate) mod reach;
pub(crate) mod redirect;
mod reuse;
#[cfg(feature = "unstable-spiffe")]
mod spiffe;
mod suites;

pub(crate) use answer::Answer;
pub use builder::HttpTransportBuilder;
pub use client::HttpTransport;
pub use error::explain_tls_error;
pub use identity::ClientIdentity;
