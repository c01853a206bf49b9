//! The cost of a hit with a store and without one, and of a store call compared with a bare command.
//!
//! The rows take turns, so that a disturbance of the machine slows both.

#![allow(missing_docs, clippy::unwrap_used, clippy::cast_precision_loss)]

#[allow(dead_code)]
#[path = "../../../tests/shared/redis_server.rs"]
mod redis_server;
#[path = "../../../benches/rows.rs"]
mod rows;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use hallpass_cache::{CachedTokenSource, StoreKey, TokenStore as _};
use hallpass_core::{AccessToken, Clock as _, Secret, SystemClock, TokenRequest, TokenSource as _};
use hallpass_redis::RedisTokenStore;
use hallpass_testkit::StaticSource;
use redis_server::RedisServer;
use rows::{median, report};

const KEY: &str = "a2V5IG9uZSBrZXkgb25lIGtleSBvbmUga2V5IG9uZSA=";
const HOUR: Duration = Duration::from_secs(3_600);
const HITS: u32 = 50_000;
const HIT_TURNS: usize = 101;
const CALLS: usize = 2_000;

fn main() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        hits(&server).await;
        calls(&server).await;
    });
}

fn store(server: &RedisServer) -> RedisTokenStore {
    let keys = Secret::new(KEY).unwrap();
    let store = RedisTokenStore::builder(server.text("url")).keys(keys);
    store.build().unwrap()
}

/// Returns an entry's usual size: a token of 900 characters.
fn token() -> AccessToken {
    AccessToken::bearer(&"x".repeat(900), SystemClock.moment(), HOUR).unwrap()
}

async fn hits(server: &RedisServer) {
    let request = TokenRequest::new();
    let source = || StaticSource::new(token());
    let without = CachedTokenSource::new(source());
    let with = CachedTokenSource::builder(source()).store(store(server), "issuer client");
    let with = with.build();
    without.token(&request).await.unwrap();
    with.token(&request).await.unwrap();
    let time = |cache: &CachedTokenSource<StaticSource>| {
        let began = Instant::now();
        for _ in 0..HITS {
            black_box(cache.ready_token(black_box(&request)).unwrap());
        }
        began.elapsed().as_nanos() as f64 / f64::from(HITS)
    };
    let (mut ours, mut base, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..HIT_TURNS {
        let (with, without) = (time(&with), time(&without));
        ours.push(with);
        base.push(without);
        ratios.push(with / without);
    }
    report("store/hit", median(&mut ours), "ns");
    report("store/hit_without", median(&mut base), "ns");
    let ratio = median(&mut ratios);
    report("store/hit/over/store/hit_without", ratio, "times");
}

async fn calls(server: &RedisServer) {
    let (store, key) = (store(server), StoreKey::new("bench", &TokenRequest::new()));
    let entry = vec![b'x'; 1_100];
    let client = redis::Client::open(server.text("url")).unwrap();
    let mut bare = client.get_multiplexed_async_connection().await.unwrap();
    let set: Result<(), _> = redis::cmd("SET")
        .arg("hallpass:bare")
        .arg(&entry)
        .query_async(&mut bare)
        .await;
    set.unwrap();
    let (mut gets, mut looks, mut puts) = (Vec::new(), Vec::new(), Vec::new());
    let (mut look_ratios, mut put_ratios) = (Vec::new(), Vec::new());
    for turn in 0..CALLS {
        let began = Instant::now();
        let got: Result<Vec<u8>, _> = redis::cmd("GET")
            .arg("hallpass:bare")
            .query_async(&mut bare)
            .await;
        black_box(got.unwrap());
        let get = began.elapsed();
        // Each put replaces an entry that would expire earlier.
        let ttl = HOUR + Duration::from_secs(turn as u64);
        let began = Instant::now();
        store.put(&key, &entry, ttl, None).await.unwrap();
        let put = began.elapsed();
        let began = Instant::now();
        black_box(store.look_up(&key).await.unwrap().unwrap());
        let look = began.elapsed();
        let nanos = |time: Duration| time.as_nanos() as f64;
        gets.push(nanos(get));
        puts.push(nanos(put));
        looks.push(nanos(look));
        look_ratios.push(nanos(look) / nanos(get));
        put_ratios.push(nanos(put) / nanos(get));
    }
    report("store/get", median(&mut gets), "ns");
    report("store/look_up", median(&mut looks), "ns");
    report("store/put", median(&mut puts), "ns");
    report(
        "store/look_up/over/store/get",
        median(&mut look_ratios),
        "times",
    );
    report("store/put/over/store/get", median(&mut put_ratios), "times");
}
