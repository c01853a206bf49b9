//! A circuit breaker: a store that keeps failing is not called for a while, and then probed by one call first.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hallpass_core::Timestamp;

/// The number of consecutive faults that opens the breaker.
pub(crate) const FAULT_LIMIT: u32 = 3;
/// The time for which an open breaker blocks calls to the store.
const OPEN_DURATION: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(crate) struct Breaker(Mutex<State>);

#[derive(Clone, Copy)]
enum State {
    Closed {
        /// Consecutive faults.
        faults: u32,
    },
    Open {
        until: Timestamp,
    },
    /// A probe is in progress, and its outcome decides.
    HalfOpen,
}

impl State {
    fn open(now: Timestamp) -> Self {
        let until = now.saturating_add(OPEN_DURATION);
        Self::Open { until }
    }
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { faults: 0 }
    }
}

/// The breaker's decision about a call to the store.
pub(crate) enum Admission {
    Granted,
    /// The breaker has been open for long enough, and this call decides whether it closes.
    Probe(Probe),
    Denied,
}

impl Breaker {
    /// Decides about a call that can serve as a probe.
    pub(crate) fn admit(self: &Arc<Self>, now: Timestamp) -> Admission {
        self.change(|state| match *state {
            State::Closed { .. } => Admission::Granted,
            State::Open { until } if now >= until => {
                *state = State::HalfOpen;
                Admission::Probe(Probe(self.clone()))
            }
            State::Open { .. } | State::HalfOpen => Admission::Denied,
        })
    }

    /// Returns true if the store is considered available.
    pub(crate) fn is_closed(&self) -> bool {
        self.change(|state| matches!(state, State::Closed { .. }))
    }

    /// Ends a series of faults. A success of a call that started before the breaker opened does not close it: only the
    /// probe's does.
    pub(crate) fn succeeded(&self) {
        self.change(|state| {
            if let State::Closed { faults } = state {
                *faults = 0;
            }
        });
    }

    /// Counts a fault; returns true if it is the first one of a series, which deserves a warning. A fault of a call that
    /// started before the breaker opened is ignored.
    pub(crate) fn failed(&self, now: Timestamp) -> bool {
        self.change(|state| {
            let State::Closed { faults } = state else {
                return false;
            };
            *faults += 1;
            let first = *faults == 1;
            if *faults >= FAULT_LIMIT {
                *state = State::open(now);
            }
            first
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The obligation to report the outcome of the probe. If it is dropped without a report, the next call is the probe.
pub(crate) struct Probe(Arc<Breaker>);

impl Probe {
    pub(crate) fn report(self, success: bool, now: Timestamp) {
        self.0.change(|state| {
            *state = if success {
                State::default()
            } else {
                State::open(now)
            };
        });
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.0.change(|state| {
            if let State::HalfOpen = state {
                let until = Timestamp::default();
                *state = State::Open { until };
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_origin(Duration::from_secs(seconds))
    }

    fn open() -> Arc<Breaker> {
        let breaker = Arc::new(Breaker::default());
        let first = [(); 3].map(|()| breaker.failed(at(1)));
        assert_eq!(first, [true, false, false]);
        breaker
    }

    fn probe(breaker: &Arc<Breaker>, now: Timestamp) -> Option<Probe> {
        match breaker.admit(now) {
            Admission::Probe(probe) => Some(probe),
            Admission::Granted => panic!("it is open"),
            Admission::Denied => None,
        }
    }

    // covers: F-88
    #[test]
    fn one_probe_at_a_time_decides_about_an_open_breaker() {
        let breaker = open();
        assert!(probe(&breaker, at(10)).is_none());
        let first = probe(&breaker, at(11)).expect("a probe is due");
        assert!(probe(&breaker, at(11)).is_none(), "one at a time");
        first.report(false, at(12));
        assert!(probe(&breaker, at(21)).is_none());
        let second = probe(&breaker, at(22)).expect("a probe is due");
        second.report(true, at(22));
        assert!(matches!(breaker.admit(at(22)), Admission::Granted));
    }

    #[test]
    fn the_call_after_a_dropped_probe_is_the_next_probe() {
        let breaker = open();
        drop(probe(&breaker, at(11)).expect("a probe is due"));
        assert!(probe(&breaker, at(11)).is_some());
    }

    #[test]
    fn a_late_success_does_not_close_an_open_breaker() {
        let breaker = open();
        breaker.succeeded();
        assert!(!breaker.is_closed());
        assert!(probe(&breaker, at(10)).is_none(), "it stays open");
        assert!(probe(&breaker, at(11)).is_some());
    }

    #[test]
    fn late_outcomes_do_not_decide_for_a_probe() {
        let breaker = open();
        let first = probe(&breaker, at(11)).expect("a probe is due");
        breaker.succeeded();
        assert!(!breaker.is_closed());
        assert!(!breaker.failed(at(11)), "the warning is the probe's");
        assert!(!breaker.is_closed());
        first.report(true, at(12));
        assert!(breaker.is_closed());
    }

    #[test]
    fn a_success_ends_a_series_of_faults() {
        let breaker = Arc::new(Breaker::default());
        for _ in 0..10 {
            breaker.failed(at(1));
            breaker.failed(at(1));
            breaker.succeeded();
        }
        assert!(breaker.is_closed());
    }
}
