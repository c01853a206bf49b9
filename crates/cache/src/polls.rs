//! The polling schedule of a process that waits for another one's fetch.

use std::time::Duration;

/// The lifetime of a lease unless its holder extends it: after a crash, others wait no longer than this.
pub(crate) const LEASE_TTL: Duration = Duration::from_secs(3);

/// The pause after the first poll; it doubles up to the maximum. Each is shortened by up to a quarter at random, so
/// that processes that start together do not poll together.
const MIN_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// A later lease is requested at every second poll, and at least at this interval.
const LEASE_INTERVAL: Duration = Duration::from_secs(1);

/// The maximum pause after the store reported a change, and the maximum number of changes that are used.
const PAUSE_AFTER_CHANGE: Duration = Duration::from_millis(20);
const MAX_CHANGES: u32 = 50;

/// After this many holders that put no token, the wait ends within one more.
const MAX_LOST_HOLDERS: u32 = 2;
const LAST_HOLDER_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct Polls {
    /// The number of polls so far.
    number: u32,
    /// The fence number of the current lease, and the number of earlier holders that put no token.
    holder: Option<u64>,
    lost_holders: u32,
    /// The number of reported changes.
    changes: u32,
    lease_requested_at: Option<Duration>,
    /// The expiry of the lease that was seen first, unless its holder is alive.
    lease_end: Duration,
    end: Duration,
}

impl Polls {
    /// Creates a schedule. Each process gives up at a random time if another one could have fetched and has not:
    /// between one and two fetch timeouts, or a minute after it. The first fetch serves the others.
    pub(crate) fn new(fetch_timeout: Duration) -> Self {
        const MAX_SPREAD: Duration = Duration::from_secs(60);
        let spread = fetch_timeout.min(MAX_SPREAD).mul_f64(fastrand::f64());
        Self {
            number: 0,
            holder: None,
            lost_holders: 0,
            changes: 0,
            lease_requested_at: None,
            lease_end: LEASE_TTL + (LEASE_TTL / 10).mul_f64(fastrand::f64()),
            end: fetch_timeout.saturating_add(spread),
        }
    }

    pub(crate) fn is_over(&self, waited: Duration) -> bool {
        waited >= self.end
    }

    /// Returns true if it is time to request the lease.
    pub(crate) fn wants_lease(&mut self, waited: Duration) -> bool {
        let due = |asked: Duration| {
            let ended = asked < self.lease_end && waited >= self.lease_end;
            ended || waited.saturating_sub(asked) >= LEASE_INTERVAL
        };
        let asks = self.number.is_multiple_of(2) || self.lease_requested_at.is_none_or(due);
        if asks {
            self.lease_requested_at = Some(waited);
        }
        asks
    }

    /// Records the holder of the lease. A holder that put no token has crashed or failed. The next one is waited for;
    /// after that the server is at fault, or its tokens cannot be shared, and each process fetches for itself, at a
    /// random time.
    pub(crate) fn note_holder(&mut self, fence: Option<u64>, waited: Duration) {
        if fence.is_none() || fence == self.holder {
            return;
        }
        if self.holder.is_some() {
            self.lost_holders += 1;
        }
        self.holder = fence;
        if self.lost_holders == MAX_LOST_HOLDERS {
            let end = waited.saturating_add(LAST_HOLDER_TIMEOUT.mul_f64(fastrand::f64()));
            self.end = self.end.min(end);
        }
    }

    /// Returns true if the store's notifications are used: not by a process that finds its token at the first poll, and
    /// not if there are far too many.
    pub(crate) fn listens(&self) -> bool {
        self.number > 0 && self.changes < MAX_CHANGES
    }

    /// Returns how long to wait after a change: all notified processes would poll at once.
    pub(crate) fn pause_after_change(&mut self) -> Duration {
        self.changes += 1;
        // The change may be a released lease.
        self.lease_requested_at = None;
        PAUSE_AFTER_CHANGE.mul_f64(fastrand::f64())
    }

    /// Returns how long to wait before the next poll.
    pub(crate) fn pause(&mut self, waited: Duration) -> Duration {
        let full = MIN_PAUSE
            .saturating_mul(1 << self.number.min(16))
            .min(MAX_PAUSE);
        self.number += 1;
        let pause = full.saturating_sub((full / 4).mul_f64(fastrand::f64()));
        // The holder may have crashed at the start.
        let pause = match self.lease_end.checked_sub(waited) {
            Some(left) if !left.is_zero() => pause.min(left),
            _ => pause,
        };
        pause.min(self.end.saturating_sub(waited))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the times of all polls and of the lease requests, in seconds.
    fn times(fetch_timeout: Duration) -> (Vec<f64>, Vec<f64>) {
        let mut polls = Polls::new(fetch_timeout);
        let (mut all, mut leases) = (Vec::new(), Vec::new());
        let mut waited = Duration::ZERO;
        loop {
            all.push(waited.as_secs_f64());
            if polls.wants_lease(waited) {
                leases.push(waited.as_secs_f64());
            }
            if polls.is_over(waited) {
                return (all, leases);
            }
            waited += polls.pause(waited);
        }
    }

    #[test]
    fn polls_slow_down_and_end_at_a_random_time() {
        let minute = Duration::from_secs(60);
        let ends: Vec<f64> = (0..200).map(|_| *times(minute).0.last().unwrap()).collect();
        assert!(
            ends.iter().all(|end| (60.0..=120.0).contains(end)),
            "{ends:?}"
        );
        let early = ends.iter().filter(|end| **end < 62.0).count();
        assert!(early < 30, "{early} of 200 in the first of thirty parts");
        for _ in 0..200 {
            let (all, leases) = times(minute);
            let until = |list: &[f64], end: f64| list.iter().filter(|at| **at < end).count();
            // 0, 50, 150, 350, 750, 1550 ms, or up to a quarter earlier.
            assert!((6..=7).contains(&until(&all, 2.0)), "{all:?}");
            assert!((3..=5).contains(&until(&leases, 2.0)), "{leases:?}");
            assert!(until(&all, 20.0) <= 7 + 2 + 12, "{all:?}");
            // A lease that nobody extends is taken over at once.
            assert!(
                leases.iter().any(|at| (3.0..=3.3).contains(at)),
                "{leases:?}"
            );
        }
    }

    #[test]
    fn a_series_of_failing_holders_ends_the_wait() {
        let second = Duration::from_secs(1);
        for _ in 0..100 {
            let mut polls = Polls::new(60 * second);
            for (at, fence) in [(0, 1), (1, 1), (10, 2), (20, 2)] {
                polls.note_holder(Some(fence), at * second);
                polls.note_holder(None, at * second);
                assert!(!polls.is_over(59 * second));
            }
            polls.note_holder(Some(3), 30 * second);
            assert!(!polls.is_over(30 * second) || polls.end == 30 * second);
            assert!(polls.is_over(35 * second));
            let end = polls.end;
            polls.note_holder(Some(4), 31 * second);
            assert_eq!(polls.end, end);
        }
    }

    #[test]
    fn any_fetch_timeout_yields_a_schedule() {
        let mut endless = Polls::new(Duration::MAX);
        assert!(!endless.is_over(Duration::from_secs(1 << 40)));
        for _ in 0..100 {
            let pause = endless.pause(Duration::ZERO);
            assert!(pause <= MAX_PAUSE && !pause.is_zero());
        }
        assert_eq!(times(Duration::ZERO).0, [0.0]);
    }
}
