//! The cache's settings, and the times derived from them.

use std::time::Duration;

use hallpass_core::{AccessToken, Timestamp};

use crate::upstream::TRIAL_TIMEOUT;

#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// The maximum time before expiry at which a token is refreshed.
    pub(crate) max_window: Duration,
    /// The minimum time between two fetches for a key.
    pub(crate) min_interval: Duration,
    pub(crate) min_backoff: Duration,
    pub(crate) max_backoff: Duration,
    /// The maximum `Retry-After` that is obeyed.
    pub(crate) max_retry_after: Duration,
    /// The time for which a permanent refusal is cached.
    pub(crate) refusal_ttl: Duration,
    /// The timeout of one fetch.
    pub(crate) fetch_timeout: Duration,
    /// The age from which a refused token does not count as refused while new.
    pub(crate) trusted_after: Duration,
    pub(crate) max_keys: usize,
    /// The timeout of store calls that callers wait for.
    pub(crate) store_timeout: Duration,
    /// The timeout of such calls until the store has answered once.
    pub(crate) store_start_timeout: Duration,
    /// The timeout of other store calls.
    pub(crate) store_write_timeout: Duration,
    /// The maximum number of concurrent fetches, not counting the default key's.
    pub(crate) max_concurrent_fetches: usize,
    /// True if there is a store that other processes put tokens into.
    pub(crate) shared: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_window: Duration::from_secs(300),
            min_interval: Duration::from_millis(500),
            min_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(60),
            max_retry_after: Duration::from_secs(3_600),
            refusal_ttl: Duration::from_secs(30),
            fetch_timeout: Duration::from_secs(60),
            trusted_after: Duration::from_secs(60),
            max_keys: 10_000,
            store_timeout: Duration::from_millis(100),
            store_start_timeout: Duration::from_secs(2),
            store_write_timeout: Duration::from_secs(2),
            max_concurrent_fetches: 64,
            shared: false,
        }
    }
}

impl Policy {
    /// Returns the time to refresh a token: a fifth of its lifetime or the maximum window before expiry, whichever is
    /// shorter, and up to half of that later, so that a fleet does not refresh in step.
    ///
    /// The server's advice takes precedence, with a tenth of the rest of the lifetime as jitter.
    pub(crate) fn refresh_at(&self, token: &AccessToken) -> Timestamp {
        let lifetime = token.lifetime();
        let (age, spread) = match token.refresh_in() {
            Some(advice) if advice < lifetime => (advice, lifetime.saturating_sub(advice) / 10),
            _ => {
                let window = (lifetime / 5).min(self.max_window);
                (lifetime.saturating_sub(window), window / 2)
            }
        };
        let age = age.saturating_add(spread.mul_f64(fastrand::f64()));
        token.requested_at().timestamp.saturating_add(age)
    }

    /// Returns the time to refresh a token that a refresh returned again: halfway through the rest of its lifetime, and
    /// not before a backoff step.
    pub(crate) fn refresh_again_at(&self, token: &AccessToken, now: Timestamp) -> Timestamp {
        let left = token.deadline().saturating_since(now);
        let wait = (left / 2).max(self.backoff(0));
        self.refresh_at(token).max(now.saturating_add(wait))
    }

    /// Returns true if this token has lived long enough to count as good, should it be refused now.
    pub(crate) fn is_trusted(&self, token: &AccessToken, now: Timestamp) -> bool {
        let age = now.saturating_since(token.requested_at().timestamp);
        age >= self.trusted_after.min(token.lifetime() / 2)
    }

    /// Returns the time after which waiters start another flight: longer than any flight whose task runs, so that it
    /// applies only if the task's runtime is not being driven.
    pub(crate) fn waiter_timeout(&self) -> Duration {
        /// A flight that waits for another process's fetch gives up between one and two fetch timeouts, or within a
        /// minute after one; the store calls, each with a timeout, take less than the rest.
        const STORE_TIMEOUT: Duration = Duration::from_secs(90);
        /// One that a refusal overtook, one that was late, and the one that counts.
        const MAX_LOADS: u32 = 3;
        let once = self.fetch_timeout.saturating_mul(2);
        let once = once.saturating_add(self.min_interval);
        let once = once
            .saturating_add(STORE_TIMEOUT)
            // In this process, and among all.
            .saturating_add(TRIAL_TIMEOUT * 2);
        once.saturating_mul(MAX_LOADS)
    }

    /// Returns the backoff after the n-th failure in a row, counted from zero: doubling, with up to half of it
    /// subtracted.
    pub(crate) fn backoff(&self, failures: u32) -> Duration {
        let full = self
            .min_backoff
            .saturating_mul(1 << failures.min(16))
            .min(self.max_backoff);
        full.saturating_sub((full / 2).mul_f64(fastrand::f64()))
    }

    /// Returns the interval between two fetches after the n-th young token in a row was refused.
    pub(crate) fn forced_interval(&self, in_row: u32) -> Duration {
        let doublings = in_row.saturating_sub(1).min(16);
        self.min_interval
            .saturating_mul(1 << doublings)
            .min(self.trusted_after.max(self.min_interval))
    }
}

#[cfg(test)]
mod tests {
    use hallpass_core::Clock as _;
    use hallpass_testkit::ManualClock;

    use super::*;

    fn token(lifetime: Duration) -> AccessToken {
        AccessToken::bearer("t", ManualClock::new().moment(), lifetime).unwrap()
    }

    fn ages(token: &AccessToken) -> impl Iterator<Item = Duration> {
        let asked = token.requested_at().timestamp;
        (0..200).map(move |_| Policy::default().refresh_at(token).saturating_since(asked))
    }

    // covers: F-67, F-69, I-11
    #[test]
    fn the_window_is_a_fraction_with_a_cap_and_jitter() {
        for (seconds, earliest, latest) in [
            (1.0, 0.8, 0.9),
            (5.0, 4.0, 4.5),
            (60.0, 48.0, 54.0),
            (3_600.0, 3_300.0, 3_450.0),
            (86_400.0, 86_100.0, 86_250.0),
        ] {
            let token = token(Duration::from_secs_f64(seconds));
            let ages: Vec<f64> = ages(&token).map(|age| age.as_secs_f64()).collect();
            assert!(
                ages.iter().all(|age| (earliest..=latest).contains(age)),
                "{seconds}: {ages:?}"
            );
            assert!(ages.windows(2).any(|pair| pair[0] < pair[1]));
        }
        let _ = Policy::default().refresh_at(&token(Duration::MAX));
        let _ = Policy::default().refresh_at(&token(Duration::ZERO));
    }

    #[test]
    fn the_servers_advice_takes_precedence() {
        let token = token(Duration::from_secs(3_600)).with_refresh_in(Duration::from_secs(1_800));
        for age in ages(&token) {
            assert!((1_800.0..=1_980.0).contains(&age.as_secs_f64()), "{age:?}");
        }
        // Unless it comes too late.
        for advice in [3_600, 7_200] {
            let token = token.clone().with_refresh_in(Duration::from_secs(advice));
            for age in ages(&token) {
                assert!((3_300.0..=3_450.0).contains(&age.as_secs_f64()), "{age:?}");
            }
        }
    }

    #[test]
    fn waiters_wait_for_a_flight_of_three_requests() {
        let policy = Policy::default();
        let loads = 3 * (policy.fetch_timeout + policy.min_interval + 2 * TRIAL_TIMEOUT);
        assert!(policy.waiter_timeout() > loads);
        let policy = Policy {
            fetch_timeout: Duration::MAX,
            ..policy
        };
        assert_eq!(policy.waiter_timeout(), Duration::MAX);
    }

    #[test]
    fn a_token_is_trusted_after_half_its_life_or_a_minute() {
        let clock = ManualClock::new();
        let trusted = |lifetime: u64, age: u64| {
            let (lifetime, age) = (Duration::from_secs(lifetime), Duration::from_secs(age));
            let token = AccessToken::bearer("t", clock.moment(), lifetime).unwrap();
            Policy::default().is_trusted(&token, clock.now().saturating_add(age))
        };
        assert!(!trusted(2, 0) && trusted(2, 1));
        assert!(!trusted(60, 29) && trusted(60, 30));
        assert!(!trusted(3_600, 59) && trusted(3_600, 60));
    }

    #[test]
    fn backoffs_and_intervals_grow_to_a_maximum() {
        let policy = Policy::default();
        for failures in 0..40 {
            let wait = policy.backoff(failures).as_secs_f64();
            let full = f64::from(1_u32 << failures.min(16)).min(60.0);
            assert!((full / 2.0..=full).contains(&wait), "{failures}: {wait}");
        }
        let intervals: Vec<u128> = (1..12)
            .map(|n| policy.forced_interval(n).as_millis())
            .collect();
        assert_eq!(intervals[..4], [500, 1_000, 2_000, 4_000]);
        assert_eq!(intervals[10], 60_000);
    }
}
