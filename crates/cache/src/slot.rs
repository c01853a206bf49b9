//! One key's token and the rules of its life. No runtime and no I/O: each step takes the time and returns at once.
//!
//! Readers see [`Current`] without a lock; everything else is decided under one short lock.

use std::time::Duration;

use hallpass_core::{AccessToken, ErrorKind, Timestamp, TokenError};
use tokio::sync::watch;

use crate::{
    policy::Policy,
    sync::{ArcSwapOption, AtomicBool, AtomicU64, Mutex, MutexGuard, Ordering, arc_swap, lock},
};

/// What all who wait for a flight get. `None` until it has landed.
pub(crate) type Outcome = Option<Result<AccessToken, TokenError>>;

pub(crate) struct Slot {
    current: ArcSwapOption<Current>,
    state: Mutex<State>,
    /// Was it asked for since eviction last looked? Second chance instead of an exact order of use.
    used: AtomicBool,
}

/// The token that is handed out.
struct Current {
    token: AccessToken,
    /// When the caller that passes by starts a renewal, in the clock's nanoseconds; [`CLAIMED`] while one is about it.
    refresh_at: AtomicU64,
}

const CLAIMED: u64 = u64::MAX;

#[derive(Default)]
struct State {
    /// The way to all who wait; there is one exactly while a flight is under way.
    flight: Option<watch::Sender<Outcome>>,
    /// Raised when the current token is dropped: what was fetched before that is not trusted.
    generation: u64,
    /// The last token that was refused.
    refused: Option<AccessToken>,
    /// How many tokens in a row were refused while they were young.
    refused_in_row: u32,
    failure: Option<Failure>,
    /// How many fetches in a row failed in a way that time may mend.
    failures_in_row: u32,
    last_fetch: Option<Timestamp>,
    /// No fetch before this, whatever happens.
    not_before: Timestamp,
    evicted: bool,
    /// The hash under which its holder is found.
    hash: Option<u64>,
}

/// A failure that is repeated to callers instead of asking again.
struct Failure {
    error: TokenError,
    until: Timestamp,
    /// Ends at once when the credentials change, where they were at fault.
    epoch: Option<u64>,
}

/// What a look at the current token tells.
pub(crate) struct Ready {
    pub(crate) token: AccessToken,
    /// This caller has passed the refresh point first: it must call [`Slot::renew`].
    pub(crate) renew: bool,
}

/// What a caller without a token is to do.
pub(crate) enum Begin {
    Ready(AccessToken),
    Failed(TokenError),
    /// Wait for the flight that is under way.
    Join(watch::Receiver<Outcome>),
    /// Start this flight, and wait for it.
    Start(Flight, watch::Receiver<Outcome>),
    /// The slot was taken out of the map: look the key up again.
    Evicted,
}

/// A fetch that someone must carry out: fetch after `delay`, then [`Slot::land`].
pub(crate) struct Flight {
    pub(crate) delay: Duration,
    pub(crate) renewal: bool,
    generation: u64,
    /// Did a token of this flight expire before it arrived?
    was_late: bool,
}

/// What follows a fetch.
pub(crate) enum Landed {
    /// All who wait were told.
    Done(Report),
    /// The result cannot be used: fetch once more, after this time.
    Again(Duration),
}

/// How a flight went, for traces and metrics.
pub(crate) struct Report {
    /// What those who waited were told.
    pub(crate) result: Result<AccessToken, TokenError>,
    pub(crate) waiters: usize,
    /// The token that was current until now.
    pub(crate) before: Option<AccessToken>,
    /// How long a failure is repeated instead of asking again.
    pub(crate) rest: Option<Duration>,
}

impl Slot {
    pub(crate) fn new() -> Self {
        Self {
            current: arc_swap(None),
            state: Mutex::default(),
            // One that is asked for once goes before one that is asked for again.
            used: AtomicBool::new(false),
        }
    }

    /// The hot path: the token, if there is one that lives.
    #[inline]
    pub(crate) fn ready(&self, now: Timestamp) -> Option<Ready> {
        let guard = self.current.load();
        let current = guard.as_deref()?;
        if current.token.is_expired(now) {
            return None;
        }
        let refresh_at = current.refresh_at.load(Ordering::Relaxed);
        let renew = now.as_nanos() >= refresh_at && current.claim(refresh_at);
        Some(Ready {
            token: current.token.clone(),
            renew,
        })
    }

    /// For the caller that [`Ready::renew`] chose: the flight to start, if the rules allow one now.
    pub(crate) fn renew(&self, now: Timestamp, epoch: u64, policy: &Policy) -> Option<Flight> {
        let mut state = self.state();
        if state.flight.is_some() {
            // It will set the next refresh point as it lands.
            return None;
        }
        let gate = state.gate(now, epoch);
        if state.evicted || gate > now {
            self.refresh_at(gate.max(now.saturating_add(policy.min_interval)));
            return None;
        }
        Some(state.start(true, Duration::ZERO).0)
    }

    /// For the keeper of a warm token: the flight to start, if the rules allow one now, token or not.
    pub(crate) fn keep(&self, now: Timestamp, epoch: u64, policy: &Policy) -> Option<Flight> {
        match self.ready(now) {
            Some(ready) if ready.renew => self.renew(now, epoch, policy),
            Some(_) => None,
            None => {
                let mut state = self.state();
                let idle = state.flight.is_none() && state.gate(now, epoch) <= now;
                idle.then(|| state.start(true, Duration::ZERO).0)
            }
        }
    }

    /// The slow path: a caller that found no token.
    pub(crate) fn begin(&self, now: Timestamp, epoch: u64, policy: &Policy) -> Begin {
        let mut state = self.state();
        if let Some(ready) = self.ready_unclaimed(now) {
            return Begin::Ready(ready);
        }
        if state.evicted {
            return Begin::Evicted;
        }
        if let Some(flight) = &state.flight {
            return Begin::Join(flight.subscribe());
        }
        if let Some(failure) = state
            .failure
            .as_ref()
            .filter(|failure| failure.holds(now, epoch))
        {
            return Begin::Failed(failure.error.clone());
        }
        let wait = state.not_before.saturating_since(now);
        if wait > policy.min_interval {
            return Begin::Failed(state.too_often(wait));
        }
        let (flight, receiver) = state.start(false, wait);
        Begin::Start(flight, receiver)
    }

    /// The fetch of a flight begins now.
    pub(crate) fn fetching(&self, flight: &mut Flight, now: Timestamp, policy: &Policy) {
        let mut state = self.state();
        flight.generation = state.generation;
        state.last_fetch = Some(now);
        state.not_before = now.saturating_add(policy.min_interval);
    }

    /// A fetch has ended: stores what may be stored and tells all who wait.
    pub(crate) fn land(
        &self,
        flight: &mut Flight,
        result: Result<AccessToken, TokenError>,
        now: Timestamp,
        epoch: u64,
        policy: &Policy,
    ) -> Landed {
        let mut state = self.state();
        let wait = state.not_before.saturating_since(now);
        let result = match result {
            // It was under way when the token before it was refused, and may be what was refused. This happens once a
            // flight: there is no token to refuse until it lands.
            Ok(_) if flight.generation != state.generation => {
                if wait <= policy.min_interval {
                    return Landed::Again(wait);
                }
                Err(state.too_often(wait))
            }
            Ok(token) if token.is_expired(now) && !token.lifetime().is_zero() => {
                if !flight.was_late {
                    flight.was_late = true;
                    return Landed::Again(wait);
                }
                Err(TokenError::unusable_response(
                    "the token expired before it arrived, twice in a row",
                )
                .with_transient(true))
            }
            result => result,
        };
        let before = self.current();
        let mut rest = None;
        match &result {
            Ok(token) => {
                state.failure = None;
                state.failures_in_row = 0;
                // One that expires at once serves those who wait for it and nobody after.
                if !token.is_expired(now) {
                    self.current.store(Some(std::sync::Arc::new(Current {
                        refresh_at: AtomicU64::new(policy.refresh_at(token).as_nanos()),
                        token: token.clone(),
                    })));
                }
            }
            Err(error) => {
                let penalty = state.penalty(error, policy);
                rest = Some(penalty);
                let until = now.saturating_add(penalty);
                self.refresh_at(until);
                let permanent = !error.is_transient();
                state.failure = Some(Failure {
                    error: error.clone(),
                    until,
                    epoch: permanent.then_some(epoch),
                });
            }
        }
        let flight = state.flight.take();
        drop(state);
        let mut waiters = 0;
        if let Some(flight) = flight {
            waiters = flight.receiver_count();
            flight.send_replace(Some(result.clone()));
        }
        Landed::Done(Report {
            result,
            waiters,
            before,
            rest,
        })
    }

    /// A flight ended without landing: its task was dropped. Those who wait find their channel closed.
    pub(crate) fn abandon(&self, now: Timestamp) {
        let mut state = self.state();
        state.flight = None;
        self.refresh_at(now);
    }

    /// The caller that [`Ready::renew`] chose cannot start a renewal; the next one shall.
    pub(crate) fn abandon_claim(&self, now: Timestamp) {
        self.refresh_at(now);
    }

    /// Drops `token` if it is the current one; true if it was.
    pub(crate) fn invalidate(&self, token: &AccessToken, now: Timestamp, policy: &Policy) -> bool {
        let mut state = self.state();
        let current = self.current.load_full();
        if !current.is_some_and(|current| current.token.is_same(token)) {
            return false;
        }
        self.current.store(None);
        state.generation += 1;
        state.refused = Some(token.clone());
        let age = now.saturating_since(token.requested_at().timestamp);
        let in_row = if age < policy.trusted_after {
            state.refused_in_row
        } else {
            0
        };
        state.refused_in_row = in_row.saturating_add(1);
        // The first costs nothing more; each further one doubles the distance.
        let interval = policy.forced_interval(state.refused_in_row);
        if let Some(last) = state.last_fetch {
            state.not_before = state.not_before.max(last.saturating_add(interval));
        }
        true
    }

    /// Was this token refused last?
    pub(crate) fn was_refused(&self, token: &AccessToken) -> bool {
        let state = self.state();
        state
            .refused
            .as_ref()
            .is_some_and(|refused| refused.is_same(token))
    }

    /// The current token, whatever its age.
    pub(crate) fn current(&self) -> Option<AccessToken> {
        self.current
            .load()
            .as_ref()
            .map(|current| current.token.clone())
    }

    /// When the next renewal is due; `None` without a token, or while one is under way.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        let guard = self.current.load();
        let refresh_at = guard.as_ref()?.refresh_at.load(Ordering::Relaxed);
        (refresh_at != CLAIMED).then_some(Timestamp::from_nanos(refresh_at))
    }

    /// Notes that it was asked for.
    #[inline]
    pub(crate) fn touch(&self) {
        // Read first, so that hits do not fight over the line.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// May it go? It may not while it is in use; used up, it may the next time.
    pub(crate) fn evict(&self) -> bool {
        let mut state = self.state();
        if state.flight.is_some() || self.used.swap(false, Ordering::Relaxed) {
            return false;
        }
        state.evicted = true;
        // Who looked it up before may still hold it: there is nothing to be had here any more.
        self.current.store(None);
        true
    }

    /// Notes the hash of the token that it is about to hold; yields the one before.
    pub(crate) fn note_hash(&self, hash: u64) -> Option<u64> {
        self.state().hash.replace(hash)
    }

    pub(crate) fn in_flight(&self) -> bool {
        self.state().flight.is_some()
    }

    fn ready_unclaimed(&self, now: Timestamp) -> Option<AccessToken> {
        self.current().filter(|token| !token.is_expired(now))
    }

    fn refresh_at(&self, at: Timestamp) {
        if let Some(current) = &*self.current.load() {
            current.refresh_at.store(at.as_nanos(), Ordering::Relaxed);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Current {
    fn claim(&self, refresh_at: u64) -> bool {
        self.refresh_at
            .compare_exchange(refresh_at, CLAIMED, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}

impl State {
    fn start(&mut self, renewal: bool, delay: Duration) -> (Flight, watch::Receiver<Outcome>) {
        let (sender, receiver) = watch::channel(None);
        self.flight = Some(sender);
        let flight = Flight {
            delay,
            renewal,
            generation: self.generation,
            was_late: false,
        };
        (flight, receiver)
    }

    /// When the next fetch is allowed.
    fn gate(&self, now: Timestamp, epoch: u64) -> Timestamp {
        let failure = self
            .failure
            .as_ref()
            .filter(|failure| failure.holds(now, epoch));
        failure.map_or(self.not_before, |failure| {
            failure.until.max(self.not_before)
        })
    }

    /// How long a failure is repeated before it is tried again.
    fn penalty(&mut self, error: &TokenError, policy: &Policy) -> Duration {
        if !error.is_transient() {
            self.failures_in_row = 0;
            return policy.refusal_memory;
        }
        let backoff = policy.backoff(self.failures_in_row);
        self.failures_in_row = self.failures_in_row.saturating_add(1);
        backoff.max(
            error
                .retry_after()
                .unwrap_or_default()
                .min(policy.max_retry_after),
        )
    }

    fn too_often(&self, wait: Duration) -> TokenError {
        TokenError::new(
            ErrorKind::Unavailable,
            format!(
                "resource servers refused the last {} tokens while they were new, so that the next is not fetched yet",
                self.refused_in_row
            ),
        )
        .with_retry_after(wait)
        .with_hint("check that the audience, the scopes and the environment are those that the API expects")
    }
}

impl Failure {
    fn holds(&self, now: Timestamp, epoch: u64) -> bool {
        now < self.until && self.epoch.is_none_or(|at| at == epoch)
    }
}
