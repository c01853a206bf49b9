//! The polling schedule of a process that waits for another one's fetch.

use std::time::Duration;

/// The lifetime of a lease unless its holder extends it: after a crash, others wait no longer than this.
pub(crate) const LEASE_TTL: Duration = Duration::from_secs(3);

/// The pause after the first poll; it doubles up to the maximum. Each is shortened by up to a quarter at random, so
/// that processes that start together do not poll together.
const MIN_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// The second pause and the maximum if the store notifies: polls find what a lost notification would have reported, and
/// the lease of a crashed process.
const MIN_NOTIFIED_PAUSE: Duration = Duration::from_millis(800);
const MAX_NOTIFIED_PAUSE: Duration = Duration::from_secs(4);

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
    /// The expiry of the lease that was seen first, unless its holder is alive.
    lease_end: Duration,
    end: Duration,
}

impl Polls {
    /// Creates a schedule. Each process gives up at a random time if another one could have fetched and has not:
    /// between one and two fetch timeouts, or a minute after it. The first fetch serves the others.
    pub(crate) fn new(fetch_timeout: Duration) -> Self {
        const MAX_SPREAD: Duration = Duration::from_secs(60);
        Self::with_end(fetch_timeout, fetch_timeout.min(MAX_SPREAD), LEASE_TTL)
    }

    /// Creates the schedule of a wait for the first use of credentials, whose lease has this time to live.
    pub(crate) fn for_trial(lease_ttl: Duration) -> Self {
        const SPREAD: Duration = Duration::from_secs(1);
        Self::with_end(lease_ttl, SPREAD, lease_ttl)
    }

    fn with_end(limit: Duration, spread: Duration, lease_ttl: Duration) -> Self {
        Self {
            number: 0,
            holder: None,
            lost_holders: 0,
            changes: 0,
            lease_end: lease_ttl + (lease_ttl / 10).mul_f64(fastrand::f64()),
            end: limit.saturating_add(spread.mul_f64(fastrand::f64())),
        }
    }

    pub(crate) fn is_over(&self, waited: Duration) -> bool {
        waited >= self.end
    }

    /// Records the holder of the lease; returns true if another process held it before.
    ///
    /// A holder that put no token has crashed or failed. The next one is waited for; after that the server is at fault,
    /// or its tokens cannot be shared, and each process fetches for itself, at a random time.
    pub(crate) fn note_holder(&mut self, fence: Option<u64>, waited: Duration) -> bool {
        if fence.is_none() || fence == self.holder {
            return false;
        }
        let lost = self.holder.is_some();
        self.lost_holders += u32::from(lost);
        self.holder = fence;
        if lost && self.lost_holders == MAX_LOST_HOLDERS {
            let end = waited.saturating_add(LAST_HOLDER_TIMEOUT.mul_f64(fastrand::f64()));
            self.end = self.end.min(end);
        }
        lost
    }

    /// Returns true if the store's notifications are used: not by a process that finds its token at the first poll, and
    /// not if there are far too many.
    pub(crate) fn listens(&self) -> bool {
        self.number > 0 && self.changes < MAX_CHANGES
    }

    /// Returns how long to wait after a change: all notified processes would poll at once.
    pub(crate) fn pause_after_change(&mut self) -> Duration {
        self.changes += 1;
        PAUSE_AFTER_CHANGE.mul_f64(fastrand::f64())
    }

    /// Returns how long to wait before the next poll; `notifies` is true if the store reports changes.
    pub(crate) fn pause(&mut self, waited: Duration, notifies: bool) -> Duration {
        let full = match self.number.checked_sub(1) {
            Some(number) if notifies => MIN_NOTIFIED_PAUSE
                .saturating_mul(5_u32.saturating_pow(number))
                .min(MAX_NOTIFIED_PAUSE),
            _ => MIN_PAUSE
                .saturating_mul(1 << self.number.min(16))
                .min(MAX_PAUSE),
        };
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

    const SECOND: Duration = Duration::from_secs(1);

    /// Returns the times of all polls, in seconds.
    fn times(fetch_timeout: Duration, notifies: bool) -> Vec<f64> {
        let mut polls = Polls::new(fetch_timeout);
        let mut all = Vec::new();
        let mut waited = Duration::ZERO;
        loop {
            all.push(waited.as_secs_f64());
            if polls.is_over(waited) {
                return all;
            }
            waited += polls.pause(waited, notifies);
        }
    }

    #[test]
    fn polls_slow_down_and_end_at_a_random_time() {
        for notifies in [false, true] {
            let all: Vec<_> = (0..200).map(|_| times(60 * SECOND, notifies)).collect();
            let ends: Vec<f64> = all.iter().map(|all| *all.last().unwrap()).collect();
            assert!(
                ends.iter().all(|end| (60.0..=120.0).contains(end)),
                "{ends:?}"
            );
            let early = ends.iter().filter(|end| **end < 62.0).count();
            assert!(early < 30, "{early} of 200 in the first of thirty parts");
        }
    }

    #[test]
    fn the_number_of_polls_is_bounded() {
        for (notifies, seconds, least, most) in [
            // At 0, 50, 150, 350, 750, 1550 ms and so on, or up to a quarter earlier.
            (false, 2.0, 6, 7),
            (false, 20.0, 16, 7 + 2 + 12),
            // At 0, 50, 850 ms, when the first lease ends, and every three to four seconds.
            (true, 2.0, 3, 3),
            (true, 4.0, 4, 4),
            (true, 20.0, 8, 10),
        ] {
            for _ in 0..200 {
                let all = times(60 * SECOND, notifies);
                let until = all.iter().filter(|at| **at < seconds).count();
                assert!((least..=most).contains(&until), "{notifies}: {all:?}");
                // A lease that nobody extends is taken over at once.
                assert!(all.iter().any(|at| (3.0..=3.3).contains(at)), "{all:?}");
            }
        }
    }

    #[test]
    fn a_series_of_failing_holders_ends_the_wait() {
        let second = SECOND;
        for _ in 0..100 {
            let mut polls = Polls::new(60 * second);
            for (at, fence) in [(0, 1), (1, 1), (10, 2), (20, 2)] {
                let lost = polls.note_holder(Some(fence), at * second);
                assert_eq!(lost, at == 10);
                assert!(!polls.note_holder(None, at * second));
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
    fn changes_are_used_after_the_first_poll_and_up_to_a_limit() {
        for notified in [0, MAX_CHANGES - 1, MAX_CHANGES] {
            let mut polls = Polls::new(60 * SECOND);
            assert!(!polls.listens());
            polls.pause(Duration::ZERO, true);
            let pauses: Vec<_> = (0..notified).map(|_| polls.pause_after_change()).collect();
            assert!(pauses.iter().all(|pause| *pause <= PAUSE_AFTER_CHANGE));
            // Processes that are notified together do not poll together.
            assert!(notified == 0 || pauses.windows(2).any(|pair| pair[0] != pair[1]));
            assert_eq!(polls.listens(), notified < MAX_CHANGES);
        }
    }

    #[test]
    fn any_fetch_timeout_yields_a_schedule() {
        let mut endless = Polls::new(Duration::MAX);
        assert!(!endless.is_over(Duration::from_secs(1 << 40)));
        for _ in 0..100 {
            let pause = endless.pause(Duration::ZERO, false);
            assert!(pause <= MAX_PAUSE && !pause.is_zero());
        }
        assert_eq!(times(Duration::ZERO, true), [0.0]);
    }
}
