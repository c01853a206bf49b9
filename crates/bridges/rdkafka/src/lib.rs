#![doc = include_str!("../README.md")]

mod context;
mod fetch;
mod tokens;

pub use context::TokenContext;
pub use tokens::KafkaTokens;

/// The page of the book, whose code is tested here.
#[cfg(doctest)]
#[doc = include_str!("../../../../docs/rdkafka.md")]
mod page {}
