//! A cache under random load and random faults, for any length of time: `cargo xtask soak --minutes 10`.
//!
//! Two runtimes share it. Callers come, wait, cancel and refuse tokens; the source is slow, fails, panics and hangs;
//! the shared store fails too. It prints statistics, and exits with an error at the first broken promise.

use std::{
    collections::HashSet,
    env,
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use hallpass_cache::{
    CachedTokenSource, Lease, LeaseOutcome, MemoryTokenStore, StoreEntry, StoreError, StoreKey,
    TokenStore,
};
use hallpass_core::{
    AccessToken, Clock as _, SystemClock, Timestamp, TokenError, TokenRequest, TokenSource,
};
use tokio::{runtime, time};

const MILLISECOND: Duration = Duration::from_millis(1);
const MIN_INTERVAL: Duration = Duration::from_millis(100);
const FETCH_TIMEOUT: Duration = Duration::from_secs(1);
/// The maximum wait of a caller: two fetches, the store's timeouts before each, and a busy machine.
const LONGEST_CALL: Duration = Duration::from_secs(12);
const KEYS: u64 = 40;
const MAX_KEYS: usize = 30;
const CALLERS: usize = 64;

fn main() -> ExitCode {
    let Some(span) = span() else {
        eprintln!("usage: soak --minutes N");
        return ExitCode::FAILURE;
    };
    // Panics of the source are part of the test; their messages are noise.
    std::panic::set_hook(Box::new(|_| {}));
    let world = Arc::new(World::default());
    let cache = CachedTokenSource::builder(Source(world.clone()))
        .min_interval(MIN_INTERVAL)
        .backoff(50 * MILLISECOND, 500 * MILLISECOND)
        .refusal_ttl(200 * MILLISECOND)
        .fetch_timeout(FETCH_TIMEOUT)
        .max_keys(MAX_KEYS)
        .keep_warm()
        .store(Faulty(MemoryTokenStore::default()), "soak")
        .build();
    let cache = Arc::new(cache);
    let end = Instant::now() + span;
    let runtimes = [(); 2].map(|()| two_workers());
    let callers: Vec<_> = (0..CALLERS)
        .map(|at| {
            let caller = call_on(world.clone(), cache.clone(), end);
            runtimes[at % runtimes.len()].spawn(caller)
        })
        .collect();
    while Instant::now() < end && world.broken().is_none() {
        std::thread::sleep((end - Instant::now()).min(Duration::from_secs(10)));
        println!("{}", figures(&world, &cache));
    }
    for caller in callers {
        let ended = runtimes[0].block_on(async { time::timeout(LONGEST_CALL, caller).await });
        if !matches!(ended, Ok(Ok(()))) {
            world.fail("a caller did not come to its end");
        }
    }
    match world.broken() {
        None => {
            println!("all promises held");
            ExitCode::SUCCESS
        }
        Some(promise) => {
            eprintln!("error: {promise}");
            ExitCode::FAILURE
        }
    }
}

fn span() -> Option<Duration> {
    let mut args = env::args().skip(1);
    let minutes = match (args.next()?.as_str(), args.next()) {
        ("--minutes", Some(minutes)) => minutes.parse::<f64>().ok()?,
        _ => return None,
    };
    Duration::try_from_secs_f64(minutes * 60.0).ok()
}

fn two_workers() -> runtime::Runtime {
    runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

fn figures(world: &World, cache: &CachedTokenSource<Source>) -> String {
    let stats = cache.stats();
    let resident = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = resident
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0);
    format!(
        "{} hits, {} misses, {} fetches ({} refreshes, {} failed), {} refusals, {} evictions, {} from the store \
         ({} faults), worst call {:?}, {} MiB resident",
        stats.hits,
        stats.misses,
        stats.fetches,
        stats.refreshes,
        stats.failures,
        stats.invalidations,
        stats.evictions,
        stats.store_hits,
        stats.store_faults,
        Duration::from_nanos(world.worst.load(Ordering::Relaxed)),
        pages * 4 / 1_024,
    )
}

#[derive(Default)]
struct World {
    broken: Mutex<Option<String>>,
    minted: AtomicUsize,
    worst: AtomicU64,
    default_flies: AtomicBool,
    default_asked: Mutex<Option<Timestamp>>,
    refused: Mutex<HashSet<String>>,
}

impl World {
    /// Records a broken promise; the first one counts.
    fn fail(&self, promise: impl Into<String>) {
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        broken.get_or_insert(promise.into());
    }

    fn broken(&self) -> Option<String> {
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        broken.clone()
    }

    fn was_refused(&self, token: &AccessToken) -> bool {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.contains(token.expose())
    }

    /// Refuses one at a time, to see whether this token was in use.
    fn refuse(&self, cache: &CachedTokenSource<Source>, token: &AccessToken) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let before = cache.stats().invalidations;
        cache.invalidate(token);
        if cache.stats().invalidations > before {
            refused.insert(token.expose().to_owned());
        }
    }
}

struct Source(Arc<World>);

#[async_trait]
impl TokenSource for Source {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        let world = &self.0;
        let asked = SystemClock.moment();
        // Evicted keys start from scratch: the default key never is.
        let _flies = request.is_default().then(|| {
            let mut last = world
                .default_asked
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(last) = last.replace(asked.timestamp) {
                let gap = asked.timestamp.saturating_since(last);
                if gap < MIN_INTERVAL {
                    world.fail(format!("two fetches for a key within {gap:?}"));
                }
            }
            if world.default_flies.swap(true, Ordering::SeqCst) {
                world.fail("two flights for a key at a time");
            }
            Flies(world)
        });
        time::sleep(MILLISECOND * fastrand::u32(0..40)).await;
        match fastrand::u32(0..100) {
            0..70 => {
                let serial = world.minted.fetch_add(1, Ordering::Relaxed);
                let lifetime = MILLISECOND * fastrand::u32(20..3_000);
                Ok(AccessToken::bearer(&format!("t{serial}"), asked, lifetime)?)
            }
            70..85 => Err(TokenError::unavailable("down")),
            85..90 => Err(TokenError::unavailable("busy").with_retry_after(300 * MILLISECOND)),
            90..95 => Err(TokenError::credentials_refused("refused")),
            95..98 => panic!("a source that panics"),
            _ => std::future::pending().await,
        }
    }
}

struct Flies<'a>(&'a World);

impl Drop for Flies<'_> {
    fn drop(&mut self) {
        self.0.default_flies.store(false, Ordering::SeqCst);
    }
}

async fn call_on(world: Arc<World>, cache: Arc<CachedTokenSource<Source>>, end: Instant) {
    while Instant::now() < end && world.broken().is_none() {
        // Nearly all calls are for the default key, so the others wait often.
        let number = fastrand::u64(0..100 * KEYS);
        let request = if number >= KEYS {
            TokenRequest::new()
        } else {
            let audience = format!("https://{number}.example");
            TokenRequest::new()
                .with_audience(&audience)
                .expect("an address")
        };
        let limit = MILLISECOND * fastrand::u32(0..100);
        if fastrand::u32(0..20) == 0 {
            // May be cancelled before it completes.
            let _ = time::timeout(limit, call(&world, &cache, &request)).await;
        } else {
            call(&world, &cache, &request).await;
        }
        if fastrand::u32(0..4) == 0 {
            time::sleep(limit / 20).await;
        }
    }
}

async fn call(world: &World, cache: &CachedTokenSource<Source>, request: &TokenRequest) {
    let began = Instant::now();
    let began_at = SystemClock.now();
    let outcome = cache.token(request).await;
    let took = began.elapsed();
    let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    world.worst.fetch_max(nanoseconds, Ordering::Relaxed);
    if took > LONGEST_CALL {
        world.fail(format!("a call took {took:?}"));
    }
    let Ok(token) = outcome else {
        return;
    };
    // A busy machine may check late; a token that had expired before the call began is a fault.
    if token.is_expired(began_at) {
        world.fail("an expired token was returned");
    }
    if fastrand::u32(0..2_000) == 0 {
        world.refuse(cache, &token);
    } else if request.is_default() && world.was_refused(&token) {
        // It may have been returned just before; now it must not be.
        let again = cache.ready_token(request);
        if again.is_some_and(|again| again.is_same(&token)) {
            world.fail("a refused token was returned");
        }
    }
}

/// A store that fails or is slow at times.
#[derive(Debug)]
struct Faulty(MemoryTokenStore);

impl Faulty {
    async fn fate() -> Result<(), StoreError> {
        match fastrand::u32(0..100) {
            0..5 => Err(StoreError::new("the store is down")),
            5..10 => {
                time::sleep(200 * MILLISECOND).await;
                Ok(())
            }
            10..12 => panic!("a store that panics"),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl TokenStore for Faulty {
    async fn look_up(&self, key: &StoreKey) -> Result<Option<StoreEntry>, StoreError> {
        Self::fate().await?;
        self.0.look_up(key).await
    }

    async fn put(
        &self,
        key: &StoreKey,
        entry: &[u8],
        ttl: Duration,
        lease: Option<&Lease>,
    ) -> Result<(), StoreError> {
        Self::fate().await?;
        // Truncates an entry at times.
        let cut = if fastrand::u32(0..10) == 0 { 2 } else { 1 };
        self.0
            .put(key, &entry[..entry.len() / cut], ttl, lease)
            .await
    }

    async fn remove(&self, key: &StoreKey, fence: u64) -> Result<(), StoreError> {
        Self::fate().await?;
        self.0.remove(key, fence).await
    }

    async fn lease(&self, key: &StoreKey, ttl: Duration) -> Result<LeaseOutcome, StoreError> {
        Self::fate().await?;
        self.0.lease(key, ttl).await
    }

    async fn extend(
        &self,
        key: &StoreKey,
        lease: &Lease,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        Self::fate().await?;
        self.0.extend(key, lease, ttl).await
    }

    async fn release(&self, key: &StoreKey, lease: &Lease) -> Result<(), StoreError> {
        Self::fate().await?;
        self.0.release(key, lease).await
    }
}
