//! A cache for any token source: single-flight fetches, refresh ahead of expiry, hits in nanoseconds.
//!
//! Wrap a source in [`CachedTokenSource`] and pass it to every service as `Arc<dyn TokenSource>`. [`CacheBuilder`]
//! describes its behaviour and settings; processes and hosts share tokens through a [`TokenStore`].

mod breaker;
mod builder;
mod cache;
#[cfg(feature = "conformance")]
pub mod conformance;
mod current;
mod entry;
#[cfg(test)]
mod explore;
mod failure;
mod flight;
mod handle;
mod hits;
mod keys;
mod level2;
mod load;
mod memory;
#[cfg(feature = "metrics")]
mod meters;
mod nesting;
mod observe;
mod panics;
mod policy;
mod polls;
mod readiness;
mod shared;
mod slot;
mod stats;
mod step;
mod store;
mod sync;
mod upstream;
mod watch;

pub use builder::CacheBuilder;
pub use cache::CachedTokenSource;
pub use handle::TokenHandle;
pub use memory::MemoryTokenStore;
pub use readiness::{OngoingFailure, Readiness};
pub use stats::Stats;
pub use store::{
    EntryOrLease, LayeredStore, Lease, LeaseOutcome, StoreCall, StoreEntry, StoreError, StoreKey,
    StoreLayer, TokenStore,
};
