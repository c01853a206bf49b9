//! The events of the cache: traces always, observers if there are any, metrics behind a feature. They never contain a
//! token or a secret, and are never reported with a lock held.
//!
//! The names and fields are listed in docs/observability.md, and a test keeps the two in sync; changing them affects
//! users.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hallpass_core::{AccessToken, EventKind, Observers, Timestamp, TokenError};
use tracing::{Id, Span, debug, info, warn};

#[cfg(feature = "metrics")]
use crate::meters;
use crate::{keys::Keys, stats::Counters, step::Report};

/// The event reporter of one cache.
pub(crate) struct Observe {
    /// The cache's name.
    pub(crate) cache: Arc<str>,
    observers: Observers,
    /// True after a panic of the source was reported.
    panicked: AtomicBool,
    /// None if the cache has no metrics.
    #[cfg(feature = "metrics")]
    metrics: Option<meters::CacheMetrics>,
}

impl Observe {
    /// `label` is that of the metrics, or none if there are none.
    pub(crate) fn new(cache: Arc<str>, label: Option<Arc<str>>, observers: Observers) -> Self {
        #[cfg(not(feature = "metrics"))]
        drop(label);
        Self {
            cache,
            observers,
            panicked: AtomicBool::new(false),
            #[cfg(feature = "metrics")]
            metrics: label.map(meters::CacheMetrics::new),
        }
    }

    /// Creates the span of a fetch: a child of the caller's, which waits for it.
    pub(crate) fn fetch_span(&self) -> Span {
        let cache = &*self.cache;
        tracing::debug_span!("token_fetch", cache, refresh = false)
    }

    /// Creates the span of a refresh: a separate trace that follows from the span of the caller, which does not wait for
    /// it, and may have closed.
    ///
    /// To be called in the refresh's task. A span that is explicitly a root ignores the OpenTelemetry context of its
    /// thread, which may suppress it: the thread of an exporter must not export the refresh of the exporter's token.
    pub(crate) fn refresh_span(&self, caller: Option<Id>) -> Span {
        let cache = &*self.cache;
        let span = if Span::current().is_none() {
            tracing::debug_span!("token_fetch", cache, refresh = true)
        } else {
            tracing::debug_span!(parent: None, "token_fetch", cache, refresh = true)
        };
        span.follows_from(caller);
        span
    }

    pub(crate) fn refreshing(&self, token: Option<AccessToken>, now: Timestamp) {
        let cache = &*self.cache;
        let remaining = token.map(|token| remaining(&token, now));
        let remaining_seconds = remaining.map(|remaining| remaining.as_secs_f64());
        debug!(cache, remaining_seconds, "token refresh started");
        self.notify(EventKind::refresh_started(remaining));
    }

    pub(crate) fn fetching(&self) {
        let cache = &*self.cache;
        debug!(cache, "token fetch started");
        self.notify(EventKind::FetchStarted);
    }

    /// Reports the end of a fetch.
    pub(crate) fn fetched(&self, result: &Result<AccessToken, TokenError>, duration: Duration) {
        let cache = &*self.cache;
        let seconds = duration.as_secs_f64();
        match result {
            Ok(token) => {
                let lifetime_seconds = token.lifetime().as_secs();
                info!(cache, seconds, lifetime_seconds, scopes = %token.scopes(), "token fetched");
                self.notify(EventKind::fetched(
                    duration,
                    token.lifetime(),
                    token.scopes(),
                ));
                self.quotas(token);
            }
            Err(error) => {
                let kind = error.kind();
                let transient = error.is_transient();
                warn!(cache, seconds, ?kind, transient, %error, "token fetch failed");
                self.notify(EventKind::fetch_failed(duration, error));
            }
        }
        #[cfg(feature = "metrics")]
        if let Some(metrics) = &self.metrics {
            metrics.fetched(result, duration);
        }
    }

    /// Reports the quotas that the server returned with a token.
    fn quotas(&self, token: &AccessToken) {
        let cache = &*self.cache;
        for reported in token.quotas() {
            let (quota, remaining, limit) =
                (reported.name(), reported.remaining(), reported.limit());
            let resets_in_seconds = reported.resets_in().map(|reset| reset.as_secs());
            debug!(
                cache,
                quota, remaining, limit, resets_in_seconds, "token quota reported"
            );
            self.notify(EventKind::quota_reported(reported));
            #[cfg(feature = "metrics")]
            if let Some(metrics) = &self.metrics {
                metrics.quota(reported);
            }
        }
    }

    /// Reports the end of a flight, after all waiters were notified.
    pub(crate) fn landed(&self, report: &Report, now: Timestamp) {
        let cache = &*self.cache;
        if let Some(rest) = report.rest {
            let retry_in_seconds = rest.as_secs_f64();
            info!(cache, retry_in_seconds, "backing off");
            self.notify(EventKind::backing_off(rest));
            let lives = |token: &&AccessToken| !token.is_expired(now);
            if let Some(token) = report.before.as_ref().filter(lives) {
                let remaining = remaining(token, now);
                let remaining_seconds = remaining.as_secs_f64();
                info!(cache, remaining_seconds, "serving the cached token");
                self.notify(EventKind::cached_token_served(remaining));
                #[cfg(feature = "metrics")]
                if let Some(metrics) = &self.metrics {
                    metrics.cached_token_served();
                }
            }
        }
        let waiters = report.waiters;
        let replaced = report.before.as_ref().filter(|_| report.result.is_ok());
        let age = replaced.map(|token| now.saturating_since(token.requested_at().timestamp));
        let replaced_age_seconds = age.map(|age| age.as_secs_f64());
        debug!(cache, waiters, replaced_age_seconds, "fetch completed");
        self.notify(EventKind::fetch_completed(waiters, age));
        #[cfg(feature = "metrics")]
        if let Some(metrics) = &self.metrics {
            metrics.landed(waiters, age);
        }
    }

    /// Reports that a resource server refused the current token.
    pub(crate) fn invalidated(&self) {
        let cache = &*self.cache;
        info!(cache, "token dropped: a resource server refused it");
        self.notify(EventKind::Invalidated);
        #[cfg(feature = "metrics")]
        if let Some(metrics) = &self.metrics {
            metrics.invalidated();
        }
    }

    /// Reports once that the source panicked in a method whose result is optional: it may panic at each call.
    pub(crate) fn source_panicked(&self, method: &'static str) {
        let cache = &*self.cache;
        if !self.panicked.swap(true, Ordering::Relaxed) {
            warn!(cache, method, "token source panicked");
        }
    }

    /// Reports that keys were evicted.
    pub(crate) fn evicted(&self, keys: usize) {
        let cache = &*self.cache;
        debug!(cache, keys, "keys evicted");
        self.notify(EventKind::evicted(keys));
        #[cfg(feature = "metrics")]
        if let Some(metrics) = &self.metrics {
            metrics.evicted(keys);
        }
    }

    /// Reports that the shared store was slow, failed, or held an invalid entry.
    pub(crate) fn store_fault(&self, operation: &'static str, reason: &str, warn: bool) {
        let cache = &*self.cache;
        if warn {
            warn!(cache, operation, reason, "token store fault");
        } else {
            debug!(cache, operation, reason, "token store fault");
        }
        self.notify(EventKind::store_fault(operation, reason));
        #[cfg(feature = "metrics")]
        if let Some(metrics) = &self.metrics {
            metrics.store_fault(operation);
        }
    }

    /// Publishes the metrics that are not worth a call for each hit.
    pub(crate) fn publish(&self, counters: &Counters, keys: &Keys) {
        #[cfg(feature = "metrics")]
        if let Some(metrics) = &self.metrics {
            metrics.publish(counters, keys.len());
        }
        #[cfg(not(feature = "metrics"))]
        let _ = (self, counters, keys);
    }

    fn notify(&self, kind: EventKind<'_>) {
        if let Err(error) = self.observers.notify(&self.cache, kind) {
            let cache = &*self.cache;
            warn!(cache, event = kind.as_str(), "{error}");
        }
    }
}

fn remaining(token: &AccessToken, now: Timestamp) -> Duration {
    token.deadline().saturating_since(now)
}
