//! A store that fails: the reason is reported, and one call probes it again.

use std::sync::{Arc, Mutex};

use hallpass_cache::{MemoryTokenStore, TokenStore};
use hallpass_core::{Event, EventKind, TokenSource as _};
use hallpass_testkit::leak::Capture;
use tokio::time::{Instant, advance};

use crate::{
    distant::{Distant, MILLISECOND, NAMESPACE, process},
    support::{HOUR, Mint, SECOND, ask, key, name, settle},
};

#[tokio::test(start_paused = true)]
async fn a_store_failure_is_logged_once_per_cooldown_with_its_cause() {
    let capture = Capture::start();
    let mint = Mint::hourly();
    let store = Distant::new(&mint);
    store.set(Err("NOAUTH authentication required"), MILLISECOND);
    let told = Arc::new(Mutex::new(Vec::new()));
    let noted = told.clone();
    let cache = mint
        .builder()
        .store(store.clone(), NAMESPACE)
        .observer(Arc::new(move |event: &Event<'_>| {
            if let EventKind::StoreFault {
                operation, reason, ..
            } = event.kind
            {
                noted.lock().unwrap().push(format!("{operation}: {reason}"));
            }
        }))
        .build();
    for number in 0..10 {
        cache.token(&key(number)).await.unwrap();
    }
    let all = told.lock().unwrap().clone();
    assert_eq!(all, ["look_up_or_lease: NOAUTH authentication required"; 3]);
    let warnings = || {
        let text = capture.text();
        let lines = text.lines().filter(|line| line.contains("WARN"));
        let lines = lines.filter(|line| line.contains("token store fault"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(warnings().len(), 1, "{:?}", warnings());
    let reason = "operation=\"look_up_or_lease\" reason=\"NOAUTH authentication required\"";
    assert!(warnings()[0].contains(reason), "{:?}", warnings());
    // The next rest period, and another reason.
    store.set(Ok(()), HOUR);
    advance(10 * SECOND).await;
    for number in 10..20 {
        cache.token(&key(number)).await.unwrap();
    }
    assert_eq!(warnings().len(), 2, "{:?}", warnings());
    let latest = told.lock().unwrap().pop().unwrap();
    assert_eq!(latest, "look_up: no answer within 100ms");
}

// covers: F-88
#[tokio::test(start_paused = true)]
async fn one_call_probes_the_store_and_no_other_waits() {
    let mint = Mint::hourly();
    let store = Distant::new(&mint);
    store.set(Ok(()), HOUR);
    let cache = Arc::new(process(&mint, &store));
    for number in 0..3 {
        cache.token(&key(number)).await.unwrap();
    }
    assert_eq!(store.questions(), 3);
    advance(10 * SECOND).await;
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 3..103 {
        let cache = cache.clone();
        tasks.spawn(async move {
            cache.token(&key(number)).await.unwrap();
            start.elapsed()
        });
    }
    let took = tasks.join_all().await;
    assert_eq!(store.questions(), 4);
    let waited = took.iter().filter(|took| **took >= 100 * MILLISECOND);
    assert_eq!(waited.count(), 1);
}

// covers: F-88
#[tokio::test(start_paused = true)]
async fn a_probe_of_a_working_store_is_one_call() {
    let mint = Mint::hourly();
    let store = Distant::new(&mint);
    store.set(Err("down"), MILLISECOND);
    let cache = process(&mint, &store);
    for number in 0..3 {
        cache.token(&key(number)).await.unwrap();
    }
    store.set(Ok(()), MILLISECOND);
    advance(10 * SECOND).await;
    cache.token(&key("next")).await.unwrap();
    assert_eq!(store.asked("look_up"), 1);
}

// covers: F-88
#[tokio::test(start_paused = true)]
async fn a_slow_connection_outlasts_the_caller_that_started_it() {
    let mint = Mint::hourly();
    let store = Distant::new(&mint);
    store.set(Ok(()), HOUR);
    let cache = process(&mint, &store);
    for number in 0..3 {
        cache.token(&key(number)).await.unwrap();
    }
    // From now on the first call takes half a second, and the others are fast.
    store.set(Ok(()), MILLISECOND);
    store.next_takes(500 * MILLISECOND);
    advance(10 * SECOND).await;
    let start = Instant::now();
    name(&cache).await;
    assert_eq!(start.elapsed(), 100 * MILLISECOND);
    tokio::time::sleep(SECOND).await;
    cache.token(&key("shared")).await.unwrap();
    cache.shutdown().await;
    assert_eq!(store.asked("put"), 1);
}

// covers: F-88
#[tokio::test(start_paused = true)]
async fn a_store_that_is_a_little_slow_delays_one_call_a_period() {
    for latency in [110 * MILLISECOND, SECOND, 3 * SECOND] {
        let mint = Mint::hourly();
        let store = Distant::new(&mint);
        name(&process(&mint, &store)).await;
        store.set(Ok(()), latency);
        let cache = process(&mint, &store);
        let mut delays = Vec::new();
        // The first four answers may be slow: one while it connects, and three faults.
        for number in 0..61 {
            let start = Instant::now();
            cache.token(&key(number)).await.unwrap();
            delays.push(start.elapsed());
            advance(SECOND).await;
        }
        let later = delays.iter().skip(4).filter(|delay| !delay.is_zero());
        let later: Vec<_> = later.copied().collect();
        assert!((4..=6).contains(&later.len()), "{latency:?}: {delays:?}");
        assert!(later.iter().all(|delay| *delay == 100 * MILLISECOND));
    }
}

#[tokio::test(start_paused = true)]
async fn the_store_timeout_can_be_set() {
    let mint = Mint::hourly();
    let store = Distant::new(&mint);
    store.set(Ok(()), 300 * MILLISECOND);
    let patient = mint.builder().store(store.clone(), NAMESPACE);
    let patient = patient.store_timeout(SECOND).build();
    name(&patient).await;
    patient.shutdown().await;
    assert_eq!(patient.stats().store_faults, 0);
    let start = Instant::now();
    let hurried = mint.builder().store(store.clone(), NAMESPACE);
    let hurried = hurried.store_timeout(MILLISECOND);
    let hurried = hurried.store_start_timeout(2 * MILLISECOND).build();
    assert_eq!(name(&hurried).await, "t2");
    assert_eq!(start.elapsed(), 2 * MILLISECOND);
    hurried.token(&key("next")).await.unwrap();
    assert_eq!(start.elapsed(), 3 * MILLISECOND);
}

#[tokio::test(start_paused = true)]
async fn processes_that_connect_slowly_make_one_request() {
    let mint = Mint::hourly().latency(200 * MILLISECOND);
    let store = Distant::new(&mint).connecting(1_900 * MILLISECOND);
    let mut processes = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let cache = process(&mint, &store.connection());
        processes.spawn(async move {
            let token = name(&cache).await;
            cache.shutdown().await;
            (token, cache.stats().store_faults)
        });
    }
    for outcome in processes.join_all().await {
        assert_eq!(outcome, ("t1".to_owned(), 0));
    }
    assert_eq!(mint.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_never_connects_delays_the_first_call_only() {
    let mint = Mint::hourly();
    let store = Distant::new(&mint).connecting(HOUR);
    let cache = process(&mint, &store);
    let start = Instant::now();
    // Others that start meanwhile wait for the rest of the two seconds.
    let (first, second) = tokio::join!(name(&cache), async {
        tokio::time::sleep(600 * MILLISECOND).await;
        cache.token(&key("second")).await.unwrap();
        start.elapsed()
    });
    assert_eq!((first.as_str(), second), ("t1", 2 * SECOND));
    cache.token(&key("third")).await.unwrap();
    assert_eq!(start.elapsed(), 2 * SECOND + 100 * MILLISECOND);
    cache.token(&key("fourth")).await.unwrap();
    assert_eq!(start.elapsed(), 2 * SECOND + 100 * MILLISECOND);
}

// covers: F-97
#[tokio::test(start_paused = true)]
async fn pointers_to_stores_are_stores() {
    let mint = Mint::hourly();
    let inner = MemoryTokenStore::new(mint.clock());
    let chosen: Arc<dyn TokenStore> = Arc::new(inner.clone());
    let boxed: Box<dyn TokenStore> = Box::new(inner.clone());
    let leaked: &'static MemoryTokenStore = Box::leak(Box::new(inner.clone()));
    let caches = [
        mint.builder().store(chosen, NAMESPACE).build(),
        mint.builder().store(boxed, NAMESPACE).build(),
        mint.builder().store(leaked, NAMESPACE).build(),
        mint.builder().store(Arc::new(inner), NAMESPACE).build(),
    ];
    for cache in &caches {
        ask(cache).await.unwrap();
        settle().await;
    }
    assert_eq!(mint.calls(), 1);
}
