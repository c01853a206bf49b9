//! Clocks that jump at each step of a token's life: the wall clock in both directions, and the monotonic clock forward,
//! as it does when a machine was suspended.
//!
//! The rule: only the monotonic clock decides in a process, so that a jump of the wall clock changes no count. A jump of
//! the monotonic clock is time that has passed. Between processes, an entry counts by the wall clock of its reader: for
//! no longer than its lifetime and its time to live, and not at all if it is from more than five minutes ahead.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use hallpass_cache::{CachedTokenSource, MemoryTokenStore};
use hallpass_core::{AccessToken, Clock, Timestamp, TokenError, TokenRequest, TokenSource};
use hallpass_testkit::TokioClock;
use tokio::time::advance;

use crate::{
    distant::NAMESPACE,
    support::{HOUR, MINUTE, SECOND, settle},
};

const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);

/// A jump of a wall clock.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Jump {
    Back(Duration),
    Ahead(Duration),
    /// To this time before 1970, in seconds.
    Before1970(u64),
}

const JUMPS: [Jump; 12] = [
    Jump::Back(Duration::ZERO),
    Jump::Back(SECOND),
    Jump::Back(Duration::from_secs(299)),
    Jump::Back(Duration::from_secs(301)),
    Jump::Back(HOUR),
    Jump::Back(YEAR),
    Jump::Ahead(SECOND),
    Jump::Ahead(Duration::from_secs(1_800)),
    Jump::Ahead(HOUR),
    Jump::Ahead(YEAR),
    // Beyond 32 bits of seconds, and to the last time before 1970.
    Jump::Ahead(Duration::from_secs(100 * 365 * 24 * 3_600)),
    Jump::Before1970(1),
];

/// Jumps of a monotonic clock.
const PAUSES: [Duration; 6] = [
    Duration::ZERO,
    SECOND,
    HOUR,
    YEAR,
    Duration::from_secs(1 << 33),
    // Centuries, near the end of 64 bits of nanoseconds.
    Duration::from_secs(400 * 365 * 24 * 3_600),
];

/// A clock on tokio's time, each of whose scales a test sets; clones agree.
#[derive(Clone, Debug)]
struct JumpingClock(TokioClock, Arc<Mutex<Offsets>>);

#[derive(Debug, Default)]
struct Offsets {
    suspended: Duration,
    back: Duration,
    ahead: Duration,
}

impl JumpingClock {
    fn new() -> Self {
        Self(TokioClock::new(), Arc::default())
    }

    /// Returns a clock of another host, with the same monotonic time.
    fn of_another_host(&self) -> Self {
        Self(self.0.clone(), Arc::default())
    }

    fn jump(&self, jump: Jump) {
        let since = self.wall().duration_since(UNIX_EPOCH);
        let mut offsets = self.1.lock().unwrap();
        match jump {
            Jump::Back(by) => offsets.back += by,
            Jump::Ahead(by) => offsets.ahead += by,
            Jump::Before1970(seconds) => {
                offsets.back += since.unwrap() + Duration::from_secs(seconds);
            }
        }
    }

    fn suspend(&self, pause: Duration) {
        let mut offsets = self.1.lock().unwrap();
        offsets.suspended = offsets.suspended.saturating_add(pause);
    }
}

impl Clock for JumpingClock {
    fn now(&self) -> Timestamp {
        let suspended = self.1.lock().unwrap().suspended;
        self.0.now().saturating_add(suspended)
    }

    fn wall(&self) -> SystemTime {
        let offsets = self.1.lock().unwrap();
        self.0.wall() + offsets.ahead - offsets.back
    }
}

/// The step at which a clock jumps.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    BeforeRequest,
    InFlight,
    AfterReceipt,
    BeforeRefresh,
    InRefresh,
    BeforeExpiry,
    InBackOff,
    InRefusal,
}

const STEPS: [Step; 8] = [
    Step::BeforeRequest,
    Step::InFlight,
    Step::AfterReceipt,
    Step::BeforeRefresh,
    Step::InRefresh,
    Step::BeforeExpiry,
    Step::InBackOff,
    Step::InRefusal,
];

type JumpNow = Arc<dyn Fn(Step) + Send + Sync>;

/// A source of tokens of an hour, whose clock may jump while a call is in flight.
struct Source {
    clock: JumpingClock,
    calls: Arc<AtomicUsize>,
    failure: Arc<Mutex<Option<TokenError>>>,
    jump: JumpNow,
}

#[async_trait]
impl TokenSource for Source {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        let number = self.calls.fetch_add(1, SeqCst) + 1;
        let asked = self.clock.moment();
        match number {
            1 => (self.jump)(Step::InFlight),
            2 => (self.jump)(Step::InRefresh),
            _ => {}
        }
        if let Some(error) = self.failure.lock().unwrap().clone() {
            return Err(error);
        }
        Ok(AccessToken::bearer(&format!("t{number}"), asked, HOUR)?)
    }

    async fn credential_digest(&self) -> Option<[u8; 32]> {
        Some([7; 32])
    }
}

struct Life {
    clock: JumpingClock,
    calls: Arc<AtomicUsize>,
    failure: Arc<Mutex<Option<TokenError>>>,
    cache: CachedTokenSource<Source>,
    jump: JumpNow,
}

impl Life {
    fn new(clock: JumpingClock, jump: JumpNow, store: Option<&MemoryTokenStore>) -> Self {
        let (calls, failure) = (Arc::default(), Arc::default());
        let source = Source {
            clock: clock.clone(),
            calls: Arc::clone(&calls),
            failure: Arc::clone(&failure),
            jump: jump.clone(),
        };
        let builder = CachedTokenSource::builder(source).clock(clock.clone());
        let cache = match store {
            Some(store) => builder.store(store.clone(), NAMESPACE).build(),
            None => builder.build(),
        };
        Self {
            clock,
            calls,
            failure,
            cache,
            jump,
        }
    }

    /// Asks three times, and returns the number of calls so far, or none after a failure.
    async fn ask(&self) -> Option<usize> {
        let mut last = None;
        for _ in 0..3 {
            let token = self.cache.token(&TokenRequest::default()).await;
            if let Ok(token) = &token {
                assert!(!token.is_expired(self.clock.now()));
            }
            settle().await;
            last = token.ok().map(|_| self.calls());
        }
        last
    }

    fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }

    /// Returns the number of calls after each step.
    async fn run(&self) -> Vec<Option<usize>> {
        let mut seen = Vec::new();
        (self.jump)(Step::BeforeRequest);
        seen.push(self.ask().await);
        (self.jump)(Step::AfterReceipt);
        seen.push(self.ask().await);
        // Between the refresh point and the expiry.
        advance(3_500 * SECOND).await;
        (self.jump)(Step::BeforeRefresh);
        seen.push(self.ask().await);
        advance(3_200 * SECOND).await;
        (self.jump)(Step::BeforeExpiry);
        seen.push(self.ask().await);
        advance(HOUR).await;
        for error in [
            TokenError::unavailable("the server is down"),
            TokenError::credentials_refused("the secret is wrong"),
        ] {
            let step = if error.is_transient() {
                Step::InBackOff
            } else {
                Step::InRefusal
            };
            *self.failure.lock().unwrap() = Some(error);
            seen.push(self.ask().await);
            (self.jump)(step);
            seen.push(self.ask().await);
            *self.failure.lock().unwrap() = None;
            // Longer than the first back-off, and than a refusal is cached.
            advance(MINUTE).await;
            seen.push(self.ask().await);
            advance(HOUR).await;
        }
        seen
    }
}

/// Returns a function that acts at this step, once.
fn at(step: Step, act: impl Fn() + Send + Sync + 'static) -> JumpNow {
    let done = AtomicUsize::new(0);
    Arc::new(move |now| {
        if now == step && done.fetch_add(1, SeqCst) == 0 {
            act();
        }
    })
}

/// The number of calls without a jump: none is counted for what is cached.
fn undisturbed() -> Vec<Option<usize>> {
    vec![
        Some(1),
        Some(1),
        // Refreshed.
        Some(2),
        Some(2),
        // Down: one call, which is repeated from the cache; then a token.
        None,
        None,
        Some(4),
        // Refused, likewise.
        None,
        None,
        Some(6),
    ]
}

// covers: F-63
#[tokio::test(start_paused = true)]
async fn a_jump_of_the_wall_clock_at_any_step_changes_no_count() {
    for jump in JUMPS {
        for step in STEPS {
            let clock = JumpingClock::new();
            let jumping = clock.clone();
            let act = at(step, move || jumping.jump(jump));
            let life = Life::new(clock, act, None);
            assert_eq!(life.run().await, undisturbed(), "{jump:?} {step:?}");
        }
    }
}

// covers: F-64, F-66
#[tokio::test(start_paused = true)]
async fn a_jump_of_the_monotonic_clock_is_time_that_has_passed() {
    for pause in PAUSES {
        for step in STEPS {
            let clock = JumpingClock::new();
            let suspending = clock.clone();
            let act = at(step, move || suspending.suspend(pause));
            let life = Life::new(clock, act, None);
            let mut expected = undisturbed();
            // A token that expires, and one that expires on its way, is replaced at once.
            let more = |from: usize, expected: &mut Vec<Option<usize>>| {
                let rest = expected.iter_mut().skip(from).flatten();
                rest.for_each(|calls| *calls += 1);
            };
            let expires = pause >= HOUR;
            match step {
                Step::InFlight if expires => more(0, &mut expected),
                Step::AfterReceipt if expires => more(1, &mut expected),
                // The token that it replaces has expired.
                Step::InRefresh if expires => more(2, &mut expected),
                Step::BeforeExpiry if expires => more(3, &mut expected),
                // Another call fails.
                Step::InBackOff if pause >= SECOND => more(5, &mut expected),
                Step::InRefusal if expires => more(8, &mut expected),
                _ => {}
            }
            assert_eq!(life.run().await, expected, "{pause:?} {step:?}");
        }
    }
}

fn since_1970(clock: &JumpingClock) -> f64 {
    match clock.wall().duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

// covers: F-94, F-95
#[tokio::test(start_paused = true)]
async fn an_entry_counts_by_the_wall_clock_of_its_reader() {
    for writer in JUMPS {
        for reader in JUMPS {
            let true_clock = JumpingClock::new();
            let store = MemoryTokenStore::new(true_clock.clone());
            let clocks = [writer, reader].map(|jump| {
                let clock = true_clock.of_another_host();
                clock.jump(jump);
                clock
            });
            // A new process for each call.
            let process =
                |clock: &JumpingClock| Life::new(clock.clone(), Arc::new(|_| ()), Some(&store));
            let first = process(&clocks[0]);
            assert_eq!(first.ask().await, Some(1));
            // The times of the entry: that of its writer's clock, and the true one.
            let mut entry = (since_1970(&clocks[0]), Duration::ZERO);
            let mut elapsed = Duration::ZERO;
            for age in [MINUTE, 30 * MINUTE] {
                advance(age.saturating_sub(elapsed)).await;
                elapsed = age;
                let case = format!("{writer:?} {reader:?} {age:?}");
                let process = process(&clocks[1]);
                let calls = process.ask().await.unwrap();
                let token = process.cache.ready_token(&TokenRequest::default()).unwrap();
                let left = token.deadline().saturating_since(true_clock.now());
                let now = since_1970(&clocks[1]);
                let (written, at) = entry;
                let entry_age = now - written;
                let fits = written >= 0.0 && (-300.0..3_600.0).contains(&entry_age);
                if fits && calls == 0 {
                    // Never longer than the server's lifetime.
                    assert!(left + age.saturating_sub(at) <= HOUR, "{case}: {left:?}");
                }
                // It is refreshed by its age, like any other.
                let is_due = |from| fits && entry_age >= from;
                let (least, most) = (!fits || is_due(3_450.0), !fits || is_due(3_300.0));
                let calls_by_rule = usize::from(least)..=usize::from(most);
                assert!(calls_by_rule.contains(&calls), "{case}: {calls} calls");
                if calls > 0 && now >= 0.0 {
                    entry = (now, age);
                }
            }
        }
    }
}
