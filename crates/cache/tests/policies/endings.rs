//! Fetches that end at each poll of a source and a store: the caller gives up, the runtime or the process ends, or the
//! poll panics. The next caller gets a token, in time, and the number of calls of the source is exact.

mod world;

use std::time::Duration;

use hallpass_core::TokenSource as _;
use hallpass_testkit::Breakpoint;
use tokio::time::{Instant, sleep};

use self::world::{Before, Cache, World, ask, settle};
use crate::support::{MINUTE, SECOND, key};

/// The maximum delay of a process after another one ended, which docs/cache.md promises for a store that notifies.
const MAX_DELAY: Duration = Duration::from_secs(7);
/// The maximum delay without a store: the interval between two fetches.
const MAX_LOCAL_DELAY: Duration = Duration::from_millis(510);

/// Runs a scenario with each state before it and an end at each point.
fn each(before: impl IntoIterator<Item = Before>, run: impl Fn(&World, &Breakpoint)) {
    for before in before {
        let points = Breakpoint::each(|breakpoint| run(&World::new(before), breakpoint));
        assert!(points >= 3, "{before:?} has {points} points");
    }
}

/// Calls the cache until its breakpoint: the call itself, and the tasks that it left behind.
async fn call(cache: &Cache, breakpoint: &Breakpoint) {
    let call = async {
        let _ = ask(cache).await;
        settle(cache).await;
    };
    breakpoint.run(call).await;
}

/// Returns how long a call waits for its token; then a refresh runs, if one is due and its interval is over.
async fn ask_and_settle(world: &World, cache: &Cache) -> Duration {
    let start = Instant::now();
    let mut token = ask(cache).await.unwrap();
    if world.is_refused(&token) {
        // The refusal ended with its process: an API refuses the token again.
        assert_eq!(cache.stats().invalidations, 0);
        cache.invalidate(&token);
        token = ask(cache).await.unwrap();
    }
    let took = start.elapsed();
    for _ in 0..2 {
        assert!(!world.is_refused(&token));
        settle(cache).await;
        sleep(SECOND).await;
        token = ask(cache).await.unwrap();
    }
    let stats = cache.stats();
    assert_eq!((stats.flights, stats.waiters), (0, 0));
    took
}

// covers: F-72, F-73
#[test]
fn a_fetch_continues_without_its_caller_at_any_point() {
    each(Before::ALL, |world, breakpoint| {
        let (runtime, cache) = (world.runtime(), world.cache());
        runtime.block_on(async {
            world.prepare(&cache, breakpoint).await;
            let others = World::callers(&cache, 3);
            call(&cache, breakpoint).await;
            breakpoint.resume();
            for other in others {
                assert!(!world.is_refused(&other.await.unwrap().unwrap()));
            }
            ask_and_settle(world, &cache).await;
        });
        assert_eq!(world.calls(), world.expected_calls(), "{:?}", world.before);
    });
}

// covers: F-77
#[test]
fn another_runtime_takes_over_at_any_point() {
    each(Before::ALL, |world, breakpoint| {
        let (runtime, cache) = (world.runtime(), world.cache());
        runtime.block_on(async {
            world.prepare(&cache, breakpoint).await;
            drop(World::callers(&cache, 2));
            call(&cache, breakpoint).await;
        });
        world.leave(runtime);
        breakpoint.resume();
        let (begun, known) = (world.calls(), world.has_result(Some(&cache)));
        let took = world.runtime().block_on(ask_and_settle(world, &cache));
        let before = world.before;
        assert_eq!(world.calls(), begun + usize::from(!known), "{before:?}");
        let limit = if before.is_shared() {
            MAX_DELAY
        } else {
            MAX_LOCAL_DELAY
        };
        assert!(took <= limit, "{before:?}: {took:?}");
    });
}

// covers: F-89
#[test]
fn another_process_takes_over_at_any_point() {
    let shared = Before::ALL.into_iter().filter(|before| before.is_shared());
    each(shared, |world, breakpoint| {
        let (runtime, cache) = (world.runtime(), world.cache());
        runtime.block_on(async {
            world.prepare(&cache, breakpoint).await;
            call(&cache, breakpoint).await;
        });
        world.leave(runtime);
        drop(cache);
        breakpoint.resume();
        let (begun, known) = (world.calls(), world.has_result(None));
        let (runtime, cache) = (world.runtime(), world.cache());
        let took = runtime.block_on(ask_and_settle(world, &cache));
        let before = world.before;
        assert_eq!(world.calls(), begun + usize::from(!known), "{before:?}");
        assert!(took <= MAX_DELAY, "{before:?}: {took:?}");
    });
}

// covers: F-74
#[test]
fn a_panic_at_any_point_is_one_failure_at_most() {
    each(Before::ALL, |world, breakpoint| {
        let breakpoint = &breakpoint.clone().panic();
        let (runtime, cache) = (world.runtime(), world.cache());
        runtime.block_on(async {
            world.prepare(&cache, breakpoint).await;
            for caller in World::callers(&cache, 3) {
                if let Err(error) = caller.await.unwrap() {
                    assert!(error.is_transient(), "{error}");
                }
            }
            settle(&cache).await;
            breakpoint.resume();
            assert!(cache.stats().failures <= 1);
            // Longer than the first back-off.
            sleep(2 * SECOND).await;
            ask_and_settle(world, &cache).await;
            // No place is lost: another key gets its token.
            cache.token(&key("other")).await.unwrap();
        });
        let calls = world.calls() - 1;
        let expected = world.expected_calls();
        assert!((expected..=expected + 1).contains(&calls), "{calls}");
    });
}

// covers: F-79
#[test]
fn a_back_off_outlives_its_runtime_at_any_point() {
    let mut kept = 0;
    let points = Breakpoint::each(|breakpoint| {
        let world = World::new(Before::Nothing).fail(1);
        let (runtime, cache) = (world.runtime(), world.cache());
        runtime.block_on(async {
            world.prepare(&cache, breakpoint).await;
            call(&cache, breakpoint).await;
        });
        let failed = cache.stats().failures;
        world.leave(runtime);
        breakpoint.resume();
        let begun = world.calls();
        let runtime = world.runtime();
        runtime.block_on(async {
            if ask(&cache).await.is_err() {
                // The failure of the first runtime, or that of its first call here.
                assert_eq!(world.calls(), 1);
                kept += usize::from(failed == 1 && begun == 1);
            } else {
                assert_eq!((begun, world.calls()), (1, 2));
            }
            sleep(MINUTE).await;
            ask(&cache).await.unwrap();
            settle(&cache).await;
        });
        assert_eq!(world.calls(), 2);
    });
    assert!(
        points >= 3 && kept >= 1,
        "{points} points, {kept} with a token"
    );
}
