//! Processes on one Redis, of which the first ends at each poll of its source and its store.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use hallpass::{
    AccessToken, Clock as _, SystemClock, TokenError, TokenRequest, TokenSource, async_trait,
    cache::{
        CachedTokenSource, LayeredStore, StoreCall, StoreError, StoreKey, StoreLayer,
        TokenStore as _,
    },
    redis_store::RedisTokenStore,
};
use hallpass_testkit::Breakpoint;

use super::runtime;
use crate::{shared::redis_server::RedisServer, support::secret};

const KEY: &str = "a2V5IG9uZSBrZXkgb25lIGtleSBvbmUga2V5IG9uZSA=";
/// More than a fetch has.
const POINTS: usize = 60;
/// The maximum delay of the second process: the leases of the key (3 s) and of the credentials (5 s), and their spread,
/// on a busy machine.
const MAX_DELAY: Duration = Duration::from_secs(9);

#[derive(Clone)]
struct Source {
    breakpoint: Breakpoint,
    calls: Arc<AtomicUsize>,
}

#[async_trait]
impl TokenSource for Source {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        let call = async {
            self.calls.fetch_add(1, SeqCst);
            tokio::task::yield_now().await;
            let hour = Duration::from_secs(3_600);
            Ok(AccessToken::bearer("t", SystemClock.moment(), hour)?)
        };
        self.breakpoint.wrap(call).await
    }

    async fn credential_digest(&self) -> Option<[u8; 32]> {
        Some([7; 32])
    }
}

/// Has the polls of a store count.
#[derive(Debug)]
struct Polls(Breakpoint);

impl StoreLayer for Polls {
    async fn around<T: Send>(
        &self,
        _: StoreCall,
        result: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        self.0.wrap(result).await
    }
}

fn store(url: &str) -> RedisTokenStore {
    RedisTokenStore::builder(url)
        .keys(secret(KEY))
        .build()
        .unwrap()
}

/// Ends the first process at this point; returns true if its fetch reached it.
fn run(url: &str, point: usize) -> bool {
    let (breakpoint, calls) = (Breakpoint::after(point), Arc::default());
    let namespace = format!("issuer {point}");
    let process = || {
        let source = Source {
            breakpoint: breakpoint.clone(),
            calls: Arc::clone(&calls),
        };
        CachedTokenSource::builder(source)
            .store(
                LayeredStore::new(store(url), Polls(breakpoint.clone())),
                &namespace,
            )
            // The machine may be busy.
            .store_timeout(Duration::from_secs(5))
            .build()
    };
    let request = TokenRequest::default();
    let first = runtime();
    first.block_on(async {
        let cache = process();
        let call = async {
            cache.token(&request).await.unwrap();
            cache.shutdown().await;
        };
        breakpoint.run(call).await;
        // A process that crashes stops nothing.
        std::mem::forget(cache);
    });
    drop(first);
    breakpoint.resume();
    let begun = calls.load(SeqCst);
    let (known, took) = runtime().block_on(async {
        let key = StoreKey::new(&namespace, &request);
        let entry = store(url).look_up(&key).await.unwrap();
        let (start, next) = (Instant::now(), process());
        next.token(&request).await.unwrap();
        let took = start.elapsed();
        next.shutdown().await;
        (entry.is_some(), took)
    });
    // What is in the store is not fetched again; anything else is, once.
    assert_eq!(calls.load(SeqCst), begun + usize::from(!known), "{point}");
    assert!(took < MAX_DELAY, "{point}: {took:?}");
    breakpoint.is_reached()
}

// covers: F-89
#[test]
fn another_process_takes_over_from_redis_at_any_point() {
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    let url = redis.text("url");
    let reached = thread::scope(|scope| {
        let threads: Vec<_> = (0..POINTS)
            .map(|point| scope.spawn(move || run(url, point)))
            .collect();
        let reached = threads.into_iter().map(|thread| thread.join().unwrap());
        reached.filter(|reached| *reached).count()
    });
    assert!((10..POINTS).contains(&reached), "{reached}");
}
