#![doc = include_str!("../README.md")]

#[cfg(feature = "grpc")]
mod channel;
#[cfg(feature = "http")]
mod http_client;
mod tokens;

#[cfg(feature = "grpc")]
pub use channel::token_channel;
#[cfg(feature = "http")]
pub use http_client::TokenHttpClient;
pub use tokens::exporter_tokens;

/// The page of the book, whose code is tested here.
#[cfg(all(doctest, feature = "grpc", feature = "http"))]
#[doc = include_str!("../../../../docs/opentelemetry.md")]
mod page {}
