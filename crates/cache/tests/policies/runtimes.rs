//! Runtimes that shut down, and more than one of them.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use hallpass_cache::CachedTokenSource;
use hallpass_core::{AccessToken, Clock as _, SystemClock, TokenError, TokenRequest, TokenSource};
use hallpass_testkit::{Gate, ManualClock};
use tokio::runtime::{Builder, Runtime};

use crate::support::{HOUR, Manual, ask, name, settle};

/// A source that waits at a gate the first time only.
struct Gated(std::sync::Mutex<Option<Gate>>);

#[async_trait]
impl TokenSource for Gated {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        let gate = self.0.lock().unwrap().take();
        let text = if gate.is_some() { "first" } else { "second" };
        if let Some(gate) = gate {
            gate.pass().await;
        }
        Ok(AccessToken::bearer(text, SystemClock.moment(), HOUR)?)
    }
}

fn gated() -> (Gate, Arc<CachedTokenSource<Gated>>) {
    let gate = Gate::new();
    let source = Gated(std::sync::Mutex::new(Some(gate.clone())));
    // No interval, so that nothing here waits for a real clock.
    let cache = CachedTokenSource::builder(source).min_interval(Duration::ZERO);
    (gate, Arc::new(cache.build()))
}

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

// covers: F-77
#[test]
fn waiters_take_over_when_the_runtime_of_a_flight_ends() {
    let (gate, cache) = gated();
    let (first, second) = (runtime(), runtime());
    let starter = cache.clone();
    let lost = first.spawn(async move { name(&*starter).await });
    first.block_on(gate.arrived(1));
    let waiters: Vec<_> = (0..100)
        .map(|_| {
            let cache = cache.clone();
            second.spawn(async move { name(&*cache).await })
        })
        .collect();
    second.block_on(async {
        while cache.stats().waiters < 101 {
            tokio::task::yield_now().await;
        }
    });
    first.shutdown_background();
    for waiter in waiters {
        assert_eq!(second.block_on(waiter).unwrap(), "second");
    }
    assert_eq!(cache.stats().fetches, 2);
    assert!(second.block_on(lost).unwrap_err().is_cancelled());
}

// covers: F-77
#[test]
fn the_next_call_starts_its_own_fetch_after_a_runtime_ended() {
    let (gate, cache) = gated();
    let first = runtime();
    let starter = cache.clone();
    first.spawn(async move { name(&*starter).await });
    first.block_on(gate.arrived(1));
    drop(first);
    assert_eq!(cache.stats().flights, 0);
    assert_eq!(runtime().block_on(name(&*cache)), "second");
}

// covers: F-78
#[test]
fn runtimes_of_both_kinds_share_a_token() {
    let (gate, cache) = gated();
    gate.open();
    let single = Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(single.block_on(name(&*cache)), "first");
    drop(single);
    assert_eq!(runtime().block_on(name(&*cache)), "first");
    // Also outside of any: a hit needs none.
    let ready = cache.ready_token(&TokenRequest::default());
    assert_eq!(ready.unwrap().expose(), "first");
}

#[test]
fn a_refresh_outside_of_a_runtime_waits_for_the_next_caller() {
    let (clock, cache) = Manual::cached();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(name(&cache));
    clock.advance(Duration::from_secs(3_500));
    for _ in 0..3 {
        assert!(cache.ready_token(&TokenRequest::default()).is_some());
    }
    assert_eq!(cache.stats().fetches, 1);
    runtime.block_on(async {
        ask(&cache).await.unwrap();
        settle().await;
    });
    assert_eq!((cache.stats().fetches, cache.stats().refreshes), (2, 1));
}

// covers: F-77
#[test]
fn a_refresh_whose_task_never_ran_is_started_again() {
    let (clock, cache) = Manual::cached();
    let first = Builder::new_current_thread().enable_all().build().unwrap();
    first.block_on(name(&cache));
    clock.advance(Duration::from_secs(3_500));
    // The task is spawned, and the runtime shuts down before it runs.
    first.block_on(name(&cache));
    drop(first);
    assert_eq!((cache.stats().fetches, cache.stats().flights), (1, 0));
    runtime().block_on(async {
        name(&cache).await;
        while cache.stats().fetches < 2 {
            tokio::task::yield_now().await;
        }
    });
}

// covers: F-77
#[test]
fn nobody_waits_forever_for_a_stopped_runtime() {
    let (gate, cache) = gated();
    let standing = Builder::new_current_thread().enable_all().build().unwrap();
    let starter = cache.clone();
    standing.spawn(async move { name(&*starter).await });
    standing.block_on(gate.arrived(1));
    // It is alive, but nobody drives it any more.
    let other = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    assert_eq!(other.block_on(name(&*cache)), "second");
    // A late result is ignored.
    gate.open();
    standing.block_on(settle());
    assert_eq!(other.block_on(name(&*cache)), "second");
    assert_eq!(cache.stats().flights, 0);
}

/// A source that waits at a gate in each fetch, and dates its tokens by a clock that the test sets.
struct GatedManual(Gate, ManualClock);

#[async_trait]
impl TokenSource for GatedManual {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        let asked = self.1.moment();
        self.0.pass().await;
        Ok(AccessToken::bearer("t", asked, HOUR)?)
    }
}

// covers: F-64, F-66
#[test]
fn a_waiter_that_wakes_after_the_expiry_gets_a_new_token() {
    let (gate, clock) = (Gate::new(), ManualClock::new());
    let cache = CachedTokenSource::builder(GatedManual(gate.clone(), clock.clone()))
        .clock(clock.clone())
        .min_interval(Duration::ZERO);
    let cache = Arc::new(cache.build());
    let driven = Builder::new_current_thread().enable_all().build().unwrap();
    let standing = Builder::new_current_thread().enable_all().build().unwrap();
    let start = |runtime: &Runtime| {
        let cache = cache.clone();
        let caller = runtime.spawn(async move { ask(&*cache).await });
        runtime.block_on(settle());
        caller
    };
    // The flight runs on the first runtime; a caller on the second waits for it.
    let first = start(&driven);
    let second = start(&standing);
    assert_eq!(cache.stats().waiters, 2);
    gate.open();
    let token = driven.block_on(first).unwrap().unwrap();
    assert!(!token.is_expired(clock.now()));
    // The second runtime is not driven until the token has expired.
    clock.advance(2 * HOUR);
    let token = standing.block_on(second).unwrap().unwrap();
    assert!(!token.is_expired(clock.now()));
    assert_eq!(cache.stats().fetches, 2);
}

// covers: F-77
#[test]
fn a_call_whose_fetches_are_all_lost_fails() {
    let runtime = runtime();
    let handle = runtime.handle().clone();
    drop(runtime);
    // Each task is dropped as it is spawned.
    let _entered = handle.enter();
    let (_, cache) = gated();
    let mut call = std::pin::pin!(ask(&*cache));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(Err(error)) = call.as_mut().poll(&mut context) else {
        panic!("the call waits for a runtime that has ended");
    };
    assert!(error.message().contains("lost 8 times"), "{error}");
}

#[test]
fn a_shutdown_outside_of_a_runtime_ends_at_once() {
    let source = hallpass_testkit::StaticSource::new("fake");
    let store = hallpass_cache::MemoryTokenStore::default();
    let cache = CachedTokenSource::builder(source).store(store, "orders");
    let cache = cache.build();
    let mut shutdown = std::pin::pin!(cache.shutdown());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(shutdown.as_mut().poll(&mut context).is_ready());
    let error = runtime().block_on(ask(&cache)).unwrap_err();
    assert_eq!(error.message(), "the token cache was shut down");
}

#[test]
fn a_token_is_refreshed_after_the_runtime_of_its_task_ended() {
    let runtime = || {
        let mut builder = Builder::new_current_thread();
        builder.enable_all().start_paused(true).build().unwrap()
    };
    let (clock, builder) = Manual::builder();
    let cache = builder.keep_warm().build();
    // Such as one for the start of a program.
    let first = runtime();
    first.block_on(async { name(&cache).await });
    drop(first);
    runtime().block_on(async {
        assert_eq!(name(&cache).await, "t1");
        clock.advance(Duration::from_secs(3_500));
        // Without a call; the keeper looks at its clock each half a minute.
        tokio::time::sleep(Duration::from_secs(31)).await;
        assert_eq!((cache.stats().fetches, cache.stats().flights), (2, 0));
    });
}
