//! A cache for any token source: one request in flight a key, renewed before expiry, hits in nanoseconds.
//!
//! Wrap a source in [`CachedTokenSource`] and hand it to every service as `Arc<dyn TokenSource>`. What it does, and
//! the settings for each, is told at [`CacheBuilder`]; processes and hosts share tokens through a [`TokenStore`].

mod breaker;
mod builder;
mod cache;
mod current;
mod entry;
#[cfg(all(test, shuttle))]
mod explore;
mod failure;
mod flight;
mod keys;
mod level2;
mod memory;
#[cfg(feature = "metrics")]
mod meters;
mod nesting;
mod observe;
mod panics;
mod policy;
mod polls;
mod slot;
mod stats;
mod step;
mod store;
mod sync;
mod upstream;

pub use builder::CacheBuilder;
pub use cache::CachedTokenSource;
pub use memory::MemoryTokenStore;
pub use stats::Stats;
pub use store::{Lease, LeaseOutcome, StoreEntry, StoreError, StoreKey, TokenStore};
