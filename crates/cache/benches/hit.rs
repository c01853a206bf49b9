//! The cost of a hit, compared with the minimum and with handwritten code.
//!
//! All rows take turns, so that a disturbance of the machine slows all of them. Times of two concurrent tasks have
//! modes that differ between processes, not within one: they are medians over several processes.

#![allow(missing_docs, clippy::unwrap_used, clippy::cast_precision_loss)]

#[path = "../../../benches/rows.rs"]
mod rows;

use std::{
    env,
    hint::black_box,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use hallpass_cache::CachedTokenSource;
use hallpass_core::{
    AccessToken, Clock as _, SystemClock, TokenError, TokenRequest, TokenSource, TokenSourceExt,
};
use http::HeaderValue;
use tokio::{runtime, sync};

const HOUR: Duration = Duration::from_secs(3_600);
const CALLS: u32 = 20_000;
const TURNS: usize = 60;
const PROCESSES: usize = 9;
/// Set in the processes that measure two tasks.
const TWO: &str = "HALLPASS_BENCH_TWO_TASKS";

fn main() {
    if env::var_os(TWO).is_some() {
        return two_tasks();
    }
    one_task();
    several_processes();
    keys();
}

/// A source of hour-long tokens of 900 characters.
struct Source;

#[async_trait]
impl TokenSource for Source {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        Ok(AccessToken::bearer(
            &"x".repeat(900),
            SystemClock.moment(),
            HOUR,
        )?)
    }
}

/// Typical handwritten code: a token with its header and its expiry.
struct ByHand<T> {
    token: T,
    expires: Instant,
}

impl<T> ByHand<T> {
    fn new(token: T) -> Self {
        Self {
            token,
            expires: Instant::now() + HOUR,
        }
    }
}

/// The contestants of the comparison.
#[derive(Clone)]
struct Contest {
    ours: Arc<dyn TokenSource>,
    floor: Arc<ArcSwap<ByHand<HeaderValue>>>,
    rwlock: Arc<sync::RwLock<Option<ByHand<HeaderValue>>>>,
    mutex: Arc<sync::Mutex<Option<ByHand<String>>>>,
}

#[derive(Clone, Copy)]
enum Row {
    Ours,
    OursAccessToken,
    OursAwaited,
    Floor,
    RwLock,
    Mutex,
}

const ROWS: [(Row, &str); 6] = [
    (Row::Ours, "default"),
    (Row::OursAccessToken, "default_access_token"),
    (Row::OursAwaited, "default_awaited"),
    (Row::Floor, "floor"),
    (Row::RwLock, "rwlock"),
    (Row::Mutex, "mutex"),
];

impl Contest {
    async fn new() -> Self {
        let header =
            || HeaderValue::from_maybe_shared(bytes::Bytes::from("x".repeat(900))).unwrap();
        let ours = Arc::new(CachedTokenSource::new(Source));
        ours.token(&TokenRequest::default()).await.unwrap();
        Self {
            ours,
            floor: Arc::new(ArcSwap::from_pointee(ByHand::new(header()))),
            rwlock: Arc::new(sync::RwLock::new(Some(ByHand::new(header())))),
            mutex: Arc::new(sync::Mutex::new(Some(ByHand::new("x".repeat(900))))),
        }
    }

    /// Returns the nanoseconds of one call.
    async fn time(self, row: Row) -> f64 {
        let began = Instant::now();
        match row {
            Row::Ours => {
                let request = TokenRequest::default();
                for _ in 0..CALLS {
                    let token = self.ours.ready_token(black_box(&request)).unwrap();
                    black_box(token.header_value());
                }
            }
            Row::OursAccessToken => {
                let request = TokenRequest::default();
                for _ in 0..CALLS {
                    let token = self.ours.access_token(black_box(&request)).await.unwrap();
                    black_box(token.header_value());
                }
            }
            Row::OursAwaited => {
                let request = TokenRequest::default();
                for _ in 0..CALLS {
                    let token = self.ours.token(black_box(&request)).await.unwrap();
                    black_box(token.header_value());
                }
            }
            Row::Floor => {
                for _ in 0..CALLS {
                    let token = self.floor.load_full();
                    assert!(Instant::now() < token.expires);
                    black_box(&token.token);
                }
            }
            Row::RwLock => {
                for _ in 0..CALLS {
                    let token = self.rwlock.read().await;
                    let token = token
                        .as_ref()
                        .filter(|token| Instant::now() < token.expires);
                    black_box(token.unwrap().token.clone());
                }
            }
            Row::Mutex => {
                for _ in 0..CALLS {
                    let token = self.mutex.lock().await;
                    let token = token
                        .as_ref()
                        .filter(|token| Instant::now() < token.expires);
                    black_box(token.unwrap().token.clone());
                }
            }
        }
        began.elapsed().as_nanos() as f64 / f64::from(CALLS)
    }
}

fn two_workers() -> runtime::Runtime {
    runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

fn one_task() {
    let runtime = two_workers();
    let contest = runtime.block_on(Contest::new());
    let mut figures = [const { Vec::new() }; ROWS.len()];
    for turn in 0..TURNS + TURNS / 10 {
        for ((row, _), figures) in ROWS.iter().zip(&mut figures) {
            let figure = runtime.block_on(runtime.spawn(contest.clone().time(*row)));
            if turn >= TURNS / 10 {
                figures.push(figure.unwrap());
            }
        }
    }
    for ((_, name), figures) in ROWS.iter().zip(&mut figures) {
        rows::report(&format!("hit/{name}"), rows::median(figures), "ns");
    }
}

/// Prints one line for each row: its name, and the median of its turns.
fn two_tasks() {
    let runtime = two_workers();
    let contest = runtime.block_on(Contest::new());
    for (row, name) in ROWS {
        let mut figures = Vec::new();
        for _ in 0..TURNS {
            let tasks = [(); 2].map(|()| runtime.spawn(contest.clone().time(row)));
            for task in tasks {
                figures.push(runtime.block_on(task).unwrap());
            }
        }
        println!("{name} {}", rows::median(&mut figures));
    }
}

fn several_processes() {
    let mut figures = [const { Vec::new() }; ROWS.len()];
    for _ in 0..PROCESSES {
        let this = env::current_exe().unwrap();
        let output = Command::new(this).env(TWO, "1").output().unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        for (line, figures) in output.lines().zip(&mut figures) {
            figures.push(line.split(' ').nth(1).unwrap().parse().unwrap());
        }
    }
    for ((_, name), figures) in ROWS.iter().zip(&mut figures) {
        let median = rows::median(figures);
        println!("two tasks, {name}, each process: {figures:.0?}");
        rows::report(&format!("hit/two_tasks/{name}"), median, "ns");
    }
}

/// Measures hits among many keys: of all of them in order of creation or at random, which shows the cost of memory; and
/// of a hundred active ones, which shows the cost of the map. Handles need no map.
fn keys() {
    let runtime = two_workers();
    for (count, name) in [(100, "100"), (10_000, "10k"), (1_000_000, "1M")] {
        let cache = CachedTokenSource::builder(Source).max_keys(count).build();
        let mut requests: Vec<TokenRequest> = (0..count)
            .map(|number| {
                let request =
                    TokenRequest::new().with_audience(&format!("https://{number}.example"));
                request.unwrap()
            })
            .collect();
        runtime.block_on(async {
            for request in requests.iter().chain([&TokenRequest::default()]) {
                cache.token(request).await.unwrap();
            }
        });
        let cache = Arc::new(cache);
        let source: Arc<dyn TokenSource> = cache.clone();
        let report = |rows: &mut [(&str, &mut dyn FnMut() -> AccessToken)]| {
            for (row, figure) in in_turns(rows) {
                rows::report(&format!("hit/{row}/{name}"), figure, "ns");
            }
        };
        let mut order = requests.iter().cycle();
        let mut keyed = || source.ready_token(order.next().unwrap()).unwrap();
        report(&mut [("keys_in_turn", &mut keyed)]);

        fastrand::Rng::with_seed(7).shuffle(&mut requests);
        let handles: Vec<_> = requests.iter().map(|key| cache.bind(key.clone())).collect();
        let mut order = requests.iter().cycle();
        let mut keyed = || source.ready_token(order.next().unwrap()).unwrap();
        let mut bound_order = handles.iter().cycle();
        let mut bound = || bound_order.next().unwrap().ready_token().unwrap();
        report(&mut [
            ("keys_at_random", &mut keyed),
            ("handles_at_random", &mut bound),
        ]);

        let mut order = requests[..100].iter().cycle();
        let mut keyed = || source.ready_token(order.next().unwrap()).unwrap();
        let mut bound_order = handles[..100].iter().cycle();
        let mut bound = || bound_order.next().unwrap().ready_token().unwrap();
        let request = TokenRequest::default();
        let mut default = || source.ready_token(black_box(&request)).unwrap();
        report(&mut [
            ("keys_in_use", &mut keyed),
            ("handles_in_use", &mut bound),
            ("default_beside_keys", &mut default),
        ]);
    }
}

/// Returns the median nanoseconds of each call.
fn in_turns<'a>(rows: &mut [(&'a str, &mut dyn FnMut() -> AccessToken)]) -> Vec<(&'a str, f64)> {
    let mut figures = vec![Vec::new(); rows.len()];
    for _ in 0..TURNS {
        for ((_, call), figures) in rows.iter_mut().zip(&mut figures) {
            let began = Instant::now();
            for _ in 0..CALLS {
                black_box(call().header_value());
            }
            figures.push(began.elapsed().as_nanos() as f64 / f64::from(CALLS));
        }
    }
    let medians = figures.iter_mut().map(|figures| rows::median(figures));
    rows.iter().map(|(row, _)| *row).zip(medians).collect()
}
