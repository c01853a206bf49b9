//! The steps of a slot in every thread interleaving, as far as a checker explores them.
//!
//! The slot's files are compiled a second time, with the checker's primitives instead of the standard library's. Time is
//! an argument of each step, so that a scenario fixes it.

#[allow(dead_code, clippy::duplicate_mod)]
#[path = "current.rs"]
mod current;
#[allow(dead_code, clippy::duplicate_mod)]
#[path = "slot.rs"]
mod slot;
mod sync;

use std::{sync::Arc, time::Duration};

use hallpass_core::{AccessToken, Clock as _, Timestamp, TokenError};
use hallpass_testkit::ManualClock;
use shuttle::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use self::slot::Slot;
use crate::{
    policy::Policy,
    step::{Flight, Landing, LoadError, NextStep, Ticket},
    upstream::{FlightPermit, Record, Upstream},
};

const HOUR: Duration = Duration::from_secs(3_600);
/// The number of schedules of a scenario, unless `HALLPASS_SCHEDULES` has another. They differ from run to run.
const SCHEDULES: usize = 4_000;

struct World {
    slot: Slot,
    policy: Policy,
    clock: ManualClock,
    /// The number of fetches in progress, and of all fetches so far.
    fetching: AtomicUsize,
    fetches: AtomicUsize,
}

impl World {
    fn new() -> Arc<Self> {
        // The same jitter in every run, so that a failing schedule can be replayed.
        fastrand::seed(7);
        Arc::new(Self {
            slot: Slot::new(),
            policy: Policy::default(),
            clock: ManualClock::new(),
            fetching: AtomicUsize::new(0),
            fetches: AtomicUsize::new(0),
        })
    }

    /// Creates a world whose token is past its refresh point.
    fn with_due_token() -> (Arc<Self>, AccessToken) {
        let world = Self::new();
        let NextStep::Start(mut flight, _) = world.begin() else {
            panic!("an empty slot starts a flight");
        };
        let token = world.token("old");
        world.land(&mut flight, Ok(token.clone()));
        world.clock.advance(Duration::from_secs(3_500));
        (world, token)
    }

    /// Asserts that no abandoned claim is left.
    fn assert_free(&self) {
        assert!(!self.slot.is_stuck(), "claimed, and nobody flies");
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn token(&self, text: &str) -> AccessToken {
        AccessToken::bearer(text, self.clock.moment(), HOUR).unwrap()
    }

    fn land(&self, flight: &mut Flight, result: Result<AccessToken, TokenError>) -> Landing {
        let result = result.map_err(LoadError::Source);
        let record = Record::default();
        self.slot
            .land(flight, result, self.now(), 0, record, &self.policy)
    }

    fn begin(&self) -> NextStep {
        let permit = Some(FlightPermit::Free);
        self.slot.begin(self.now(), 0, &self.policy, permit)
    }

    fn start_refresh(&self) -> Option<Flight> {
        let permit = Some(FlightPermit::Free);
        self.slot.refresh(self.now(), 0, &self.policy, permit)
    }

    /// Runs the task of a flight; `mint` is called for each fetch.
    fn fly(&self, mut flight: Flight, mint: impl Fn() -> Result<AccessToken, TokenError>) {
        loop {
            self.slot.on_lookup(&mut flight, self.now(), &self.policy);
            assert_eq!(
                self.fetching.fetch_add(1, Ordering::SeqCst),
                0,
                "two flights"
            );
            self.fetches.fetch_add(1, Ordering::SeqCst);
            self.slot.on_fetch(&mut flight, self.now(), &self.policy);
            let result = mint();
            thread::yield_now();
            self.fetching.fetch_sub(1, Ordering::SeqCst);
            if !matches!(self.land(&mut flight, result), Landing::Again(_)) {
                return;
            }
        }
    }

    /// Runs a caller that finds no token; returns its result.
    fn ask(&self) -> Result<AccessToken, TokenError> {
        loop {
            if let Some(ready) = self.slot.ready(self.now()) {
                if ready.refresh {
                    self.refresh();
                }
                return Ok(ready.token);
            }
            let ticket = match self.begin() {
                NextStep::Ready(token) => return Ok(token),
                NextStep::Failed(error) => return Err(error),
                NextStep::Evicted | NextStep::Full => {
                    panic!("nobody evicts here, and there is a place")
                }
                NextStep::Join(ticket) => ticket,
                NextStep::Start(flight, ticket) => {
                    self.fly(flight, || Ok(self.token("new")));
                    ticket
                }
            };
            if let Some(outcome) = wait(&ticket) {
                return outcome;
            }
        }
    }

    fn refresh(&self) {
        if let Some(flight) = self.start_refresh() {
            self.fly(flight, || Ok(self.token("new")));
        }
    }
}

/// Returns the outcome, or `None` if the flight was abandoned. A lost wake-up would spin until the checker gives up.
fn wait(ticket: &Ticket) -> Option<Result<AccessToken, TokenError>> {
    loop {
        if let Some(outcome) = &*ticket.receiver.borrow() {
            return Some(outcome.clone());
        }
        if ticket.receiver.has_changed().is_err() {
            return ticket.receiver.borrow().clone();
        }
        thread::yield_now();
    }
}

fn explore(scenario: impl Fn() + Send + Sync + 'static) {
    let schedules = std::env::var("HALLPASS_SCHEDULES").ok();
    let schedules = schedules.map_or(SCHEDULES, |number| number.parse().unwrap());
    shuttle::check_pct(scenario, schedules, 3);
}

fn all(world: &Arc<World>, threads: usize, each: fn(&World)) {
    let threads: Vec<_> = (0..threads)
        .map(|_| {
            let world = world.clone();
            thread::spawn(move || each(&world))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

// covers: F-75
#[test]
fn an_uncached_key_is_fetched_once() {
    explore(|| {
        let world = World::new();
        all(&world, 3, |world| {
            assert_eq!(world.ask().unwrap().expose(), "new");
        });
        assert_eq!(world.fetches.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_due_token_is_refreshed_once_and_returned_meanwhile() {
    explore(|| {
        let (world, _) = World::with_due_token();
        all(&world, 3, |world| {
            let token = world.ask().unwrap();
            assert!(["old", "new"].contains(&token.expose()));
        });
        assert_eq!(world.fetches.load(Ordering::SeqCst), 1);
        world.assert_free();
        assert_eq!(world.ask().unwrap().expose(), "new");
    });
}

#[test]
fn a_claim_starts_one_refresh_of_its_own_token() {
    // One thread, and so one schedule.
    let scenario = || {
        let claimed = || {
            let (world, old) = World::with_due_token();
            assert!(world.slot.ready(world.now()).unwrap().refresh);
            (world, old)
        };
        // Its token was refused, and another caller has fetched a new one.
        let (world, old) = claimed();
        world.slot.invalidate(&old, world.now(), &world.policy);
        assert_eq!(world.ask().unwrap().expose(), "new");
        assert!(world.start_refresh().is_none());
        // Its token has expired, and another caller fetches a new one.
        let (world, _) = claimed();
        world.clock.advance(HOUR);
        assert!(matches!(world.begin(), NextStep::Start(..)));
        assert!(world.start_refresh().is_none());
        // A caller that cannot start it leaves it to the next one, unless the claim has ended.
        let (world, old) = claimed();
        world.slot.abandon_claim(world.now());
        assert!(world.slot.ready(world.now()).unwrap().refresh);
        world.slot.invalidate(&old, world.now(), &world.policy);
        world.ask().unwrap();
        world.slot.abandon_claim(world.now());
        assert!(!world.slot.ready(world.now()).unwrap().refresh);
        // Without a permit another caller starts it, a while later.
        let (world, _) = claimed();
        let refused = world.slot.refresh(world.now(), 0, &world.policy, None);
        assert!(refused.is_none() && !world.slot.ready(world.now()).unwrap().refresh);
        world.clock.advance(world.policy.min_interval);
        assert!(world.slot.ready(world.now()).unwrap().refresh);
        assert!(world.start_refresh().is_some());
    };
    shuttle::check_random(scenario, 1);
}

// covers: F-81, F-82, I-12
#[test]
fn a_token_issued_before_a_refusal_is_not_cached_after_it() {
    explore(|| {
        let (world, old) = World::with_due_token();
        let refused = Arc::new(AtomicBool::new(false));
        let flier = {
            let (world, refused) = (world.clone(), refused.clone());
            thread::spawn(move || {
                let mint = || {
                    let before = !refused.load(Ordering::SeqCst);
                    Ok(world.token(if before { "before" } else { "after" }))
                };
                if world
                    .slot
                    .ready(world.now())
                    .is_some_and(|ready| ready.refresh)
                    && let Some(flight) = world.start_refresh()
                {
                    world.fly(flight, mint);
                }
            })
        };
        let reporters: Vec<_> = (0..2)
            .map(|_| {
                let (world, old, refused) = (world.clone(), old.clone(), refused.clone());
                thread::spawn(move || {
                    // The server has revoked its tokens so far; then the refusal is reported.
                    refused.store(true, Ordering::SeqCst);
                    world.slot.invalidate(&old, world.now(), &world.policy)
                })
            })
            .collect();
        flier.join().unwrap();
        let dropped = reporters
            .into_iter()
            .map(|reporter| reporter.join().unwrap());
        let dropped = dropped.filter(|dropped| *dropped).count();
        assert!(dropped <= 1, "dropped twice");
        let current = world.slot.current();
        if dropped == 1 {
            assert!(current.is_none_or(|token| token.expose() == "after"));
        }
        world.assert_free();
    });
}

// covers: F-83
#[test]
fn eviction_leaves_waiters_their_slot() {
    explore(|| {
        let world = World::new();
        let evicting = {
            let world = world.clone();
            thread::spawn(move || world.slot.evict())
        };
        let outcome = match world.begin() {
            NextStep::Start(flight, ticket) => {
                world.fly(flight, || Ok(world.token("new")));
                wait(&ticket)
            }
            NextStep::Evicted => None,
            _ => panic!("nobody else is here"),
        };
        let evicted = evicting.join().unwrap();
        // Either the caller had to look again, or it was served.
        match outcome {
            None => assert!(evicted),
            Some(outcome) => assert_eq!(outcome.unwrap().expose(), "new"),
        }
        if evicted {
            assert!(
                world.slot.current().is_none(),
                "an evicted slot holds nothing"
            );
        }
    });
}

// covers: F-72, F-77
#[test]
fn waiters_of_an_abandoned_flight_start_another() {
    explore(|| {
        let world = World::new();
        let NextStep::Start(mut lost, _) = world.begin() else {
            panic!("an empty slot starts a flight");
        };
        let leaving = {
            let world = world.clone();
            thread::spawn(move || {
                world.slot.abandon(lost.id, world.now());
                // The lost flight lands too, too late.
                let landing = world.land(&mut lost, Ok(world.token("late")));
                assert!(matches!(landing, Landing::Lost));
            })
        };
        all(&world, 2, |world| {
            assert_eq!(world.ask().unwrap().expose(), "new");
        });
        leaving.join().unwrap();
        assert_eq!(world.fetches.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn refreshes_refusals_and_callers_leave_no_claim() {
    explore(|| {
        let (world, old) = World::with_due_token();
        let reporter = {
            let world = world.clone();
            thread::spawn(move || {
                world.slot.invalidate(&old, world.now(), &world.policy);
            })
        };
        let outsider = {
            let world = world.clone();
            // A caller outside of a runtime: it cannot refresh.
            thread::spawn(move || {
                if world
                    .slot
                    .ready(world.now())
                    .is_some_and(|ready| ready.refresh)
                {
                    world.slot.abandon_claim(world.now());
                }
            })
        };
        all(&world, 2, |world| {
            world.ask().unwrap();
        });
        reporter.join().unwrap();
        outsider.join().unwrap();
        world.assert_free();
        assert!(world.fetches.load(Ordering::SeqCst) <= 2);
    });
}

// covers: F-77, F-83
#[test]
fn a_permit_is_released_with_each_end_of_its_flight() {
    explore(|| {
        let world = World::new();
        let upstream = Arc::new(Upstream::new(1));
        let begin = |world: &World| {
            let permit = upstream.try_permit();
            world.slot.begin(world.now(), 0, &world.policy, permit)
        };
        let NextStep::Start(mut flight, _) = begin(&world) else {
            panic!("an empty slot starts a flight");
        };
        // New callers join it: the one place is taken.
        assert!(upstream.try_permit().is_none());
        assert!(matches!(begin(&world), NextStep::Join(_)));
        let id = flight.id;
        let leaving = {
            let world = world.clone();
            thread::spawn(move || world.slot.abandon(id, world.now()))
        };
        let landing = {
            let world = world.clone();
            thread::spawn(move || {
                world.land(&mut flight, Ok(world.token("new")));
            })
        };
        leaving.join().unwrap();
        landing.join().unwrap();
        assert!(upstream.try_permit().is_some());
    });
}

// covers: C-35
#[test]
fn a_token_refreshed_after_a_long_life_ends_the_refusals() {
    explore(|| {
        let (world, old) = World::with_due_token();
        let refresh = {
            let world = world.clone();
            thread::spawn(move || {
                world.ask().unwrap();
            })
        };
        let reporter = {
            let world = world.clone();
            thread::spawn(move || world.slot.invalidate(&old, world.now(), &world.policy))
        };
        refresh.join().unwrap();
        reporter.join().unwrap();
        // In either order, the next fetch waits no longer than the minimum interval.
        assert!(world.slot.may_fetch(world.now(), 0, &world.policy).is_ok());
    });
}

#[test]
fn a_token_is_not_adopted_during_a_fetch_or_after_its_refusal() {
    // One thread, and so one schedule.
    let scenario = || {
        let (world, old) = World::with_due_token();
        let other = world.token("other");
        let adopt = || world.slot.adopt(&other, world.now(), &world.policy);
        assert!(world.slot.ready(world.now()).unwrap().refresh);
        let mut flight = world.start_refresh().unwrap();
        assert!(!adopt());
        world.land(&mut flight, Ok(old));
        assert!(adopt());
        world.slot.invalidate(&other, world.now(), &world.policy);
        assert!(!adopt());
        assert!(world.slot.evict() || world.slot.evict());
        let unrelated = world.token("unrelated");
        let adopted = world.slot.adopt(&unrelated, world.now(), &world.policy);
        assert!(!adopted, "callers find an evicted slot no more");
    };
    shuttle::check_random(scenario, 1);
}

#[test]
fn an_adopted_token_leaves_no_claim_and_replaces_no_newer_one() {
    explore(|| {
        let (world, _) = World::with_due_token();
        // Another process put it some time ago, so that it ends before what this process may fetch now.
        let other = AccessToken::bearer("other", world.clock.moment(), HOUR / 2).unwrap();
        let adopting = {
            let world = world.clone();
            thread::spawn(move || world.slot.adopt(&other, world.now(), &world.policy))
        };
        all(&world, 2, |world| {
            world.ask().unwrap();
        });
        let adopted = adopting.join().unwrap();
        world.assert_free();
        let current = world.slot.current().unwrap();
        let fetched = world.fetches.load(Ordering::SeqCst);
        match current.expose() {
            "new" => assert_eq!(fetched, 1),
            "other" => assert!(adopted && fetched == 0),
            text => panic!("{text}"),
        }
    });
}

// covers: F-81, F-82
#[test]
fn a_token_refused_while_it_is_adopted_is_not_cached() {
    explore(|| {
        let (world, old) = World::with_due_token();
        let other = world.token("other");
        let adopting = {
            let (world, other) = (world.clone(), other.clone());
            thread::spawn(move || {
                for _ in 0..2 {
                    world.slot.adopt(&other, world.now(), &world.policy);
                }
            })
        };
        let reporter = {
            let world = world.clone();
            thread::spawn(move || {
                world.slot.invalidate(&old, world.now(), &world.policy);
                world.slot.invalidate(&other, world.now(), &world.policy)
            })
        };
        adopting.join().unwrap();
        let refused = reporter.join().unwrap();
        let is_cached = world.slot.current().is_some();
        assert_ne!(refused, is_cached, "it is current, unless it was refused");
    });
}
