//! One key's token and its state machine. No runtime and no I/O: each step takes the time and returns at once.
//!
//! Readers see [`Current`] without a lock; everything else happens under one short lock.

// The path is explicit because the checker includes this file from another module.
#[path = "slot/state.rs"]
mod state;

use std::time::Duration;

use hallpass_core::{AccessToken, Timestamp, TokenError};

use self::state::State;
// Relative: the checker compiles this file with other primitives (`explore.rs`).
use super::{
    current::{Current, is_live},
    sync::{AtomicBool, Mutex, MutexGuard, Ordering, lock},
};
use crate::{
    failure::CachedFailure,
    policy::Policy,
    step::{Flight, Landing, LoadError, NextStep, Report},
    upstream::{FlightPermit, Record},
};

pub(crate) use super::current::Ready;

// In this order, so that the fields that a hit reads are adjacent.
#[repr(C)]
pub(crate) struct Slot {
    current: Current,
    /// True if it was used since the last eviction pass: a second chance instead of an exact LRU order.
    used: AtomicBool,
    state: Mutex<State>,
}

impl Slot {
    pub(crate) fn new() -> Self {
        Self {
            current: Current::none(),
            // A key used once is evicted before one that is used again.
            used: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    /// Returns the token if it has not expired: the hot path.
    #[inline]
    pub(crate) fn ready(&self, now: Timestamp) -> Option<Ready> {
        self.current.ready(now)
    }

    /// Returns the flight to start for the caller that [`Ready::refresh`] chose, if the rules allow one now and there is
    /// a place for it.
    pub(crate) fn refresh(
        &self,
        now: Timestamp,
        epoch: u64,
        policy: &Policy,
        permit: Option<FlightPermit>,
    ) -> Option<Flight> {
        let mut state = self.state();
        // A flight in progress sets the next refresh point when it lands. A token without a claim is not the one that
        // this caller saw.
        if state.flight.is_some() || !self.current.is_claimed() {
            return None;
        }
        let gate = state.refresh_gate(now, epoch);
        if gate > now || permit.is_none() {
            self.current
                .refresh_at(gate.max(now.saturating_add(policy.min_interval)));
            return None;
        }
        Some(state.start(true, Duration::ZERO, permit).0)
    }

    /// Returns the flight to start for the keeper of a warm token, if the rules allow one now, with or without a token.
    pub(crate) fn keep(&self, now: Timestamp, epoch: u64, policy: &Policy) -> Option<Flight> {
        let permit = Some(FlightPermit::Free);
        if let Some(ready) = self.ready(now) {
            return ready
                .refresh
                .then(|| self.refresh(now, epoch, policy, permit))?;
        }
        let mut state = self.state();
        let idle = state.flight.is_none() && self.current.live(now).is_none();
        let start = idle && state.refresh_gate(now, epoch) <= now;
        start.then(|| state.start(true, Duration::ZERO, permit).0)
    }

    /// Decides for a caller that found no token (the slow path); it may start a flight if it has a permit.
    pub(crate) fn begin(
        &self,
        now: Timestamp,
        epoch: u64,
        policy: &Policy,
        permit: Option<FlightPermit>,
    ) -> NextStep {
        let mut state = self.state();
        let current = self.current.token();
        if let Some(token) = current.as_ref().filter(|token| is_live(token, now)) {
            return NextStep::Ready(token.clone());
        }
        if state.evicted {
            return NextStep::Evicted;
        }
        if let Some(flight) = &state.flight {
            return NextStep::Join(flight.ticket());
        }
        state.note_good(current.as_ref(), now, policy);
        let mut delay = state.not_before.saturating_since(now);
        if let Err(failure) = state.may_fetch(now, epoch, policy) {
            // Another process may have put a token into the store in the meantime.
            if !policy.shared || now < state.no_look_before {
                return NextStep::Failed(failure.repeated(now));
            }
            delay = Duration::ZERO;
        }
        if permit.is_none() {
            return NextStep::Full;
        }
        let (flight, ticket) = state.start(false, delay, permit);
        NextStep::Start(flight, ticket)
    }

    /// Returns the cached failure of this key that prevents a call to the source, if there is one.
    pub(crate) fn may_fetch(
        &self,
        now: Timestamp,
        epoch: u64,
        policy: &Policy,
    ) -> Result<(), CachedFailure> {
        self.state().may_fetch(now, epoch, policy)
    }

    /// Records that a flight begins to look for a token: earlier invalidations do not concern it.
    pub(crate) fn on_lookup(&self, flight: &mut Flight, now: Timestamp, policy: &Policy) {
        let mut state = self.state();
        flight.generation = state.generation;
        state.no_look_before = now.saturating_add(policy.min_interval);
    }

    /// Records that the source is called now: earlier invalidations do not concern its token.
    pub(crate) fn on_fetch(&self, flight: &mut Flight, now: Timestamp, policy: &Policy) {
        let mut state = self.state();
        flight.generation = state.generation;
        state.last_fetch = now;
        state.not_before = state
            .not_before
            .max(now.saturating_add(policy.min_interval));
    }

    /// Ends a fetch that began with credentials of this epoch: stores the result if allowed and notifies all waiters.
    pub(crate) fn land(
        &self,
        flight: &mut Flight,
        result: Result<AccessToken, LoadError>,
        now: Timestamp,
        epoch: u64,
        source: Record,
        policy: &Policy,
    ) -> Landing {
        let state = self.state();
        if !state.is_under_way(flight.id) {
            return Landing::Lost;
        }
        let again = match &result {
            // It was in progress when the previous token was refused, and may be the refused one. This happens at most
            // once in a flight: there is no token to refuse until it lands.
            Ok(_) if flight.generation != state.generation => true,
            // It expired in transit, or its binding ended.
            Ok(token) => {
                let unusable = !is_live(token, now) && !token.lifetime().is_zero();
                let first = unusable && !flight.was_unusable;
                flight.was_unusable |= unusable;
                first
            }
            Err(_) => false,
        };
        let wait = state.not_before.saturating_since(now);
        let result = match result {
            Ok(_) if again && wait <= policy.min_interval => return Landing::Again(wait),
            Ok(_) if again => Err(LoadError::Source(state.too_often(wait))),
            // A token whose binding ended twice may be used for a while.
            Ok(token) if token.is_expired(now) && !token.lifetime().is_zero() => {
                Err(LoadError::Source(expired_on_arrival()))
            }
            result => result,
        };
        let when = (now, epoch, source);
        Landing::Done(self.conclude(state, result, flight.refresh, when, policy))
    }

    /// Ends a flight with this error.
    pub(crate) fn fail(&self, flight: u32, error: TokenError, now: Timestamp, policy: &Policy) {
        let state = self.state();
        if state.is_under_way(flight) {
            let when = (now, 0, Record::default());
            self.conclude(state, Err(LoadError::Source(error)), false, when, policy);
        }
    }

    /// Stores the result if allowed, and notifies all waiters.
    fn conclude(
        &self,
        mut state: MutexGuard<'_, State>,
        result: Result<AccessToken, LoadError>,
        refresh: bool,
        (now, epoch, source): (Timestamp, u64, Record),
        policy: &Policy,
    ) -> Report {
        let before = self.current.token();
        state.note_good(before.as_ref(), now, policy);
        let (mut rest, mut alone) = (None, false);
        let result = match result {
            Ok(token) => {
                state.failure = None;
                state.failures_in_row = 0;
                state.failing_since = None;
                if !token.is_expired(now) {
                    let again = before.as_ref().is_some_and(|old| old.is_same(&token));
                    let refresh_at = if again {
                        policy.refresh_again_at(&token, now)
                    } else {
                        policy.refresh_at(&token)
                    };
                    self.current.replace(token.clone(), refresh_at);
                } else if refresh {
                    // A token that expires at once serves its waiters only: refreshing it is pointless.
                    let until = now.saturating_add(policy.max_backoff);
                    state.no_refresh_before = until;
                    self.current.refresh_at(until);
                }
                Ok(token)
            }
            Err(fault) => {
                let (error, failure) = match fault {
                    LoadError::Source(error) => {
                        let since = *state.failing_since.get_or_insert(source.answers);
                        alone = since < source.answers;
                        let in_row = if alone { 0 } else { source.failures_in_row };
                        let penalty = state.penalty(&error, in_row, policy);
                        rest = Some(penalty);
                        let failure = CachedFailure::new(&error, now, penalty, epoch);
                        (error, failure)
                    }
                    LoadError::Cached(failure) => {
                        // That of all keys may end before the key's own.
                        let own = state.failure(now, epoch);
                        let own = own.filter(|own| own.until > failure.until);
                        let failure = own.cloned().unwrap_or(failure);
                        (failure.repeated(now), failure)
                    }
                };
                self.current.refresh_at(failure.until);
                let since = state.failure.as_ref().map(|earlier| earlier.since);
                let since = since.unwrap_or(failure.since).min(failure.since);
                state.failure = Some(Box::new(CachedFailure { since, ..failure }));
                Err(error)
            }
        };
        let flight = state.flight.take();
        drop(state);
        let mut waiters = 0;
        if let Some(flight) = flight {
            waiters = flight.waiters.receiver_count();
            flight.waiters.send_replace(Some(result.clone()));
        }
        Report {
            result,
            waiters,
            before,
            rest,
            alone,
        }
    }

    /// Ends a flight without a result: its task was dropped, or its waiters timed out. They find their channel closed.
    pub(crate) fn abandon(&self, flight: u32, now: Timestamp) {
        let mut state = self.state();
        if state.is_under_way(flight) {
            state.flight = None;
            self.current.refresh_at(now);
        }
    }

    /// Leaves a refresh to the next caller, since the one that [`Ready::refresh`] chose cannot start it.
    pub(crate) fn abandon_claim(&self, now: Timestamp) {
        let state = self.state();
        if state.flight.is_none() && self.current.is_claimed() {
            self.current.refresh_at(now);
        }
    }

    /// Drops `token` and returns true if it is the current one.
    pub(crate) fn invalidate(&self, token: &AccessToken, now: Timestamp, policy: &Policy) -> bool {
        let mut state = self.state();
        let current = self.current.token();
        if !current.is_some_and(|current| current.is_same(token)) {
            return false;
        }
        self.current.clear();
        state.generation += 1;
        state.note_good(Some(token), now, policy);
        state.refused.note(token);
        state.refused_in_row = state.refused_in_row.saturating_add(1);
        // The first refusal costs no delay; each further one doubles the interval.
        let interval = policy.forced_interval(state.refused_in_row);
        state.not_before = state
            .not_before
            .max(state.last_fetch.saturating_add(interval));
        true
    }

    /// Returns true if this token was refused: a shared store may still hold it, or hold it again.
    ///
    /// The time of its request is no criterion: the token of a host whose clock is behind looks older than it is.
    pub(crate) fn was_refused(&self, token: &AccessToken) -> bool {
        self.state().refused.contains(token)
    }

    /// Replaces the current token by a newer one that another process put into the shared store; returns false if a
    /// flight is in progress, which finds it itself, or if it is not newer.
    pub(crate) fn adopt(&self, token: &AccessToken, now: Timestamp, policy: &Policy) -> bool {
        let mut state = self.state();
        let current = self.current.live(now);
        let newer = current.as_ref();
        let newer = newer.is_none_or(|current| token.deadline() > current.deadline());
        if !newer || state.evicted || state.flight.is_some() || state.refused.contains(token) {
            return false;
        }
        state.note_good(current.as_ref(), now, policy);
        state.failure = None;
        state.failures_in_row = 0;
        state.failing_since = None;
        self.current
            .replace(token.clone(), policy.refresh_at(token));
        true
    }

    /// Returns true if the caller is to listen to changes of this key: nobody does yet.
    pub(crate) fn begin_watch(&self) -> bool {
        !std::mem::replace(&mut self.state().watched, true)
    }

    pub(crate) fn end_watch(&self) {
        self.state().watched = false;
    }

    /// Returns the current token, regardless of its age.
    pub(crate) fn current(&self) -> Option<AccessToken> {
        self.current.token()
    }

    /// Returns the current token, regardless of its age, and the failure of the last fetch.
    pub(crate) fn snapshot(&self) -> (Option<AccessToken>, Option<CachedFailure>) {
        let state = self.state();
        (self.current.token(), state.failure.as_deref().cloned())
    }

    /// Returns the time of the next refresh; `None` without a token, or while one is in progress.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        self.current.due()
    }

    /// Returns true if it holds, or may soon hold, a token with this hash.
    pub(crate) fn may_hold(&self, hash: u64) -> bool {
        self.in_flight() || self.current.holds(hash)
    }

    /// Marks the key as used.
    #[inline]
    pub(crate) fn touch(&self) {
        // Read first, so that hits do not contend for the cache line.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Clears the slot and returns true, unless it is in use. A recently used one is spared once.
    pub(crate) fn evict(&self) -> bool {
        let mut state = self.state();
        if state.flight.is_some() || self.used.swap(false, Ordering::Relaxed) {
            return false;
        }
        state.evicted = true;
        // A caller that looked it up before may still hold it, and must find nothing.
        self.current.clear();
        true
    }

    pub(crate) fn in_flight(&self) -> bool {
        self.state().flight.is_some()
    }

    /// Used by the checker's copy of this file.
    #[cfg(test)]
    #[allow(dead_code)]
    pub(crate) fn is_stuck(&self) -> bool {
        self.current.is_claimed() && !self.in_flight()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn expired_on_arrival() -> TokenError {
    TokenError::unusable_response("the token expired before it arrived, twice in a row")
        .with_transient(true)
}
