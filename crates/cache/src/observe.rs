//! What the cache tells of itself: traces always, metrics behind a feature. Never a token, never a secret.
//!
//! The names and fields are listed in docs/cache.md; a change there is a change for users.

use std::time::Duration;

use hallpass_core::{AccessToken, Timestamp, TokenError};
use tracing::{Span, debug, info, warn};

use crate::{slot::Report, stats::Counters};

/// The span of a flight.
pub(crate) fn span(cache: &str, renewal: bool) -> Span {
    tracing::debug_span!("token_fetch", cache, renewal)
}

pub(crate) fn renewing(cache: &str, token: Option<AccessToken>, now: Timestamp) {
    let left_seconds = token.map(|token| left(&token, now).as_secs_f64());
    debug!(
        cache,
        left_seconds, "renewing the token ahead of its expiry"
    );
}

pub(crate) fn fetching(cache: &str) {
    debug!(cache, "token fetch started");
}

/// A fetch has ended.
pub(crate) fn fetched(cache: &str, result: &Result<AccessToken, TokenError>, took: Duration) {
    let seconds = took.as_secs_f64();
    match result {
        Ok(token) => {
            let lifetime_seconds = token.lifetime().as_secs();
            info!(cache, seconds, lifetime_seconds, scopes = %token.scopes(), "token fetched");
        }
        Err(error) => {
            let kind = format_args!("{:?}", error.kind());
            let transient = error.is_transient();
            warn!(cache, seconds, %kind, transient, %error, "token fetch failed");
        }
    }
    #[cfg(feature = "metrics")]
    {
        let outcome = match result {
            Ok(_) => "ok".to_owned(),
            Err(error) => format!("{:?}", error.kind()),
        };
        let labels = [("cache", cache.to_owned()), ("outcome", outcome)];
        metrics::histogram!("hallpass_fetch_duration_seconds", &labels).record(seconds);
        metrics::counter!("hallpass_fetches_total", &labels).increment(1);
    }
}

/// A flight has ended, and all who waited were told.
pub(crate) fn landed(cache: &str, report: &Report, now: Timestamp, counters: &Counters) {
    if let Some(rest) = report.rest {
        let retry_in_seconds = rest.as_secs_f64();
        info!(cache, retry_in_seconds, "backing off");
        if let Some(token) = report
            .before
            .as_ref()
            .filter(|token| !token.is_expired(now))
        {
            let left_seconds = left(token, now).as_secs_f64();
            info!(cache, left_seconds, "serving the token at hand");
        }
    }
    let waiters = report.waiters;
    let replaced = report.before.as_ref().filter(|_| report.result.is_ok());
    let age = replaced.map(|token| now.saturating_since(token.requested_at().timestamp));
    let replaced_age_seconds = age.map(|age| age.as_secs_f64());
    debug!(cache, waiters, replaced_age_seconds, "flight landed");
    #[cfg(feature = "metrics")]
    {
        let label = [("cache", cache.to_owned())];
        #[allow(clippy::cast_precision_loss)] // Far below 2^52.
        metrics::histogram!("hallpass_waiters", &label).record(waiters as f64);
        if let Some(seconds) = replaced_age_seconds {
            metrics::histogram!("hallpass_token_age_seconds", &label).record(seconds);
        }
    }
    publish(cache, counters);
}

/// A resource server refused the current token.
pub(crate) fn invalidated(cache: &str) {
    info!(cache, "token dropped: a resource server refused it");
    #[cfg(feature = "metrics")]
    metrics::counter!("hallpass_invalidations_total", "cache" => cache.to_owned()).increment(1);
}

/// Keys had to make room.
pub(crate) fn evicted(cache: &str, keys: usize) {
    debug!(cache, keys, "keys evicted");
    #[cfg(feature = "metrics")]
    metrics::counter!("hallpass_evictions_total", "cache" => cache.to_owned())
        .increment(keys as u64);
}

/// The shared store was slow, failed, or held something unusable.
pub(crate) fn store_fault(cache: &str, what: &'static str) {
    warn!(cache, what, "shared token store passed over");
    #[cfg(feature = "metrics")]
    metrics::counter!("hallpass_store_faults_total", "cache" => cache.to_owned(), "what" => what)
        .increment(1);
}

/// Brings those counters up to date that are not worth a call for each hit.
pub(crate) fn publish(cache: &str, counters: &Counters) {
    #[cfg(feature = "metrics")]
    {
        use std::sync::atomic::Ordering;

        let label = [("cache", cache.to_owned())];
        let misses = counters.misses.load(Ordering::Relaxed);
        metrics::counter!("hallpass_hits_total", &label).absolute(counters.hits());
        metrics::counter!("hallpass_misses_total", &label).absolute(misses);
    }
    #[cfg(not(feature = "metrics"))]
    let _ = (cache, counters);
}

fn left(token: &AccessToken, now: Timestamp) -> Duration {
    token.expires().saturating_since(now)
}
