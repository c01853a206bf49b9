//! The state of the source for all keys, which share one set of credentials and one server.
//!
//! If the source is not known to work, one fetch tries it first, and the others wait for its result.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hallpass_core::{Clock, ErrorKind, Timestamp, TokenError};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{self, Instant},
};

use crate::failure::{CachedFailure, concerns_all_keys, rest_of_others};

/// The maximum wait for the fetch that tries the source. After that the others proceed: that one's key may be slow.
pub(crate) const TRIAL_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct Upstream {
    state: Mutex<State>,
    /// Notifies waiters of the end of a trial.
    over: Notify,
    permits: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    failure: Option<CachedFailure>,
    record: Record,
    /// The epoch of the credentials that the server accepted last.
    accepted: Option<u64>,
    /// The number of the trial in progress, and its start.
    trial: Option<(u64, Timestamp)>,
    trials: u64,
}

/// A summary of the source's responses so far.
#[derive(Clone, Copy, Default)]
pub(crate) struct Record {
    /// Consecutive transient failures that concern all keys.
    pub(crate) failures_in_row: u32,
    /// Responses for any key from a server that accepted the credentials.
    pub(crate) answers: u64,
}

/// A permit to start a flight, from a limited number.
pub(crate) enum FlightPermit {
    /// For the default key, which never waits for others, or for a nested fetch, which must not wait for what waits for
    /// it.
    Free,
    Bounded {
        _permit: OwnedSemaphorePermit,
    },
}

/// The right of one fetch to call the source. If it is dropped without a result, another fetch may try.
pub(crate) struct Entry<'a> {
    upstream: &'a Upstream,
    pub(crate) epoch: u64,
    trial: Option<u64>,
}

impl Upstream {
    pub(crate) fn new(max_fetches: usize) -> Self {
        Self {
            state: Mutex::default(),
            over: Notify::new(),
            permits: Arc::new(Semaphore::new(max_fetches.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// Returns a permit if one is free.
    pub(crate) fn try_permit(&self) -> Option<FlightPermit> {
        let permit = self.permits.clone().try_acquire_owned();
        permit
            .ok()
            .map(|permit| FlightPermit::Bounded { _permit: permit })
    }

    /// Waits for a permit, in order of arrival; returns `None` after `limit`.
    pub(crate) async fn wait_for_permit(&self, limit: Duration) -> Option<FlightPermit> {
        let permit = time::timeout(limit, self.permits.clone().acquire_owned()).await;
        // The semaphore is never closed.
        let permit = permit.ok()?.ok()?;
        Some(FlightPermit::Bounded { _permit: permit })
    }

    /// Admits a fetch, or returns the failure cached for all keys.
    ///
    /// Waits for a trial in progress, unless `nested`: the trial may be what this fetch is for.
    pub(crate) async fn enter(
        &self,
        nested: bool,
        epoch: impl Fn() -> u64,
        clock: &dyn Clock,
    ) -> Result<Entry<'_>, CachedFailure> {
        let until = Instant::now() + TRIAL_TIMEOUT;
        loop {
            // Before the state is read, or the end of a trial might be missed.
            let mut over = pin!(self.over.notified());
            over.as_mut().enable();
            if let Some(decided) = self.try_enter(nested || Instant::now() >= until, epoch(), clock)
            {
                return decided;
            }
            // In time or not: the state decides.
            let _ = time::timeout_at(until, over).await;
        }
    }

    /// Decides at once; returns `None` while a trial is in progress, unless `at_once`.
    fn try_enter(
        &self,
        at_once: bool,
        epoch: u64,
        clock: &dyn Clock,
    ) -> Option<Result<Entry<'_>, CachedFailure>> {
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

    /// Returns the failure cached for all keys, if there is one.
    pub(crate) fn failure(&self, now: Timestamp, epoch: u64) -> Option<CachedFailure> {
        self.state().holding(now, epoch).cloned()
    }

    /// Caches a failure that another process got, for all keys.
    pub(crate) fn failed_elsewhere(&self, failure: CachedFailure, now: Timestamp, epoch: u64) {
        self.state().failed(failure, now, epoch);
    }

    pub(crate) fn record(&self) -> Record {
        self.state().record
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn holding(&self, now: Timestamp, epoch: u64) -> Option<&CachedFailure> {
        let failure = self.failure.as_ref();
        failure.filter(|failure| failure.holds(now, epoch))
    }

    /// Begins a trial and returns its number; `None` while one is in progress.
    fn begin_trial(&mut self, now: Timestamp) -> Option<u64> {
        // Nobody waits for a trial that takes this long, and its runtime may be stuck.
        let fresh = |(_, began): &(u64, Timestamp)| now.saturating_since(*began) < TRIAL_TIMEOUT;
        if self.trial.as_ref().is_some_and(fresh) {
            return None;
        }
        self.trials += 1;
        self.trial = Some((self.trials, now));
        Some(self.trials)
    }

    /// Caches a failure that concerns all keys.
    fn failed(&mut self, failure: CachedFailure, now: Timestamp, epoch: u64) {
        // Concurrent fetches fail together: that is one failure, and the longest wait applies.
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
    /// Returns true if the other keys wait for the result of this fetch.
    pub(crate) fn is_trial(&self) -> bool {
        self.trial.is_some()
    }

    /// Records that the server accepted the credentials from another process. The other keys need not wait, unless this
    /// process has had failures of its own.
    pub(crate) fn accepted_elsewhere(&mut self) {
        if self.upstream.state().failure.is_none() {
            let epoch = self.epoch;
            self.end_trial(|state| state.accepted = Some(epoch));
            self.trial = None;
        }
    }

    fn end_trial(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.upstream.state();
        change(&mut state);
        if self.trial.is_some() && state.trial.map(|(trial, _)| trial) == self.trial {
            state.trial = None;
            drop(state);
            self.upstream.over.notify_waiters();
        }
    }

    /// Records the end of the fetch: this error, or a token. An error that concerns all keys is cached for them.
    ///
    /// `rest` is the time for which this key caches it, and `alone` is true if other keys were served since its
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
                    let failure = CachedFailure::new(error, now, rest, self.epoch);
                    state.failed(failure, now, self.epoch);
                }
            }
            // It says nothing about the server or the credentials.
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
        self.end_trial(|_| {});
    }
}
