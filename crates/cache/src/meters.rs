//! The metrics, through the `metrics` facade: the program chooses the exporter.
//!
//! The names and labels are listed in docs/observability.md, and a test keeps the two in sync.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use hallpass_core::{AccessToken, ErrorKind, Quota, TokenError};
use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use crate::stats::Counters;

/// The metrics of one cache, with the numbers that it has published. Caches of one label add up: each publishes the
/// increase since the last time, and subtracts its keys when it is dropped.
pub(crate) struct CacheMetrics {
    cache: Arc<str>,
    hits: AtomicU64,
    misses: AtomicU64,
    repeated: AtomicU64,
    keys: AtomicUsize,
}

impl CacheMetrics {
    /// Creates the metrics, for the exporter that is installed by now.
    pub(crate) fn new(cache: Arc<str>) -> Self {
        describe();
        register(&cache);
        Self {
            cache,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            keys: AtomicUsize::new(0),
        }
    }

    pub(crate) fn fetched(&self, result: &Result<AccessToken, TokenError>, duration: Duration) {
        let outcome = match result {
            Ok(_) => "ok".to_owned(),
            Err(error) => format!("{:?}", error.kind()),
        };
        let labels = [("cache", self.cache.to_string()), ("outcome", outcome)];
        histogram!("hallpass_fetch_duration_seconds", &labels).record(duration.as_secs_f64());
        counter!("hallpass_fetches_total", &labels).increment(1);
        if let Ok(token) = result {
            let lifetime = token.lifetime().as_secs_f64();
            gauge!("hallpass_token_lifetime_seconds", &labels[..1]).set(lifetime);
        }
    }

    #[allow(clippy::cast_precision_loss)] // Gauges are floats.
    pub(crate) fn quota(&self, quota: &Quota) {
        let labels = [
            ("cache", self.cache.to_string()),
            ("quota", quota.name().to_owned()),
        ];
        gauge!("hallpass_quota_remaining", &labels).set(quota.remaining() as f64);
        if let Some(limit) = quota.limit() {
            gauge!("hallpass_quota_limit", &labels).set(limit as f64);
        }
    }

    pub(crate) fn cached_token_served(&self) {
        counter!("hallpass_cached_token_served_total", &self.label()).increment(1);
    }

    pub(crate) fn landed(&self, waiters: usize, replaced_age: Option<Duration>) {
        histogram!("hallpass_waiters", &self.label()).record(float(waiters));
        if let Some(age) = replaced_age {
            histogram!("hallpass_token_age_seconds", &self.label()).record(age.as_secs_f64());
        }
    }

    pub(crate) fn invalidated(&self) {
        counter!("hallpass_invalidations_total", &self.label()).increment(1);
    }

    pub(crate) fn evicted(&self, keys: usize) {
        counter!("hallpass_evictions_total", &self.label()).increment(keys as u64);
    }

    pub(crate) fn store_fault(&self, operation: &'static str) {
        let labels = [
            ("cache", self.cache.to_string()),
            ("operation", operation.to_owned()),
        ];
        counter!("hallpass_store_faults_total", &labels).increment(1);
    }

    pub(crate) fn publish(&self, counters: &Counters, keys: usize) {
        let misses = counters.misses.load(Ordering::Relaxed);
        let repeated = counters.cached_failures.load(Ordering::Relaxed);
        let hits = counters.hits();
        for (name, published, now) in [
            ("hallpass_hits_total", &self.hits, hits),
            ("hallpass_misses_total", &self.misses, misses),
            ("hallpass_cached_failures_total", &self.repeated, repeated),
        ] {
            // Of several concurrent calls, each counts the increase that it publishes first.
            let before = published.fetch_max(now, Ordering::Relaxed);
            counter!(name, &self.label()).increment(now.saturating_sub(before));
        }
        self.publish_keys(keys);
    }

    fn publish_keys(&self, keys: usize) {
        let before = self.keys.swap(keys, Ordering::Relaxed);
        let gauge = gauge!("hallpass_keys", &self.label());
        gauge.increment(float(keys) - float(before));
    }

    fn label(&self) -> [(&'static str, String); 1] {
        [("cache", self.cache.to_string())]
    }
}

impl Drop for CacheMetrics {
    fn drop(&mut self) {
        self.publish_keys(0);
    }
}

/// Converts a count, which is far below 2^52.
#[allow(clippy::cast_precision_loss)]
fn float(count: usize) -> f64 {
    count as f64
}

/// Starts the counters at zero: Prometheus misses the increase of a counter that first appears with a value.
fn register(cache: &str) {
    let kinds = [
        ErrorKind::Configuration,
        ErrorKind::CredentialsRefused,
        ErrorKind::RequestRefused,
        ErrorKind::UnusableResponse,
        ErrorKind::Unavailable,
    ];
    let outcomes = kinds.map(|kind| format!("{kind:?}"));
    for outcome in outcomes.into_iter().chain(["ok".to_owned()]) {
        let labels = [("cache", cache.to_owned()), ("outcome", outcome)];
        counter!("hallpass_fetches_total", &labels).increment(0);
    }
    for name in [
        "hallpass_cached_token_served_total",
        "hallpass_invalidations_total",
        "hallpass_evictions_total",
    ] {
        counter!(name, "cache" => cache.to_owned()).increment(0);
    }
    let label = [("cache", cache.to_owned())];
    for name in [
        "hallpass_hits_total",
        "hallpass_misses_total",
        "hallpass_cached_failures_total",
    ] {
        counter!(name, &label).increment(0);
    }
    gauge!("hallpass_keys", &label).increment(0.0);
}

/// Describes each metric.
fn describe() {
    describe_counter!(
        "hallpass_hits_total",
        Unit::Count,
        "Calls that were answered from the cache"
    );
    describe_counter!(
        "hallpass_misses_total",
        Unit::Count,
        "Calls that found no valid token in the cache"
    );
    describe_counter!(
        "hallpass_cached_failures_total",
        Unit::Count,
        "Calls that returned a cached failure"
    );
    describe_counter!(
        "hallpass_fetches_total",
        Unit::Count,
        "Completed fetches from the source"
    );
    describe_histogram!(
        "hallpass_fetch_duration_seconds",
        Unit::Seconds,
        "Duration of a fetch"
    );
    describe_counter!(
        "hallpass_cached_token_served_total",
        Unit::Count,
        "Refreshes that failed while the cached token was valid"
    );
    describe_histogram!(
        "hallpass_waiters",
        Unit::Count,
        "Callers that waited for a fetch"
    );
    describe_histogram!(
        "hallpass_token_age_seconds",
        Unit::Seconds,
        "The age at which a token was replaced"
    );
    describe_gauge!(
        "hallpass_token_lifetime_seconds",
        Unit::Seconds,
        "Lifetime of the token that was fetched last"
    );
    describe_gauge!(
        "hallpass_quota_remaining",
        Unit::Count,
        "Token requests that the server allows until the quota resets, as it reported with the last token"
    );
    describe_gauge!(
        "hallpass_quota_limit",
        Unit::Count,
        "The server's limit of this quota"
    );
    describe_gauge!(
        "hallpass_keys",
        Unit::Count,
        "Cached keys, without the default key"
    );
    describe_counter!(
        "hallpass_invalidations_total",
        Unit::Count,
        "Tokens that were dropped because a resource server refused them"
    );
    describe_counter!(
        "hallpass_evictions_total",
        Unit::Count,
        "Keys evicted because of max_keys"
    );
    describe_counter!(
        "hallpass_store_faults_total",
        Unit::Count,
        "Faults of the shared store: timeouts, failures, unusable entries"
    );
}
