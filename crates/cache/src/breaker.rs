//! A circuit breaker: a store that keeps failing is not called for a while, and then probed by one call first.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hallpass_core::Timestamp;

/// The number of consecutive faults that opens the breaker.
const FAULTS: u32 = 3;
/// The time for which an open breaker blocks calls to the store.
const REST: Duration = Duration::from_secs(10);

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
    /// One call is in progress, and its outcome decides.
    HalfOpen,
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { faults: 0 }
    }
}

/// The breaker's decision about a call to the store.
pub(crate) enum Admission {
    Granted,
    /// The rest period is over, and this call is the first one after it.
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

    pub(crate) fn succeeded(&self) {
        self.change(|state| *state = State::default());
    }

    /// Counts a fault; returns true if it is the first one of a series or of a rest period, which deserves a warning.
    pub(crate) fn failed(&self, now: Timestamp) -> bool {
        self.change(|state| {
            let (faults, first) = match *state {
                State::Closed { faults } => (faults + 1, faults == 0),
                State::HalfOpen => (FAULTS, true),
                // From a call that started earlier.
                State::Open { .. } => return false,
            };
            *state = if faults >= FAULTS {
                let until = now.saturating_add(REST);
                State::Open { until }
            } else {
                State::Closed { faults }
            };
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
        if success {
            self.0.succeeded();
        } else {
            self.0.failed(now);
        }
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
    fn after_a_rest_one_question_decides() {
        let breaker = open();
        assert!(probe(&breaker, at(10)).is_none());
        let first = probe(&breaker, at(11)).expect("the rest is over");
        assert!(probe(&breaker, at(11)).is_none(), "one at a time");
        first.report(false, at(12));
        assert!(probe(&breaker, at(21)).is_none());
        let second = probe(&breaker, at(22)).expect("the rest is over");
        second.report(true, at(22));
        assert!(matches!(breaker.admit(at(22)), Admission::Granted));
    }

    #[test]
    fn a_probe_that_is_dropped_leaves_the_place_to_the_next() {
        let breaker = open();
        drop(probe(&breaker, at(11)).expect("the rest is over"));
        assert!(probe(&breaker, at(11)).is_some());
    }

    #[test]
    fn a_success_in_between_ends_the_row() {
        let breaker = Arc::new(Breaker::default());
        for _ in 0..10 {
            breaker.failed(at(1));
            breaker.failed(at(1));
            breaker.succeeded();
        }
        assert!(breaker.is_closed());
    }
}
