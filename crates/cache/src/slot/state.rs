//! The rules of one key: when it may be fetched, and for how long a failure is cached.

use std::{sync::Arc, time::Duration};

use hallpass_core::{AccessToken, ErrorKind, Timestamp, TokenError};
use tokio::sync::watch;

use super::super::current::RefusedTokens;
use crate::{
    failure::CachedFailure,
    nesting::Node,
    policy::Policy,
    step::{Flight, Outcome, Ticket},
    upstream::FlightPermit,
};

/// The state of a key beside its token: the flight in progress, and the times and failures that decide about the next.
#[derive(Default)]
pub(super) struct State {
    /// Present exactly while a flight is in progress. Most keys have neither a flight nor a failure: boxed, they take
    /// little memory.
    pub(super) flight: Option<Box<ActiveFlight>>,
    /// The number of flights so far.
    pub(super) flights: u32,
    /// Incremented when the current token is dropped: a result fetched before that is not trusted.
    pub(super) generation: u32,
    pub(super) refused: RefusedTokens<8>,
    /// The number of consecutive tokens that were refused while young.
    pub(super) refused_in_row: u32,
    pub(super) failure: Option<Box<CachedFailure>>,
    /// The number of consecutive transient failures.
    pub(super) failures_in_row: u32,
    /// The source's number of responses to all keys at the first of these failures.
    pub(super) failing_since: Option<u64>,
    pub(super) last_fetch: Timestamp,
    /// No fetch before this, under any circumstances.
    pub(super) not_before: Timestamp,
    /// No refresh before this, unless a caller waits.
    pub(super) no_refresh_before: Timestamp,
    /// No look-up in the shared store before this, while the source must not be called.
    pub(super) no_look_before: Timestamp,
    pub(super) evicted: bool,
    /// True while a task listens to changes of the key in the shared store.
    pub(super) watched: bool,
}

pub(super) struct ActiveFlight {
    pub(super) id: u32,
    pub(super) waiters: watch::Sender<Outcome>,
    pub(super) node: Arc<Node>,
    /// Released when the flight lands or is abandoned, even if its task is stuck.
    _permit: Option<FlightPermit>,
}

impl State {
    pub(super) fn start(
        &mut self,
        refresh: bool,
        delay: Duration,
        permit: Option<FlightPermit>,
    ) -> (Flight, Ticket) {
        self.flights += 1;
        let under_way = ActiveFlight {
            id: self.flights,
            waiters: watch::Sender::new(None),
            node: Arc::default(),
            _permit: permit,
        };
        let ticket = under_way.ticket();
        self.flight = Some(Box::new(under_way));
        let flight = Flight {
            id: self.flights,
            delay,
            refresh,
            node: ticket.node.clone(),
            generation: self.generation,
            was_unusable: false,
        };
        (flight, ticket)
    }

    pub(super) fn is_under_way(&self, flight: u32) -> bool {
        self.flight
            .as_ref()
            .is_some_and(|under_way| under_way.id == flight)
    }

    pub(super) fn failure(&self, now: Timestamp, epoch: u64) -> Option<&CachedFailure> {
        let failure = self.failure.as_deref();
        failure.filter(|failure| failure.holds(now, epoch))
    }

    /// Returns the cached failure that prevents a call to the source now, if there is one.
    pub(super) fn may_fetch(
        &self,
        now: Timestamp,
        epoch: u64,
        policy: &Policy,
    ) -> Result<(), CachedFailure> {
        if let Some(failure) = self.failure(now, epoch) {
            return Err(failure.clone());
        }
        let wait = self.not_before.saturating_since(now);
        if wait > policy.min_interval {
            let rest = wait.saturating_sub(policy.min_interval);
            return Err(CachedFailure::new(&self.too_often(wait), now, rest, epoch));
        }
        Ok(())
    }

    /// Ends the series of refusals if the current token has lived long enough without one: not one that was refused
    /// before, which a source may return again at any age.
    pub(super) fn note_good(
        &mut self,
        current: Option<&AccessToken>,
        now: Timestamp,
        policy: &Policy,
    ) {
        let aged = current.filter(|token| policy.is_trusted(token, now));
        if aged.is_some_and(|token| !self.refused.contains(token)) {
            self.refused_in_row = 0;
        }
    }

    /// Returns the time from which a fetch without waiters is allowed.
    pub(super) fn refresh_gate(&self, now: Timestamp, epoch: u64) -> Timestamp {
        if self.evicted {
            return Timestamp::from_nanos(u64::MAX);
        }
        let failure = self.failure(now, epoch);
        let gate = self.not_before.max(self.no_refresh_before);
        failure.map_or(gate, |failure| failure.until.max(gate))
    }

    /// Returns the time for which a failure is cached, after `in_row` failures that concern all keys.
    pub(super) fn penalty(&mut self, error: &TokenError, in_row: u32, policy: &Policy) -> Duration {
        if !error.is_transient() {
            self.failures_in_row = 0;
            return policy.refusal_ttl;
        }
        let backoff = policy.backoff(self.failures_in_row.max(in_row));
        self.failures_in_row = self.failures_in_row.saturating_add(1);
        let asked_for = error.retry_after().unwrap_or_default();
        backoff.max(asked_for.min(policy.max_retry_after))
    }

    pub(super) fn too_often(&self, wait: Duration) -> TokenError {
        TokenError::new(
            ErrorKind::Unavailable,
            format!(
                "resource servers refused the last {} tokens while they were new, so the next one is not fetched yet",
                self.refused_in_row
            ),
        )
        .with_retry_after(wait)
        .with_hint("check that the audience, the scopes and the environment are those that the API expects")
    }
}

impl ActiveFlight {
    pub(super) fn ticket(&self) -> Ticket {
        Ticket {
            flight: self.id,
            receiver: self.waiters.subscribe(),
            node: self.node.clone(),
        }
    }
}
