//! Every two settings of the cache's builder, in both orders: the first one has its effect beside the other, and the
//! effect is lost without it, or the documentation says that it has none. `build` refuses nothing.

mod rows;
#[path = "../../../../tests/shared/settings.rs"]
mod table;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use hallpass_cache::{
    CachedTokenSource, LayeredStore, MemoryTokenStore, StoreCall, StoreError, StoreKey, StoreLayer,
    TokenStore as _,
};
use hallpass_core::{
    AccessToken, Clock, ErrorKind, Event, Observer, Timestamp, TokenError, TokenRequest,
    TokenSource, TokenType,
};
use hallpass_testkit::TokioClock;
use metrics_util::debugging::DebuggingRecorder;
use tokio::time::{Instant, sleep};

use self::{
    rows::{ROWS, Row, UNSEEN},
    table::{assert_none, effect_fault, methods, setters},
};
use crate::{
    distant::NAMESPACE,
    proven::SharedKey,
    support::{HOUR, SECOND, key},
};

/// The result of each fetch.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Token,
    /// A token, a second later.
    Later,
    Hangs,
    Down,
    Busy,
    Refused,
}

/// The story of a cache.
#[derive(Clone, Copy, PartialEq)]
enum Story {
    /// One call.
    Once,
    /// A call each second, until there are this many fetches.
    Calls(usize),
    /// A call each second until there are two fetches, and an API refuses the tokens.
    RefusedTokens,
    /// A call, and three hours.
    Idle,
    /// Calls for three keys, at once.
    Keys,
    /// One call to a store that does not answer.
    SilentStore,
    /// One call with a store that does not answer after the first one.
    LateStore,
    /// One call with a store that accepts no token.
    StuckStore,
}

struct World {
    store: LayeredStore<MemoryTokenStore, Silence>,
    events: Arc<Events>,
    other_events: Arc<Events>,
    clock: TokioClock,
    clock_reads: Arc<AtomicUsize>,
    prover: SharedKey,
}

/// The observations of a cache.
struct Observations {
    fetches: Vec<Duration>,
    events: Vec<(String, &'static str, Duration)>,
    other_events: usize,
    labels: BTreeSet<String>,
    clock_reads: usize,
    /// True if the token is in the store, in its namespace.
    is_stored: bool,
    keys: usize,
    elapsed: Duration,
}

impl Observations {
    /// Returns the time between the first two fetches.
    fn gap(&self) -> Duration {
        match self.fetches[..] {
            [first, second, ..] => second.saturating_sub(first),
            _ => Duration::MAX,
        }
    }

    /// Returns the longest time between two fetches, one after the other.
    fn longest_gap(&self) -> Duration {
        let gaps = self
            .fetches
            .windows(2)
            .map(|pair| pair[1].saturating_sub(pair[0]));
        gaps.max().unwrap_or_default()
    }

    fn gap_is(&self, from: u64, to: u64) -> bool {
        (Duration::from_secs(from)..=Duration::from_secs(to)).contains(&self.gap())
    }
}

#[derive(Clone)]
struct Source {
    fate: Fate,
    start: Instant,
    clock: TokioClock,
    fetches: Arc<Mutex<Vec<Duration>>>,
    prover: Option<SharedKey>,
}

#[async_trait]
impl TokenSource for Source {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        let number = {
            let mut fetches = self.fetches.lock().unwrap();
            fetches.push(self.start.elapsed());
            fetches.len()
        };
        match self.fate {
            Fate::Token => {}
            Fate::Later => sleep(SECOND).await,
            Fate::Hangs => std::future::pending().await,
            Fate::Down => return Err(TokenError::unavailable("down")),
            Fate::Busy => return Err(TokenError::unavailable("busy").with_retry_after(HOUR)),
            Fate::Refused => return Err(TokenError::new(ErrorKind::CredentialsRefused, "refused")),
        }
        let (text, now) = (format!("t{number}"), self.clock.moment());
        Ok(match &self.prover {
            None => AccessToken::bearer(&text, now, HOUR)?,
            Some(prover) => {
                let token = AccessToken::new(TokenType::Dpop, &text, now, HOUR)?;
                token.with_prover(Arc::new(prover.clone()))
            }
        })
    }
}

#[derive(Default)]
struct Events(Mutex<Vec<(String, &'static str, Instant)>>);

impl Observer for Events {
    fn observe(&self, event: &Event<'_>) {
        let mut events = self.0.lock().unwrap();
        events.push((event.name.to_owned(), event.kind.as_str(), Instant::now()));
    }
}

#[derive(Clone, Debug)]
struct CountedClock(TokioClock, Arc<AtomicUsize>);

impl Clock for CountedClock {
    fn now(&self) -> Timestamp {
        self.1.fetch_add(1, SeqCst);
        self.0.now()
    }

    fn wall(&self) -> SystemTime {
        self.0.wall()
    }
}

/// Has a store answer no longer from some call on.
#[derive(Clone, Debug)]
struct Silence {
    /// The number of look-ups that are answered.
    answers: Arc<AtomicUsize>,
    is_stuck: bool,
}

impl StoreLayer for Silence {
    async fn around<T: Send>(
        &self,
        call: StoreCall,
        result: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let is_answered = match call {
            StoreCall::LookUpOrLease => {
                let answer = |left: usize| left.checked_sub(1);
                self.answers.fetch_update(SeqCst, SeqCst, answer).is_ok()
            }
            StoreCall::Put => !self.is_stuck,
            _ => true,
        };
        if !is_answered {
            std::future::pending::<()>().await;
        }
        result.await
    }
}

impl World {
    fn new(story: Story) -> Self {
        let clock = TokioClock::new();
        let answers = match story {
            Story::SilentStore => 0,
            Story::LateStore => 1,
            _ => usize::MAX,
        };
        let silence = Silence {
            answers: Arc::new(AtomicUsize::new(answers)),
            is_stuck: story == Story::StuckStore,
        };
        Self {
            store: LayeredStore::new(MemoryTokenStore::new(clock.clone()), silence),
            events: Arc::default(),
            other_events: Arc::default(),
            clock,
            clock_reads: Arc::default(),
            prover: SharedKey("a key"),
        }
    }
}

impl Story {
    /// Plays it; returns the duration of the last calls.
    async fn play(self, cache: &Arc<CachedTokenSource<Source>>) -> Duration {
        let default = TokenRequest::new();
        let mut called = Instant::now();
        match self {
            Self::Once | Self::SilentStore | Self::StuckStore => {
                let _ = cache.token(&default).await;
            }
            Self::Calls(_) | Self::RefusedTokens => {
                let fetches = if let Self::Calls(fetches) = self {
                    fetches
                } else {
                    2
                };
                for _ in 0..4_000 {
                    if let Ok(token) = cache.token(&default).await
                        && self == Self::RefusedTokens
                    {
                        cache.invalidate(&token);
                    }
                    if cache.get_ref().fetches.lock().unwrap().len() >= fetches {
                        break;
                    }
                    sleep(SECOND).await;
                }
            }
            Self::Idle => {
                cache.token(&default).await.unwrap();
                sleep(3 * HOUR).await;
            }
            Self::Keys => {
                cache.token(&default).await.unwrap();
                called = Instant::now();
                let calls = ["a", "b", "c"].map(|scope| {
                    let cache = cache.clone();
                    tokio::spawn(async move { cache.token(&key(scope)).await.map(drop) })
                });
                for call in calls {
                    call.await.unwrap().unwrap();
                }
                let elapsed = called.elapsed();
                // While a key has a fetch, or its token is put into the store, it is not evicted.
                sleep(SECOND).await;
                cache.token(&key("d")).await.unwrap();
                return elapsed;
            }
            Self::LateStore => {
                cache.token(&default).await.unwrap();
                sleep(SECOND).await;
                called = Instant::now();
                cache.token(&key("a")).await.unwrap();
            }
        }
        called.elapsed()
    }
}

/// Lets a cache with these settings, or without the first one, go through the story of the first one.
async fn run(rows: [&Row; 2], is_set: bool) -> Observations {
    let Row { fate, story, .. } = *rows[0];
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let (start, world) = (Instant::now(), World::new(story));
    let is_bound = rows.iter().any(|row| row.name == "shared_prover");
    let source = Source {
        fate,
        start,
        clock: world.clock.clone(),
        fetches: Arc::default(),
        prover: is_bound.then(|| world.prover.clone()),
    };
    let mut builder = CachedTokenSource::builder(source.clone())
        .clock(world.clock.clone())
        .observer(world.events.clone());
    let has_store = rows.iter().any(|row| row.name == "store");
    if !has_store && rows.iter().any(|row| row.is_shared) {
        builder = builder.store(world.store.clone(), NAMESPACE);
    }
    if is_set {
        builder = (rows[0].set)(builder, &world);
    }
    if rows[0].name != rows[1].name {
        builder = (rows[1].set)(builder, &world);
    }
    let cache = Arc::new(builder.build());
    let elapsed = story.play(&cache).await;
    // For what no caller waits for.
    sleep(30 * SECOND).await;
    let keys = cache.stats().keys;
    let request = TokenRequest::new();
    let is_bound_by_all = is_bound && (is_set || rows[0].name != "shared_prover");
    let stored = if is_bound_by_all {
        StoreKey::bound(NAMESPACE, world.prover.0, &request)
    } else {
        StoreKey::new(NAMESPACE, &request)
    };
    let stored = world.store.look_up(&stored).await.unwrap();
    let events = world.events.0.lock().unwrap();
    let events = events
        .iter()
        .map(|(name, kind, at)| (name.clone(), *kind, at.duration_since(start)));
    let metrics = snapshotter.snapshot().into_vec();
    let labels = metrics.iter().flat_map(|(key, ..)| key.key().labels());
    let labels = labels.filter(|label| label.key() == "cache");
    Observations {
        fetches: source.fetches.lock().unwrap().clone(),
        events: events.collect(),
        other_events: world.other_events.0.lock().unwrap().len(),
        labels: labels.map(|label| label.value().to_owned()).collect(),
        clock_reads: world.clock_reads.load(SeqCst),
        is_stored: stored.is_some(),
        keys,
        elapsed,
    }
}

#[tokio::test(start_paused = true)]
async fn every_two_settings_of_the_cache_have_their_effect() {
    let names: BTreeSet<_> = ROWS.iter().map(|row| row.name.to_owned()).collect();
    let setters = setters("cache", "CacheBuilder");
    assert_eq!(names, setters, "left: `ROWS`; a method needs a row");
    for (method, text) in methods("cache", "CacheBuilder") {
        let unseen = UNSEEN.iter().filter(|(name, ..)| *name == method);
        for other in unseen.flat_map(|(_, others, _)| *others) {
            assert!(text.contains(other), "{method} does not name {other}");
        }
    }
    let mut faults = Vec::new();
    for one in &ROWS {
        for other in &ROWS {
            let is_unseen = UNSEEN
                .iter()
                .any(|(name, others, _)| *name == one.name && others.contains(&other.name));
            let seen = run([one, other], true).await;
            let is_seen = (one.seen)(&seen);
            let is_seen_without = (one.seen)(&run([one, other], false).await);
            let fault = effect_fault(one.name, is_unseen, is_seen, is_seen_without);
            faults.extend(fault.map(|fault| {
                format!(
                    "beside {}: {fault}; fetches {:?}, {:?}, {} keys, stored: {}, {:?}",
                    other.name, seen.fetches, seen.elapsed, seen.keys, seen.is_stored, seen.labels,
                )
            }));
        }
    }
    assert_none(&faults);
}
