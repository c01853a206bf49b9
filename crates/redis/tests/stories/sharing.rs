//! Many processes, each with a cache and a connection of its own.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use hallpass_cache::{CachedTokenSource, TokenStore as _};
use hallpass_core::{AccessToken, Clock, SystemClock, Timestamp, TokenRequest, TokenSource as _};
use hallpass_testkit::{Gate, ScriptedSource};

use crate::{redis_server::RedisServer, support::*};

/// Asks all caches at once, and returns the tokens.
async fn tokens(caches: &[Arc<CachedTokenSource<ScriptedSource>>]) -> Vec<String> {
    let asking = caches.iter().map(|cache| {
        let cache = cache.clone();
        tokio::spawn(async move {
            cache
                .token(&TokenRequest::new())
                .await
                .unwrap()
                .expose()
                .to_owned()
        })
    });
    let mut tokens = Vec::new();
    for asked in asking.collect::<Vec<_>>() {
        tokens.push(asked.await.unwrap());
    }
    tokens
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_cold_processes_send_one_request() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let mut admin = Admin::new(&server).await;
    let gate = Gate::new();
    let source = gated_source(100, gate.clone());
    let caches: Vec<_> = (0..100)
        .map(|_| Arc::new(cache(&source, &store(&server))))
        .collect();
    let asking = tokio::spawn(async move { (tokens(&caches).await, caches) });
    gate.arrived(1).await;
    // As a server that takes two seconds.
    tokio::time::sleep(Duration::from_secs(2)).await;
    gate.open();
    let opened = Instant::now();
    let (tokens, _caches) = asking.await.unwrap();
    assert!(
        opened.elapsed() < Duration::from_secs(1),
        "{:?}",
        opened.elapsed()
    );
    assert!(tokens.iter().all(|token| token == "t1"));
    assert_eq!(source.calls(), 1);
    let calls = admin.calls("evalsha").await;
    assert!(calls / 100 <= 12, "{calls} store calls of 100 processes");
}

#[tokio::test]
async fn twenty_jobs_in_a_row_send_one_request() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let source = source(20);
    for _ in 0..20 {
        let cache = cache(&source, &store(&server));
        let token = cache.token(&TokenRequest::new()).await.unwrap();
        assert_eq!(token.expose(), "t1");
        cache.shutdown().await;
    }
    assert_eq!(source.calls(), 1);
}

#[tokio::test]
async fn a_job_with_a_shared_token_makes_one_store_call() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let (source, mut admin) = (source(2), Admin::new(&server).await);
    let first = cache(&source, &store(&server));
    first.token(&TokenRequest::new()).await.unwrap();
    first.shutdown().await;
    let before = admin.calls("evalsha").await;
    let second = cache(&source, &store(&server));
    second.token(&TokenRequest::new()).await.unwrap();
    second.shutdown().await;
    assert_eq!(admin.calls("evalsha").await - before, 1);
    assert_eq!(source.calls(), 1);
}

#[tokio::test]
async fn a_holder_that_crashes_is_replaced_by_one_process() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let source = source(20);
    let crashed = store(&server);
    let name = hallpass_cache::StoreKey::new("issuer client", &TokenRequest::new());
    let lease = crashed.lease(&name, Duration::from_secs(1)).await.unwrap();
    assert!(lease.into_lease().is_some());
    let caches: Vec<_> = (0..20)
        .map(|_| Arc::new(cache(&source, &store(&server))))
        .collect();
    let tokens = tokens(&caches).await;
    assert!(tokens.iter().all(|token| token == "t1"));
    assert_eq!(source.calls(), 1);
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_for_all() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let source = source(20);
    let caches: Vec<_> = (0..20)
        .map(|_| Arc::new(cache(&source, &store(&server))))
        .collect();
    assert!(tokens(&caches).await.iter().all(|token| token == "t1"));
    tokio::time::sleep(Duration::from_millis(600)).await;
    for cache in &caches {
        let old = cache.token(&TokenRequest::new()).await.unwrap();
        cache.invalidate(&old);
    }
    assert!(tokens(&caches).await.iter().all(|token| token == "t2"));
    assert_eq!(source.calls(), 2);
}

#[tokio::test]
async fn a_lost_connection_ends_no_wait() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let (store, mut admin) = (store(&server), Admin::new(&server).await);
    assert!(store.look_up(&key("one")).await.unwrap().is_none());
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move { store.changed(&key("one")).await })
    };
    tokio::time::sleep(Duration::from_millis(200)).await;
    let () = admin.run("CLIENT KILL TYPE pubsub").await;
    // Changes may have been missed meanwhile.
    tokio::time::timeout(Duration::from_secs(5), waiting)
        .await
        .unwrap()
        .unwrap();
    eventually(async || store.look_up(&key("one")).await.is_ok()).await;
}

/// The clock of a host that is five minutes ahead, or behind.
#[derive(Clone, Copy, Debug)]
struct WrongClock {
    is_ahead: bool,
}

impl Clock for WrongClock {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    fn wall(&self) -> SystemTime {
        const OFFSET: Duration = Duration::from_secs(300);
        let now = SystemClock.wall();
        if self.is_ahead {
            now + OFFSET
        } else {
            now - OFFSET
        }
    }
}

/// Runs a job on a host with this clock, and returns its token.
async fn job(
    server: &RedisServer,
    source: &ScriptedSource,
    clock: impl Clock + 'static,
) -> AccessToken {
    let cache = CachedTokenSource::builder(source.clone())
        .store(store(server), "issuer client")
        .store_timeout(Duration::from_secs(2))
        .clock(clock)
        .build();
    let token = cache.token(&TokenRequest::new()).await.unwrap();
    cache.shutdown().await;
    token
}

// covers: F-95
#[tokio::test]
async fn hosts_whose_clocks_are_five_minutes_off_share_tokens() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let mut admin = Admin::new(&server).await;
    for is_ahead in [true, false] {
        let wrong = WrongClock { is_ahead };
        let new = |clock: &dyn Clock| {
            let token = AccessToken::bearer("t1", clock.moment(), HOUR).unwrap();
            ScriptedSource::new([Ok(token)])
        };
        let left = |token: &AccessToken| token.deadline().saturating_since(SystemClock.now());
        let source = new(&wrong);
        job(&server, &source, wrong).await;
        let shared = job(&server, &source, SystemClock).await;
        assert_eq!((shared.expose(), source.calls()), ("t1", 1), "{wrong:?}");
        // Never past its end by the clock of Redis.
        assert!(left(&shared) <= HOUR, "{wrong:?}: {:?}", left(&shared));
        let () = admin.run("FLUSHALL").await;
        let source = new(&SystemClock);
        job(&server, &source, SystemClock).await;
        let shared = job(&server, &source, wrong).await;
        assert_eq!((shared.expose(), source.calls()), ("t1", 1), "{wrong:?}");
        assert!(left(&shared) <= HOUR, "{wrong:?}: {:?}", left(&shared));
        let () = admin.run("FLUSHALL").await;
    }
}
