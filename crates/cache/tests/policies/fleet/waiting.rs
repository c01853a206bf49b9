//! Processes that wait for another one's fetch, which holds the lease.

use std::time::Duration;

use hallpass_cache::{
    LayeredStore, MemoryTokenStore, StoreCall, StoreError, StoreLayer, TokenStore as _,
};
use hallpass_core::TokenError;
use tokio::time::Instant;

use super::a_hundred_processes_share_one_fetch;
use crate::{
    distant::{Distant, MILLISECOND, NAMESPACE, default_key, process},
    support::{Answer, HOUR, Mint, SECOND, ask, name},
};

/// Returns the maximum number of store calls by a process that waits for `latency`: one at each poll.
///
/// The pauses are 50 ms, doubled up to 2 s, each up to a quarter shorter; one more look-up happens when the first lease
/// should have expired. With notifications the second one is 800 ms, and further ones are 4 s. Each call takes a
/// millisecond.
pub(super) fn most_questions(latency: Duration, notifies: bool) -> usize {
    let (mut waited, mut pause) = (Duration::ZERO, Duration::from_millis(50));
    let mut looks = 2;
    while waited < latency {
        looks += 1;
        waited += pause * 3 / 4;
        pause = if notifies {
            (pause * 16).min(4 * SECOND)
        } else {
            (pause * 2).min(2 * SECOND)
        };
    }
    looks
}

// covers: F-89
#[tokio::test(start_paused = true)]
async fn a_hundred_processes_make_one_request_at_any_latency() {
    for (latency, notifies) in [
        (200 * MILLISECOND, false),
        (2 * SECOND, false),
        (4 * SECOND, false),
        (20 * SECOND, false),
        (50 * SECOND, false),
        (200 * MILLISECOND, true),
        (2 * SECOND, true),
        (4 * SECOND, true),
        (20 * SECOND, true),
        (50 * SECOND, true),
    ] {
        let mint = Mint::hourly().latency(latency);
        let store = Distant::new(&mint).notifying_if(notifies);
        let start = Instant::now();
        let mut processes = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let connection = store.connection();
            let cache = process(&mint, &connection);
            processes.spawn(async move {
                assert_eq!(name(&cache).await, "t1");
                let stats = cache.stats();
                assert_eq!(stats.store_faults, 0);
                (stats.fetches == 0).then(|| connection.own_questions())
            });
        }
        let waited = processes.join_all().await.into_iter().flatten();
        let waited: Vec<usize> = waited.collect();
        assert_eq!((waited.len(), mint.calls()), (99, 1), "{latency:?}");
        let most = most_questions(latency, notifies);
        assert!(waited.iter().all(|asked| *asked <= most), "{waited:?}");
        if notifies && latency <= 20 * SECOND {
            assert!(waited.iter().all(|asked| *asked <= 12), "{waited:?}");
        }
        let delay = start.elapsed().saturating_sub(latency);
        let most = if notifies {
            // The put, a pause of up to 20 ms, and a look-up.
            40 * MILLISECOND
        } else {
            // The last one polls within one pause.
            latency.min(2 * SECOND) + 60 * MILLISECOND
        };
        assert!(delay <= most, "{latency:?}: {delay:?}");
        // The holder's calls, once a second.
        let extensions = usize::try_from(latency.as_secs()).unwrap();
        assert!(store.asked("extend") <= extensions, "{latency:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_process_wakes_the_next_if_the_store_notifies() {
    let mint = Mint::hourly().latency(5 * SECOND);
    let error = TokenError::unavailable("down");
    mint.then([Answer::Fail(error), Answer::New(HOUR)]);
    let store = Distant::new(&mint).notifying();
    let one = process(&mint, &store);
    let other = process(&mint, &store);
    let start = Instant::now();
    let (failed, token) = tokio::join!(ask(&one), async {
        tokio::time::sleep(SECOND).await;
        name(&other).await
    });
    failed.unwrap_err();
    assert_eq!(token, "t2");
    let delay = start.elapsed().saturating_sub(10 * SECOND);
    assert!(delay <= 40 * MILLISECOND, "{delay:?}");
}

/// Delays the answers to look-ups, which the store gives at once.
#[derive(Clone, Debug)]
struct SlowAnswers(Duration);

impl StoreLayer for SlowAnswers {
    async fn around<T: Send>(
        &self,
        _: StoreCall,
        result: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let answer = result.await;
        tokio::time::sleep(self.0).await;
        answer
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_is_noticed_while_an_answer_is_on_its_way() {
    // The second poll is sent after 140 ms and answered after 240 ms, the third one without a notification comes after
    // 840 ms at the earliest.
    let mint = Mint::hourly().latency(200 * MILLISECOND);
    let near = MemoryTokenStore::new(mint.clock());
    let far = LayeredStore::new(near.clone(), SlowAnswers(100 * MILLISECOND));
    let cache = || mint.builder().store_timeout(SECOND);
    let holder = cache().store(near, NAMESPACE).build();
    let waiting = cache().store(far, NAMESPACE).build();
    let start = Instant::now();
    let (fetched, found) = tokio::join!(name(&holder), async {
        tokio::time::sleep(MILLISECOND).await;
        name(&waiting).await
    });
    assert_eq!((&*fetched, &*found, mint.calls()), ("t1", "t1", 1));
    assert_eq!(waiting.stats().store_hits, 1);
    assert!(
        start.elapsed() <= 375 * MILLISECOND,
        "{:?}",
        start.elapsed()
    );
}

// covers: F-90
#[tokio::test(start_paused = true)]
async fn exactly_one_process_replaces_a_crashed_one() {
    let lease = 3 * SECOND;
    for (notifies, lost_after, pause) in [
        (false, Duration::ZERO, 2 * SECOND),
        (true, Duration::ZERO, 4 * SECOND),
        // It extends its lease until it crashes.
        (false, 5 * SECOND, 2 * SECOND),
        (true, 5 * SECOND, 4 * SECOND),
    ] {
        let mint = Mint::hourly().latency(4 * SECOND);
        let store = Distant::new(&mint).notifying_if(notifies);
        let key = default_key();
        let crashed = store.inner.lease(&key, lease + lost_after);
        crashed.await.unwrap().into_lease().unwrap();
        let start = Instant::now();
        a_hundred_processes_share_one_fetch(&mint, &store).await;
        let took = start.elapsed();
        // A poll follows within a pause, then comes the fetch; without notifications another pause.
        let another_pause = if notifies { 40 * MILLISECOND } else { pause };
        let most = lost_after + lease + pause + 4 * SECOND + another_pause + 100 * MILLISECOND;
        assert!(took <= most, "{took:?} of {most:?}");
    }
}

// covers: F-90
#[tokio::test(start_paused = true)]
async fn waiting_processes_give_up_one_by_one() {
    fastrand::seed(7);
    let mint = Mint::hourly();
    let store = Distant::new(&mint);
    // Its holder hangs, and the store considers it alive.
    store
        .inner
        .lease(&default_key(), HOUR)
        .await
        .unwrap()
        .into_lease()
        .unwrap();
    let start = Instant::now();
    let mut processes = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let cache = mint.builder().store(store.clone(), NAMESPACE);
        let cache = cache.fetch_timeout(10 * SECOND).build();
        processes.spawn(async move { name(&cache).await });
    }
    processes.join_all().await;
    let took = start.elapsed();
    assert!((10 * SECOND..13 * SECOND).contains(&took), "{took:?}");
    // Each process picks a time within ten seconds, and a put takes a millisecond.
    assert!(mint.calls() <= 2, "{}", mint.calls());
}

#[tokio::test(start_paused = true)]
async fn a_failing_server_does_not_queue_up_processes() {
    let mint = Mint::new([Answer::Fail(TokenError::unavailable("down"))]).latency(10 * SECOND);
    let store = Distant::new(&mint);
    let start = Instant::now();
    let mut processes = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let cache = process(&mint, &store);
        processes.spawn(async move { ask(&cache).await.is_err() });
    }
    assert!(processes.join_all().await.iter().all(|failed| *failed));
    // Two fetches of others are waited for, each noticed within two seconds, then five seconds at most, and its own.
    let took = start.elapsed();
    assert!(took <= (2 * 12 + 5 + 10) * SECOND + SECOND, "{took:?}");
    assert!(
        took >= 20 * SECOND,
        "they do not all fetch at once: {took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_process_leaves_the_fetch_to_the_next() {
    let mint = Mint::hourly().latency(SECOND);
    let error = TokenError::unavailable("down");
    mint.then([Answer::Fail(error), Answer::New(HOUR)]);
    let store = Distant::new(&mint);
    let mut processes = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let cache = process(&mint, &store);
        processes.spawn(async move { ask(&cache).await.map(|token| token.expose().to_owned()) });
    }
    let outcomes = processes.join_all().await;
    let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    assert_eq!((failed, mint.calls()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn one_slow_answer_does_not_end_a_wait() {
    let mint = Mint::hourly().latency(2 * SECOND);
    let store = Distant::new(&mint).notifying();
    let (holder, waiting) = (process(&mint, &store), process(&mint, &store));
    let (first, second, ()) = tokio::join!(
        name(&holder),
        async {
            tokio::time::sleep(10 * MILLISECOND).await;
            name(&waiting).await
        },
        async {
            tokio::time::sleep(20 * MILLISECOND).await;
            store.next_takes(SECOND);
        }
    );
    assert_eq!((first.as_str(), second.as_str()), ("t1", "t1"));
    assert_eq!((mint.calls(), waiting.stats().store_faults), (1, 1));
}
