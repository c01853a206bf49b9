//! Random histories of a cache, checked against a simple model of the allowed results.
//!
//! The model knows nothing of jitter or windows: it knows when each token was minted, which were refused, and the
//! promises to callers.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use hallpass_cache::CachedTokenSource;
use hallpass_core::{AccessToken, Clock, Timestamp, TokenError, TokenRequest, TokenSource};
use hallpass_testkit::TokioClock;
use proptest::prelude::*;
use tokio::task::JoinSet;

use crate::support::{SECOND, key, settle};

const MIN_INTERVAL: Duration = Duration::from_millis(500);
const KEYS: usize = 4;
/// One fewer than the number of keys besides the default one.
const MAX_KEYS: usize = 2;

#[derive(Clone, Debug)]
enum Step {
    /// Time passes.
    Pass(Duration),
    /// Callers come, and wait as long as necessary.
    Call {
        key: usize,
        callers: usize,
    },
    /// A caller comes, and cancels before it gets a result.
    CallAndGo {
        key: usize,
    },
    /// A resource server refuses the newest token of the key, or the previous one.
    Refuse {
        key: usize,
        newest: bool,
    },
    /// The server's behaviour from now on.
    Server(Weather),
    RotateCredentials,
}

#[derive(Clone, Copy, Debug)]
enum Weather {
    Well {
        lifetime: Duration,
        latency: Duration,
    },
    Down,
    Busy(Duration),
    Refusing,
    Panicking,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..KEYS;
    prop_oneof![
        4 => (1..20_000_u64).prop_map(|ms| Step::Pass(Duration::from_millis(ms))),
        2 => (1..4_000_u64).prop_map(|s| Step::Pass(Duration::from_secs(s))),
        8 => (key.clone(), 1..20_usize).prop_map(|(key, callers)| Step::Call { key, callers }),
        2 => key.clone().prop_map(|key| Step::CallAndGo { key }),
        3 => (key, any::<bool>()).prop_map(|(key, newest)| Step::Refuse { key, newest }),
        2 => weather().prop_map(Step::Server),
        1 => Just(Step::RotateCredentials),
    ]
}

fn weather() -> impl Strategy<Value = Weather> {
    let lifetimes = prop_oneof![Just(0_u64), 1..10_u64, 1..7_200_u64, Just(u64::MAX)];
    prop_oneof![
        4 => (lifetimes, 0..3_000_u64).prop_map(|(lifetime, latency)| Weather::Well {
            lifetime: Duration::from_secs(lifetime),
            latency: Duration::from_millis(latency),
        }),
        1 => Just(Weather::Down),
        1 => (1..100_u64).prop_map(|s| Weather::Busy(Duration::from_secs(s))),
        1 => Just(Weather::Refusing),
        1 => Just(Weather::Panicking),
    ]
}

/// The history so far, as the model sees it.
struct World {
    clock: TokioClock,
    weather: Mutex<Weather>,
    epoch: AtomicUsize,
    minted: AtomicUsize,
    keys: [Key; KEYS + 1],
    refused: Mutex<HashSet<String>>,
    /// Promises that were broken where a panic would go unnoticed.
    broken: Mutex<Vec<String>>,
}

impl World {
    fn broken(&self, promise: impl Into<String>) {
        self.broken.lock().unwrap().push(promise.into());
    }
}

#[derive(Default)]
struct Key {
    in_flight: AtomicBool,
    last_asked: Mutex<Option<Timestamp>>,
    /// Returned tokens, oldest first.
    handed_out: Mutex<Vec<AccessToken>>,
}

fn request(key_number: usize) -> TokenRequest {
    if key_number == 0 {
        TokenRequest::new()
    } else {
        key(key_number)
    }
}

/// Returns the key's number; the last one is shared by all others.
fn number(request: &TokenRequest) -> usize {
    match request.scopes().as_str() {
        "" => 0,
        number => number.parse().unwrap_or(KEYS),
    }
}

/// Returns the number that a token was minted under.
fn serial(token: &AccessToken) -> usize {
    token.expose()[1..].parse().expect("a serial number")
}

struct Source(Arc<World>);

/// A guard that is dropped with the fetch, however it ends.
struct InFlight<'a>(&'a Key);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.store(false, Ordering::SeqCst);
    }
}

#[async_trait]
impl TokenSource for Source {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        let world = &self.0;
        let at = number(request);
        let key = &world.keys[at];
        let asked = world.clock.moment();
        let flies = key.in_flight.swap(true, Ordering::SeqCst);
        if flies {
            world.broken("two flights for a key");
        }
        let _in_flight = InFlight(key);
        let last = key.last_asked.lock().unwrap().replace(asked.timestamp);
        // An evicted key starts from scratch, so this limit is the default key's.
        if at == 0
            && let Some(last) = last
        {
            let gap = asked.timestamp.saturating_since(last);
            if gap < MIN_INTERVAL {
                world.broken(format!("two fetches {gap:?} apart"));
            }
        }
        let weather = *world.weather.lock().unwrap();
        match weather {
            Weather::Well { lifetime, latency } => {
                tokio::time::sleep(latency).await;
                let serial = world.minted.fetch_add(1, Ordering::SeqCst) + 1;
                Ok(AccessToken::bearer(&format!("t{serial}"), asked, lifetime)?)
            }
            Weather::Down => Err(TokenError::unavailable("down")),
            Weather::Busy(wait) => Err(TokenError::unavailable("busy").with_retry_after(wait)),
            Weather::Refusing => Err(TokenError::credentials_refused("refused")),
            Weather::Panicking => panic!("a source that panics"),
        }
    }

    fn credential_epoch(&self) -> u64 {
        self.0.epoch.load(Ordering::SeqCst) as u64
    }
}

/// Makes one call, and checks the promises to it.
async fn call(world: Arc<World>, cache: Arc<CachedTokenSource<Source>>, at: usize) {
    let key = &world.keys[at];
    let refused_before = world.refused.lock().unwrap().clone();
    let minted_before = {
        let handed_out = key.handed_out.lock().unwrap();
        handed_out.last().map_or(0, serial)
    };
    let Ok(token) = cache.token(&request(at)).await else {
        return;
    };
    // It was returned at once or in time; a token without a lifetime serves its waiters.
    let lifeless = token.lifetime().is_zero();
    assert!(
        lifeless || !token.is_expired(world.clock.now()),
        "an expired token was returned"
    );
    assert!(
        !refused_before.contains(token.expose()),
        "a token was returned that had been refused before the call"
    );
    assert!(
        serial(&token) >= minted_before,
        "an older token was returned than before"
    );
    key.handed_out.lock().unwrap().push(token);
}

async fn live(steps: Vec<Step>) {
    let world = Arc::new(World {
        clock: TokioClock::new(),
        weather: Mutex::new(Weather::Well {
            lifetime: 60 * SECOND,
            latency: Duration::ZERO,
        }),
        epoch: AtomicUsize::new(0),
        minted: AtomicUsize::new(0),
        keys: Default::default(),
        refused: Mutex::default(),
        broken: Mutex::default(),
    });
    let cache = CachedTokenSource::builder(Source(world.clone()))
        .clock(world.clock.clone())
        .min_interval(MIN_INTERVAL)
        .max_keys(MAX_KEYS)
        .build();
    let cache = Arc::new(cache);
    let mut callers = JoinSet::new();
    for step in steps {
        match step {
            Step::Pass(time) => tokio::time::sleep(time).await,
            Step::Call { key, callers: more } => {
                for _ in 0..more {
                    callers.spawn(call(world.clone(), cache.clone(), key));
                }
                settle().await;
            }
            Step::CallAndGo { key } => {
                let going = tokio::spawn(call(world.clone(), cache.clone(), key));
                settle().await;
                going.abort();
            }
            Step::Refuse { key, newest } => {
                let handed_out = world.keys[key].handed_out.lock().unwrap().clone();
                let token = handed_out.iter().rev().nth(usize::from(!newest));
                if let Some(token) = token {
                    cache.invalidate(token);
                    world
                        .refused
                        .lock()
                        .unwrap()
                        .insert(token.expose().to_owned());
                }
            }
            Step::Server(weather) => *world.weather.lock().unwrap() = weather,
            Step::RotateCredentials => {
                world.epoch.fetch_add(1, Ordering::SeqCst);
            }
        }
        while let Some(done) = callers.try_join_next() {
            done.expect("a promise was broken");
        }
    }
    // The server recovers: nobody is left waiting, and no key stays broken.
    *world.weather.lock().unwrap() = Weather::Well {
        lifetime: 60 * SECOND,
        latency: Duration::ZERO,
    };
    tokio::time::sleep(3_700 * SECOND).await;
    while let Some(done) = callers.try_join_next() {
        done.expect("a promise was broken");
    }
    assert!(callers.is_empty(), "{} callers still wait", callers.len());
    let stats = cache.stats();
    assert_eq!((stats.flights, stats.waiters), (0, 0));
    for at in 0..KEYS {
        cache.token(&request(at)).await.expect("a key is spoilt");
    }
    // There may be more keys while all of them have flights; the next new one fixes that.
    tokio::time::sleep(10 * SECOND).await;
    cache.token(&key("new")).await.expect("a new key");
    assert!(cache.stats().keys <= MAX_KEYS);
    let broken = world.broken.lock().unwrap();
    assert!(broken.is_empty(), "{broken:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    // covers: F-18, F-66, F-68, F-72, F-74, F-75, F-81, F-82, F-83
    #[test]
    fn every_sequence_of_operations_keeps_the_invariants(steps in proptest::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(live(steps));
    }
}
