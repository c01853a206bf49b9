//! Every two settings of the cache's builder, in both orders: the first one has its effect beside the other, or the
//! documentation says that it has none. `build` refuses nothing.

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
    CacheBuilder, CachedTokenSource, LayeredStore, MemoryTokenStore, StoreCall, StoreError,
    StoreLayer,
};
use hallpass_core::{
    AccessToken, Clock, ErrorKind, Event, Observer, Timestamp, TokenError, TokenRequest,
    TokenSource, TokenType,
};
use hallpass_testkit::TokioClock;
use metrics_util::debugging::DebuggingRecorder;
use tokio::time::{Instant, sleep};

use crate::{
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
    /// A call each second, until there are two fetches.
    Calls,
    /// The same, and an API refuses the tokens.
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

#[derive(Clone, Copy)]
struct Row {
    name: &'static str,
    set: fn(CacheBuilder<Source>, &World) -> CacheBuilder<Source>,
    /// Needs a store.
    is_shared: bool,
    fate: Fate,
    story: Story,
    seen: fn(&Seen) -> bool,
}

/// A setting, those beside which its effect is not seen, and the reason.
const UNSEEN: &[(&str, &[&str], &str)] = &[(
    "metrics_label",
    &["without_metrics"],
    "there are none that could have the label",
)];

struct World {
    store: LayeredStore<MemoryTokenStore, Silence>,
    silence: Silence,
    events: Arc<Events>,
    other_events: Arc<Events>,
    clock: TokioClock,
    clock_reads: Arc<AtomicUsize>,
    prover: SharedKey,
}

/// The observations of a cache.
struct Seen {
    fetches: Vec<Duration>,
    events: Vec<(String, &'static str, Duration)>,
    other_events: usize,
    labels: BTreeSet<String>,
    clock_reads: usize,
    puts: usize,
    keys: usize,
    elapsed: Duration,
}

impl Seen {
    /// Returns the time between the first two fetches.
    fn gap(&self) -> Duration {
        match self.fetches[..] {
            [first, second, ..] => second.saturating_sub(first),
            _ => Duration::MAX,
        }
    }

    fn gap_is(&self, from: u64, to: u64) -> bool {
        (Duration::from_secs(from)..=Duration::from_secs(to)).contains(&self.gap())
    }
}

const fn row(
    name: &'static str,
    set: fn(CacheBuilder<Source>, &World) -> CacheBuilder<Source>,
    (fate, story): (Fate, Story),
    seen: fn(&Seen) -> bool,
) -> Row {
    Row {
        name,
        set,
        is_shared: false,
        fate,
        story,
        seen,
    }
}

const fn shared(row: Row) -> Row {
    Row {
        is_shared: true,
        ..row
    }
}

const ONCE: (Fate, Story) = (Fate::Token, Story::Once);

const ROWS: [Row; 19] = [
    row(
        "backoff",
        |one, _| one.backoff(20 * SECOND, 40 * SECOND),
        (Fate::Down, Story::Calls),
        |seen| seen.gap_is(10, 21),
    ),
    row(
        "clock",
        |one, world| one.clock(CountedClock(world.clock.clone(), world.clock_reads.clone())),
        ONCE,
        |seen| seen.clock_reads > 0,
    ),
    row(
        "fetch_timeout",
        |one, _| one.fetch_timeout(3 * SECOND),
        (Fate::Hangs, Story::Once),
        |seen| seen.elapsed == 3 * SECOND,
    ),
    row(
        "keep_warm",
        |one, _| one.keep_warm(),
        (Fate::Token, Story::Idle),
        |seen| seen.fetches.len() >= 3,
    ),
    row(
        "max_concurrent_fetches",
        |one, _| one.max_concurrent_fetches(1),
        (Fate::Later, Story::Keys),
        |seen| seen.elapsed >= 3 * SECOND,
    ),
    row(
        "max_keys",
        |one, _| one.max_keys(1),
        (Fate::Token, Story::Keys),
        |seen| seen.keys == 1,
    ),
    row(
        "max_refresh_window",
        |one, _| one.max_refresh_window(60 * SECOND),
        (Fate::Token, Story::Calls),
        |seen| seen.gap_is(3_540, 3_571),
    ),
    row(
        "max_retry_after",
        |one, _| one.max_retry_after(100 * SECOND),
        (Fate::Busy, Story::Calls),
        |seen| seen.gap_is(100, 101),
    ),
    row(
        "metrics_label",
        |one, _| one.metrics_label("kind"),
        ONCE,
        |seen| seen.labels.contains("kind"),
    ),
    row(
        "min_interval",
        |one, _| one.min_interval(7 * SECOND),
        (Fate::Token, Story::RefusedTokens),
        |seen| seen.gap_is(7, 9),
    ),
    row(
        "name",
        |one, _| one.name("orders"),
        ONCE,
        |seen| seen.events.iter().all(|(name, ..)| name == "orders"),
    ),
    row(
        "observer",
        |one, world| one.observer(world.other_events.clone()),
        ONCE,
        |seen| seen.other_events == seen.events.len(),
    ),
    row(
        "refusal_ttl",
        |one, _| one.refusal_ttl(100 * SECOND),
        (Fate::Refused, Story::Calls),
        |seen| seen.gap_is(100, 101),
    ),
    shared(row(
        "shared_prover",
        |one, world| one.shared_prover(world.prover.clone()),
        ONCE,
        |seen| seen.puts == 1,
    )),
    row(
        "store",
        |one, world| one.store(world.store.clone(), "orders"),
        ONCE,
        |seen| seen.puts == 1,
    ),
    shared(row(
        "store_start_timeout",
        |one, _| one.store_start_timeout(5 * SECOND),
        (Fate::Token, Story::SilentStore),
        |seen| seen.elapsed == 5 * SECOND,
    )),
    shared(row(
        "store_timeout",
        |one, _| one.store_timeout(3 * SECOND),
        (Fate::Token, Story::LateStore),
        |seen| seen.elapsed == 3 * SECOND,
    )),
    shared(row(
        "store_write_timeout",
        |one, _| one.store_write_timeout(4 * SECOND),
        (Fate::Token, Story::StuckStore),
        |seen| {
            seen.events
                .iter()
                .any(|(_, kind, at)| *kind == "store_fault" && *at == 4 * SECOND)
        },
    )),
    row(
        "without_metrics",
        |one, _| one.without_metrics(),
        ONCE,
        |seen| seen.labels.is_empty(),
    ),
];

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
    puts: Arc<AtomicUsize>,
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
            StoreCall::Put => {
                self.puts.fetch_add(1, SeqCst);
                !self.is_stuck
            }
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
            puts: Arc::default(),
        };
        Self {
            store: LayeredStore::new(MemoryTokenStore::new(clock.clone()), silence.clone()),
            silence,
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
            Self::Calls | Self::RefusedTokens => {
                for _ in 0..4_000 {
                    if let Ok(token) = cache.token(&default).await
                        && self == Self::RefusedTokens
                    {
                        cache.invalidate(&token);
                    }
                    if cache.get_ref().fetches.lock().unwrap().len() > 1 {
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

/// Lets a cache with these settings go through the story of the first one.
async fn run(rows: [&Row; 2]) -> Seen {
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
    if rows.iter().any(|row| row.is_shared) {
        builder = builder.store(world.store.clone(), "orders");
    }
    builder = (rows[0].set)(builder, &world);
    if rows[0].name != rows[1].name {
        builder = (rows[1].set)(builder, &world);
    }
    let cache = Arc::new(builder.build());
    let elapsed = story.play(&cache).await;
    // For what no caller waits for.
    sleep(30 * SECOND).await;
    let keys = cache.stats().keys;
    let events = world.events.0.lock().unwrap();
    let events = events
        .iter()
        .map(|(name, kind, at)| (name.clone(), *kind, at.duration_since(start)));
    let metrics = snapshotter.snapshot().into_vec();
    let labels = metrics.iter().flat_map(|(key, ..)| key.key().labels());
    let labels = labels.filter(|label| label.key() == "cache");
    Seen {
        fetches: source.fetches.lock().unwrap().clone(),
        events: events.collect(),
        other_events: world.other_events.0.lock().unwrap().len(),
        labels: labels.map(|label| label.value().to_owned()).collect(),
        clock_reads: world.clock_reads.load(SeqCst),
        puts: world.silence.puts.load(SeqCst),
        keys,
        elapsed,
    }
}

#[tokio::test(start_paused = true)]
async fn every_two_settings_of_the_cache_have_their_effect() {
    let names: BTreeSet<_> = ROWS.iter().map(|row| row.name.to_owned()).collect();
    assert_eq!(names, setters(), "left: `ROWS`; a method needs a row");
    let mut faults = Vec::new();
    for one in &ROWS {
        for other in &ROWS {
            let is_unseen = UNSEEN
                .iter()
                .any(|(name, others, _)| *name == one.name && others.contains(&other.name));
            let seen = run([one, other]).await;
            if (one.seen)(&seen) == is_unseen {
                faults.push(format!(
                    "{} beside {}: fetches {:?}, {:?}, {} keys, {} puts, {:?}",
                    one.name,
                    other.name,
                    seen.fetches,
                    seen.elapsed,
                    seen.keys,
                    seen.puts,
                    seen.labels,
                ));
            }
        }
    }
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

/// Returns the names of the builder's methods.
fn setters() -> BTreeSet<String> {
    let source = include_str!("../../src/builder.rs");
    let methods = source.split("\n    pub fn ").skip(1);
    let methods = methods.filter_map(|method| method.split(')').next()?.split_once('('));
    let methods = methods
        .filter(|(_, parameters)| parameters.contains("self") && !parameters.contains("&self"));
    let names = methods.filter_map(|(name, _)| name.split('<').next());
    names
        .filter(|name| *name != "build")
        .map(str::to_owned)
        .collect()
}
