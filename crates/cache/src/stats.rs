//! Counters of the cache's activity.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::hits::HitCounter;

/// A snapshot of a cache's counters since it was built.
///
/// ```
/// # use hallpass_cache::CachedTokenSource;
/// # use hallpass_testkit::ScriptedSource;
/// # use hallpass_core::TokenError;
/// let cache = CachedTokenSource::new(ScriptedSource::new([Err(TokenError::unavailable("down"))]));
/// assert_eq!(cache.stats().hits, 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Calls that were answered with a cached token.
    pub hits: u64,
    /// Calls that found no token in the cache.
    pub misses: u64,
    /// Calls that got a cached failure.
    pub cached_failures: u64,
    /// Fetches from the source that were started, refreshes included.
    pub fetches: u64,
    /// Flights that were started to refresh a token before its expiry.
    pub refreshes: u64,
    /// Fetches that failed.
    pub failures: u64,
    /// Tokens that were dropped because a resource server refused them.
    pub invalidations: u64,
    /// Keys that were evicted.
    pub evictions: u64,
    /// Tokens that came from the shared store.
    pub store_hits: u64,
    /// Times that the shared store was slow, failed, or held an invalid entry.
    pub store_faults: u64,
    /// Cached keys, not counting the default one.
    pub keys: usize,
    /// Flights in progress.
    pub flights: usize,
    /// Callers waiting for a flight.
    pub waiters: usize,
}

#[derive(Default)]
pub(crate) struct Counters {
    hits: HitCounter,
    pub(crate) misses: AtomicU64,
    pub(crate) cached_failures: AtomicU64,
    pub(crate) fetches: AtomicU64,
    pub(crate) refreshes: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) invalidations: AtomicU64,
    pub(crate) evictions: AtomicU64,
    pub(crate) store_hits: AtomicU64,
    pub(crate) store_faults: AtomicU64,
    pub(crate) waiters: AtomicUsize,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    #[inline]
    pub(crate) fn hit(&self) {
        self.hits.add();
    }

    pub(crate) fn hits(&self) -> u64 {
        self.hits.sum()
    }

    pub(crate) fn snapshot(&self, keys: usize, flights: usize) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            hits: self.hits(),
            misses: get(&self.misses),
            cached_failures: get(&self.cached_failures),
            fetches: get(&self.fetches),
            refreshes: get(&self.refreshes),
            failures: get(&self.failures),
            invalidations: get(&self.invalidations),
            evictions: get(&self.evictions),
            store_hits: get(&self.store_hits),
            store_faults: get(&self.store_faults),
            keys,
            flights,
            waiters: self.waiters.load(Ordering::Relaxed),
        }
    }
}
