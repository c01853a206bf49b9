//! The waits of callers: a cold start, refreshes under load, short lifetimes; and the memory of a waiter and of a key.
//!
//! The server is a source that sleeps, so that only the caches are measured.

#![allow(missing_docs, clippy::unwrap_used, clippy::cast_precision_loss)]

#[path = "../../../benches/rows.rs"]
mod rows;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use hallpass_cache::CachedTokenSource;
use hallpass_core::{AccessToken, Clock as _, SystemClock, TokenError, TokenRequest, TokenSource};
use tokio::{runtime, sync, task::JoinSet, time};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn main() {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        cold_start().await;
        short_lifetimes().await;
        refreshes().await;
    });
    memory_per_key();
    memory_per_waiter();
}

/// A source that sleeps, and mints a token of 900 characters.
#[derive(Clone)]
struct Server {
    latency: Duration,
    lifetime: Duration,
    requests: Arc<AtomicUsize>,
}

impl Server {
    fn new(latency: Duration, lifetime: Duration) -> Self {
        Self {
            latency,
            lifetime,
            requests: Arc::default(),
        }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    async fn mint(&self) -> AccessToken {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let asked = SystemClock.moment();
        if !self.latency.is_zero() {
            time::sleep(self.latency).await;
        }
        AccessToken::bearer(&"x".repeat(900), asked, self.lifetime).unwrap()
    }
}

#[async_trait]
impl TokenSource for Server {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        Ok(self.mint().await)
    }
}

fn cached(server: &Server) -> Arc<dyn TokenSource> {
    Arc::new(CachedTokenSource::new(server.clone()))
}

async fn cold_start() {
    const CALLERS: usize = 10_000;
    let latency = 200 * MILLISECOND;
    let mut ratios = Vec::new();
    for _ in 0..11 {
        let server = Server::new(latency, 3_600 * SECOND);
        let source = cached(&server);
        let began = Instant::now();
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let source = source.clone();
            callers.spawn(async move {
                source.token(&TokenRequest::default()).await.unwrap();
                Instant::now()
            });
        }
        let last = callers.join_all().await.into_iter().max().unwrap();
        ratios.push((last - began).as_secs_f64() / latency.as_secs_f64());
        assert_eq!(server.requests(), 1);
    }
    rows::report("load/cold/requests", 1.0, "requests of 10,000 callers");
    rows::report(
        "load/cold/last_caller",
        rows::median(&mut ratios),
        "latencies",
    );
}

/// The waits of a crowd of callers.
#[derive(Clone, Copy, Default)]
struct Felt {
    calls: usize,
    failed: usize,
    /// Calls that took half of the server's latency or more.
    waited: usize,
    worst: Duration,
}

impl Felt {
    fn with(self, other: Self) -> Self {
        Self {
            calls: self.calls + other.calls,
            failed: self.failed + other.failed,
            waited: self.waited + other.waited,
            worst: self.worst.max(other.worst),
        }
    }

    fn report(self, row: &str) {
        let calls = self.calls;
        println!("{row}: {calls} calls");
        rows::report(&format!("{row}/failed"), self.failed as f64, "calls");
        rows::report(&format!("{row}/waited"), self.waited as f64, "calls");
        let worst = self.worst.as_secs_f64() * 1e3;
        rows::report(&format!("{row}/worst"), worst, "ms");
    }
}

/// The token sources under test.
#[async_trait]
trait Cache: Send + Sync {
    async fn ask(&self) -> bool;
}

#[async_trait]
impl Cache for Arc<dyn TokenSource> {
    async fn ask(&self) -> bool {
        self.token(&TokenRequest::default()).await.is_ok()
    }
}

/// Runs this many tasks that ask again and again, with or without a pause in between, once there is a token.
async fn crowd(
    cache: Arc<impl Cache + 'static>,
    tasks: usize,
    pause: Duration,
    latency: Duration,
    span: Duration,
) -> Felt {
    cache.ask().await;
    let end = Instant::now() + span;
    let mut crowd = JoinSet::new();
    for _ in 0..tasks {
        let cache = cache.clone();
        crowd.spawn(async move {
            let mut felt = Felt::default();
            while Instant::now() < end {
                let began = Instant::now();
                let got = cache.ask().await;
                let took = began.elapsed();
                felt.calls += 1;
                felt.failed += usize::from(!got);
                felt.waited += usize::from(took >= latency / 2);
                felt.worst = felt.worst.max(took);
                if pause.is_zero() {
                    tokio::task::yield_now().await;
                } else {
                    time::sleep(pause).await;
                }
            }
            felt
        });
    }
    let felt = crowd.join_all().await;
    felt.into_iter().fold(Felt::default(), Felt::with)
}

/// Measures eight tasks that sleep a millisecond between calls, for twelve seconds, with a server that takes 20 ms.
async fn short_lifetimes() {
    let latency = 20 * MILLISECOND;
    let span = 12 * SECOND;
    let one = async |lifetime: u32| {
        let server = Server::new(latency, lifetime * SECOND);
        let cache = Arc::new(cached(&server));
        let felt = crowd(cache, 8, MILLISECOND, latency, span).await;
        let row = format!("load/lifetime_{lifetime}s");
        felt.report(&row);
        let further = server.requests() - 1;
        rows::report(
            &format!("{row}/further_requests"),
            further as f64,
            "requests",
        );
        let lifetimes = span.as_secs_f64() / f64::from(lifetime);
        let each = server.requests() as f64 / lifetimes.max(1.0);
        rows::report(
            &format!("{row}/requests_each"),
            each,
            "requests per lifetime",
        );
    };
    tokio::join!(one(60), one(5), one(1));
}

/// A token under an asynchronous lock that is held while the next one is fetched, shortly before expiry.
struct ByHand<L> {
    lock: L,
    server: Server,
}

const EARLY: Duration = Duration::from_millis(400);

fn fresh(token: Option<&AccessToken>) -> Option<AccessToken> {
    let soon = SystemClock.now().saturating_add(EARLY);
    token.filter(|token| !token.is_expired(soon)).cloned()
}

#[async_trait]
impl Cache for ByHand<sync::RwLock<Option<AccessToken>>> {
    async fn ask(&self) -> bool {
        if fresh(self.lock.read().await.as_ref()).is_none() {
            let mut token = self.lock.write().await;
            if fresh(token.as_ref()).is_none() {
                *token = Some(self.server.mint().await);
            }
        }
        true
    }
}

#[async_trait]
impl Cache for ByHand<sync::Mutex<Option<AccessToken>>> {
    async fn ask(&self) -> bool {
        let mut token = self.lock.lock().await;
        if fresh(token.as_ref()).is_none() {
            *token = Some(self.server.mint().await);
        }
        true
    }
}

/// Measures 64 tasks that ask without a pause, over 20 lifetimes, with a server that takes 200 ms.
async fn refreshes() {
    let latency = 200 * MILLISECOND;
    let server = || Server::new(latency, 2 * SECOND);
    let span = 40 * SECOND;
    let ours = server();
    let cache = Arc::new(cached(&ours));
    let felt = crowd(cache, 64, Duration::ZERO, latency, span).await;
    felt.report("load/refresh/hallpass");
    let row = "load/refresh/hallpass/requests";
    rows::report(row, ours.requests() as f64, "requests in 20 lifetimes");
    let by_hand = Arc::new(ByHand {
        lock: sync::RwLock::new(None),
        server: server(),
    });
    let felt = crowd(by_hand, 64, Duration::ZERO, latency, span).await;
    felt.report("load/refresh/rwlock");
    let by_hand = Arc::new(ByHand {
        lock: sync::Mutex::new(None),
        server: server(),
    });
    let felt = crowd(by_hand, 64, Duration::ZERO, latency, span).await;
    felt.report("load/refresh/mutex");
}

fn one_thread() -> runtime::Runtime {
    runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Returns the bytes that are allocated when `work` is done, its result still alive.
fn held<T>(work: impl FnOnce() -> T) -> f64 {
    let mut result = None;
    let counted = allocation_counter::measure(|| result = Some(work()));
    drop(result);
    counted.bytes_current as f64
}

/// Measures the memory of a key. The request is included, the token and its buffer are not.
fn memory_per_key() {
    const KEYS: usize = 10_000;
    let runtime = one_thread();
    let server = Server::new(Duration::ZERO, 3_600 * SECOND);
    let cache = CachedTokenSource::builder(server.clone())
        .max_keys(KEYS)
        .build();
    let all = held(|| {
        for number in 0..KEYS {
            let request = TokenRequest::new().with_audience(&format!("https://{number}.example"));
            runtime.block_on(cache.token(&request.unwrap())).unwrap();
        }
    });
    let tokens = held(|| {
        let mint = |_| runtime.block_on(server.mint());
        (0..KEYS).map(mint).collect::<Vec<_>>()
    });
    // The list of tokens is not part of the cache.
    let list = (KEYS * size_of::<AccessToken>()) as f64;
    let bytes = (all - (tokens - list)) / KEYS as f64;
    assert_eq!(cache.stats().keys, KEYS);
    rows::report("load/memory/key", bytes, "bytes");
}

/// Measures the memory of a waiter. Its task is included: the future of its call is part of it.
fn memory_per_waiter() {
    const WAITERS: usize = 10_000;
    let runtime = one_thread();
    let server = Server::new(3_600 * SECOND, 3_600 * SECOND);
    let cache = Arc::new(CachedTokenSource::new(server));
    let source: Arc<dyn TokenSource> = cache.clone();
    let bytes = held(|| {
        let mut waiters = JoinSet::new();
        runtime.block_on(async {
            for _ in 0..WAITERS {
                let source = source.clone();
                waiters.spawn(async move { source.token(&TokenRequest::default()).await });
            }
            while cache.stats().waiters < WAITERS {
                tokio::task::yield_now().await;
            }
        });
        waiters
    });
    rows::report("load/memory/waiter", bytes / WAITERS as f64, "bytes");
}
