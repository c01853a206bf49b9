//! The state of the source for all keys: one set of credentials and one server stand behind them.
//!
//! Where the source is not known to answer, one fetch tries it first, and the others wait for its result.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hallpass_core::{Clock, ErrorKind, Timestamp, TokenError};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{self, Instant},
};

use crate::failure::{Failure, concerns_all_keys, rest_of_others};

/// The longest wait for the fetch that tries the source. After that the others go ahead: that one's key may be slow.
pub(crate) const TRIAL: Duration = Duration::from_secs(5);

pub(crate) struct Upstream {
    state: Mutex<State>,
    /// Notifies those who wait for a trial of its end.
    over: watch::Sender<()>,
    places: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    failure: Option<Failure>,
    record: Record,
    /// The epoch of the credentials that the server accepted last.
    accepted: Option<u64>,
    /// The number of the trial under way, and its start.
    trial: Option<(u64, Timestamp)>,
    trials: u64,
}

/// A summary of the source's answers so far.
#[derive(Clone, Copy, Default)]
pub(crate) struct Record {
    /// Failures in a row that concern all keys and that time may end.
    pub(crate) failures_in_row: u32,
    /// Answers to any key that came from a server that accepted the credentials.
    pub(crate) answers: u64,
}

/// The right to start a flight: one of those that may be under way at a time.
pub(crate) enum Place {
    /// Of the default key, which never has to wait for others, or of a fetch within another one, which must not wait
    /// for what waits for it.
    Free,
    Bounded {
        _permit: OwnedSemaphorePermit,
    },
}

/// The right of one fetch to ask the source. If it is dropped without a result, another fetch may try.
pub(crate) struct Entry<'a> {
    upstream: &'a Upstream,
    pub(crate) epoch: u64,
    trial: Option<u64>,
}

impl Upstream {
    pub(crate) fn new(max_fetches: usize) -> Self {
        Self {
            state: Mutex::default(),
            over: watch::Sender::new(()),
            places: Arc::new(Semaphore::new(max_fetches.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// Returns a place if one is free.
    pub(crate) fn place(&self) -> Option<Place> {
        let permit = self.places.clone().try_acquire_owned();
        permit.ok().map(|permit| Place::Bounded { _permit: permit })
    }

    /// Waits for a place, in the order of asking; `None` after `patience`.
    pub(crate) async fn wait_for_place(&self, patience: Duration) -> Option<Place> {
        let permit = time::timeout(patience, self.places.clone().acquire_owned()).await;
        // The semaphore is never closed.
        let permit = permit.ok()?.ok()?;
        Some(Place::Bounded { _permit: permit })
    }

    /// Lets a fetch go ahead, or returns the failure that is remembered for all keys.
    ///
    /// Waits for a trial that is under way, unless `nested`: the trial may be what this fetch is for.
    pub(crate) async fn enter(
        &self,
        nested: bool,
        epoch: impl Fn() -> u64,
        clock: &dyn Clock,
    ) -> Result<Entry<'_>, Failure> {
        let until = Instant::now() + TRIAL;
        loop {
            // Before the look at the state, or the end of a trial might be missed.
            let mut over = self.over.subscribe();
            if let Some(decided) = self.try_enter(nested || Instant::now() >= until, epoch(), clock)
            {
                return decided;
            }
            // In time or not: the state tells what to do.
            let _ = time::timeout_at(until, over.changed()).await;
        }
    }

    /// Decides at once; `None` while a trial is under way, unless `at_once`.
    fn try_enter(
        &self,
        at_once: bool,
        epoch: u64,
        clock: &dyn Clock,
    ) -> Option<Result<Entry<'_>, Failure>> {
        let now = clock.now();
        let mut state = self.state();
        if let Some(failure) = state.holding(now, epoch) {
            return Some(Err(failure.clone()));
        }
        let known_to_answer = state.failure.is_none() && state.accepted == Some(epoch);
        let trial = if known_to_answer || at_once {
            None
        } else {
            Some(state.begin_trial(now)?)
        };
        Some(Ok(Entry {
            upstream: self,
            epoch,
            trial,
        }))
    }

    pub(crate) fn record(&self) -> Record {
        self.state().record
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn holding(&self, now: Timestamp, epoch: u64) -> Option<&Failure> {
        let failure = self.failure.as_ref();
        failure.filter(|failure| failure.holds(now, epoch))
    }

    /// Begins a trial and returns its number; `None` while one is under way.
    fn begin_trial(&mut self, now: Timestamp) -> Option<u64> {
        // For one that takes that long nobody waits any more, and its runtime may stand still.
        let fresh = |(_, began): &(u64, Timestamp)| now.saturating_since(*began) < TRIAL;
        if self.trial.as_ref().is_some_and(fresh) {
            return None;
        }
        self.trials += 1;
        self.trial = Some((self.trials, now));
        Some(self.trials)
    }

    /// Remembers a failure that concerns all keys.
    fn failed(&mut self, failure: Failure, now: Timestamp, epoch: u64) {
        // Fetches that ran at the same time fail together: that is one failure, and the longest wait counts.
        if let Some(before) = self.holding(now, epoch) {
            if before.until < failure.until {
                self.failure = Some(failure);
            }
            return;
        }
        let row = self.record.failures_in_row.saturating_add(1);
        self.record.failures_in_row = if failure.error.is_transient() { row } else { 0 };
        self.failure = Some(failure);
    }
}

impl Entry<'_> {
    /// Notes how the fetch ended: with this error, or with a token. An error that concerns all keys is remembered for
    /// them.
    ///
    /// `rest` is the time for which this key repeats it, and `alone` says that other keys were served since its
    /// failures began.
    pub(crate) fn landed(
        self,
        error: Option<&TokenError>,
        rest: Option<Duration>,
        alone: bool,
        now: Timestamp,
    ) {
        let mut state = self.upstream.state();
        match error {
            Some(error) if concerns_all_keys(error) => {
                if !alone && let Some(rest) = rest {
                    let rest = rest_of_others(error, rest);
                    let failure = Failure::new(error, now, rest, self.epoch);
                    state.failed(failure, now, self.epoch);
                }
            }
            // It tells nothing about the server or the credentials.
            Some(error) if error.kind() != ErrorKind::RequestRefused => {}
            _ => {
                state.failure = None;
                state.accepted = Some(self.epoch);
                state.record.failures_in_row = 0;
                state.record.answers += 1;
            }
        }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        let mut state = self.upstream.state();
        if let Some(mine) = self.trial
            && state.trial.is_some_and(|(trial, _)| trial == mine)
        {
            state.trial = None;
            drop(state);
            self.upstream.over.send_replace(());
        }
    }
}
