//! The cache's traces: the documented events with the documented fields, and never a token.

use hallpass_core::{TokenRequest, TokenSource};
use hallpass_testkit::leak::{self, Capture};
use tokio::time::advance;
use tracing::Instrument as _;

use crate::{
    distant::{Distant, NAMESPACE},
    support::{Answer, HOUR, MINUTE, Mint, SECOND, ask, down, key, name, settle},
};

/// Runs the life of a token: fetched, refresh failed, refused, and keys evicted.
async fn life(mint: &Mint) -> hallpass_cache::CachedTokenSource<Mint> {
    let cache = mint.builder().name("orders").max_keys(1).build();
    let caller = tracing::info_span!("caller", job = 7);
    let token = ask(&cache).instrument(caller).await.unwrap();
    name(&cache).await;
    mint.then([down()]);
    advance(58 * MINUTE).await;
    name(&cache).await;
    settle().await;
    mint.then([Answer::New(HOUR)]);
    cache.invalidate(&token);
    advance(MINUTE).await;
    name(&cache).await;
    advance(58 * MINUTE).await;
    name(&cache).await;
    settle().await;
    for scope in ["a", "b"] {
        cache.token(&key(scope)).await.unwrap();
    }
    cache
}

// covers: F-99, F-101, I-14
#[tokio::test(start_paused = true)]
async fn each_step_is_traced_with_its_fields() {
    let capture = Capture::start();
    let mint = Mint::hourly();
    let cache = life(&mint).await;
    let text = capture.text();
    for told in [
        "token fetch started cache=\"orders\"",
        "token fetched cache=\"orders\" seconds=0.0 lifetime_seconds=3600",
        "token refresh started cache=\"orders\" remaining_seconds=120.0",
        "token fetch failed cache=\"orders\" seconds=0.0 kind=Unavailable transient=true error=the server is down",
        "backing off cache=\"orders\" retry_in_seconds=",
        "serving the cached token cache=\"orders\" remaining_seconds=120.0",
        "token dropped: a resource server refused it cache=\"orders\"",
        "fetch completed cache=\"orders\" waiters=1",
        "fetch completed cache=\"orders\" waiters=0 replaced_age_seconds=3480.0",
        "keys evicted cache=\"orders\" keys=1",
        // A child of its caller's span.
        "caller{job=7}:token_fetch{cache=\"orders\" refresh=false}",
        "token_fetch{cache=\"orders\" refresh=true}",
    ] {
        assert!(text.contains(told), "not traced: {told}\n{text}");
    }
    // A hit emits nothing.
    let before = capture.text().len();
    for _ in 0..100 {
        name(&cache).await;
    }
    assert_eq!(capture.text().len(), before);
    tracing::info!("control");
    assert!(capture.text().len() > before);
}

// covers: F-99, F-101
#[tokio::test(start_paused = true)]
async fn no_token_is_traced_or_shown() {
    const CANARY: &str = "CANARY-token-0123456789";

    struct Canary(Mint);

    #[async_trait::async_trait]
    impl TokenSource for Canary {
        async fn token(
            &self,
            request: &TokenRequest,
        ) -> Result<hallpass_core::AccessToken, hallpass_core::TokenError> {
            let token = self.0.token(request).await?;
            let hour = token.lifetime();
            Ok(hallpass_core::AccessToken::bearer(
                CANARY,
                token.requested_at(),
                hour,
            )?)
        }
    }

    let capture = Capture::start();
    let mint = Mint::hourly();
    let store = hallpass_cache::MemoryTokenStore::new(mint.clock());
    let builder = hallpass_cache::CachedTokenSource::builder(Canary(mint.clone()))
        .clock(mint.clock())
        .store(store.clone(), CANARY);
    let mut shown = format!("{builder:?}");
    let cache = builder.build();
    let token = ask(&cache).await.unwrap();
    advance(SECOND).await;
    cache.invalidate(&token);
    ask(&cache).await.unwrap();
    settle().await;
    shown += &format!("{cache:?} {cache:#?} {store:?} {:?}", cache.stats());
    for text in [shown, capture.text()] {
        leak::assert_clean(&text, CANARY);
    }
    // The positive control.
    assert!(leak::find(token.header_value().to_str().unwrap(), CANARY).is_some());
    assert!(capture.text().contains("token dropped"));
}

#[cfg(feature = "metrics")]
#[tokio::test(start_paused = true)]
async fn metrics_of_caches_with_one_name_add_up() {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let mint = Mint::hourly();
    let cache = || mint.builder().name("orders").build();
    let read = || {
        let mut read = std::collections::BTreeMap::new();
        for (key, _, _, value) in snapshotter.snapshot().into_vec() {
            let value = match value {
                DebugValue::Counter(count) => count.to_string(),
                DebugValue::Gauge(value) => value.to_string(),
                DebugValue::Histogram(_) => continue,
            };
            read.insert(key.key().name().to_owned(), value);
        }
        ["hallpass_misses_total", "hallpass_keys"].map(|name| read[name].clone())
    };
    let (one, other) = (cache(), cache());
    for scope in ["a", "b"] {
        one.token(&key(scope)).await.unwrap();
    }
    other.token(&key("c")).await.unwrap();
    one.stats();
    other.stats();
    assert_eq!(read(), ["3", "3"]);
    drop(one);
    settle().await;
    // Built again under its name. Each snapshot starts at zero: one more call, two keys evicted and one new.
    let again = cache();
    again.token(&key("d")).await.unwrap();
    again.stats();
    settle().await;
    assert_eq!(read(), ["1", "-1"]);
}

#[cfg(feature = "metrics")]
#[tokio::test(start_paused = true)]
async fn faults_of_a_store_are_counted_by_operation() {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let mint = Mint::hourly();
    let store = Distant::immediate(&mint);
    store.refuse_writes();
    let cache = mint.builder().name("orders").store(store, NAMESPACE);
    let cache = cache.build();
    name(&cache).await;
    settle().await;
    let mut faults = std::collections::BTreeMap::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let key = key.key();
        if let ("hallpass_store_faults_total", DebugValue::Counter(count)) = (key.name(), value) {
            let labels = key.labels().map(|label| label.value().to_owned());
            faults.insert(labels.collect::<Vec<_>>().join(" "), count);
        }
    }
    let expected = ("orders look_up_or_lease".to_owned(), 1);
    assert_eq!(faults, [expected].into());
    assert_eq!(faults.values().sum::<u64>(), cache.stats().store_faults);
}

#[cfg(feature = "metrics")]
#[tokio::test(start_paused = true)]
async fn metrics_match_the_documentation() {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let mint = Mint::hourly();
    let cache = life(&mint).await;
    let stats = cache.stats();
    let mut lines = Vec::new();
    for (key, _, description, value) in snapshotter.snapshot().into_vec() {
        let key = key.key();
        assert!(description.is_some(), "{key}");
        let mut labels: Vec<_> = key
            .labels()
            .map(|label| format!("{}={}", label.key(), label.value()))
            .collect();
        labels.sort_unstable();
        let value = match value {
            DebugValue::Counter(count) => count.to_string(),
            DebugValue::Gauge(value) => value.to_string(),
            DebugValue::Histogram(values) => format!("{values:?}"),
        };
        lines.push(format!("{}{{{}}} {value}", key.name(), labels.join(",")));
    }
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "hallpass_cached_failures_total{cache=orders} 0",
            "hallpass_cached_token_served_total{cache=orders} 1",
            "hallpass_evictions_total{cache=orders} 1",
            "hallpass_fetch_duration_seconds{cache=orders,outcome=Unavailable} [0.0]",
            "hallpass_fetch_duration_seconds{cache=orders,outcome=ok} [0.0, 0.0, 0.0, 0.0, 0.0]",
            "hallpass_fetches_total{cache=orders,outcome=Configuration} 0",
            "hallpass_fetches_total{cache=orders,outcome=CredentialsRefused} 0",
            "hallpass_fetches_total{cache=orders,outcome=RequestRefused} 0",
            "hallpass_fetches_total{cache=orders,outcome=Unavailable} 1",
            "hallpass_fetches_total{cache=orders,outcome=UnusableResponse} 0",
            "hallpass_fetches_total{cache=orders,outcome=ok} 5",
            &format!("hallpass_hits_total{{cache=orders}} {}", stats.hits),
            "hallpass_invalidations_total{cache=orders} 1",
            "hallpass_keys{cache=orders} 1",
            &format!("hallpass_misses_total{{cache=orders}} {}", stats.misses),
            "hallpass_token_age_seconds{cache=orders} [3480.0]",
            "hallpass_token_lifetime_seconds{cache=orders} 3600",
            "hallpass_waiters{cache=orders} [1.0, 0.0, 1.0, 0.0, 1.0, 1.0]",
        ]
    );
    assert_eq!((stats.hits, stats.misses), (3, 4));
}

#[cfg(feature = "metrics")]
#[tokio::test]
async fn the_quotas_of_a_token_are_metrics_and_traces() {
    use hallpass_core::{AccessToken, Clock as _, Quota, SystemClock};
    use metrics_util::debugging::DebuggingRecorder;

    let (capture, recorder) = (Capture::start(), DebuggingRecorder::new());
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let token = AccessToken::bearer("t", SystemClock.moment(), HOUR).unwrap();
    let token = token.with_quotas(vec![Quota::new("day", 7).with_limit(100)]);
    let source = hallpass_testkit::ScriptedSource::new([Ok(token)]);
    let cache = hallpass_cache::CachedTokenSource::builder(source).build();
    ask(&cache).await.unwrap();
    assert!(capture.text().contains("token quota reported"));
    let series = snapshotter.snapshot().into_vec().into_iter();
    let quotas = series.filter(|(key, ..)| key.key().name().starts_with("hallpass_quota"));
    let quotas = quotas.map(|(key, .., value)| format!("{} {value:?}", key.key().name()));
    let mut quotas: Vec<_> = quotas.collect();
    quotas.sort_unstable();
    let expected = [
        "hallpass_quota_limit Gauge(100.0)",
        "hallpass_quota_remaining Gauge(7.0)",
    ];
    assert_eq!(quotas, expected);
}

#[cfg(feature = "metrics")]
#[tokio::test(start_paused = true)]
async fn a_cache_chooses_the_label_of_its_metrics_or_none() {
    use metrics_util::debugging::DebuggingRecorder;

    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let mint = Mint::hourly();
    let tenant = |name| mint.builder().name(name);
    let labels = || {
        let series = snapshotter.snapshot().into_vec().into_iter();
        let cache = |key: metrics::Key| {
            let mut labels = key.labels();
            let label = labels.find(|label| label.key() == "cache")?;
            Some(label.value().to_owned())
        };
        let caches = series.filter_map(|(key, ..)| cache(key.into_parts().1));
        caches.collect::<std::collections::BTreeSet<_>>()
    };
    let cache = tenant("blue").without_metrics().build();
    cache.token(&key("a")).await.unwrap();
    cache.stats();
    drop(cache);
    assert!(labels().is_empty());
    for name in ["blue", "green"] {
        let cache = tenant(name).metrics_label("tenants").build();
        cache.token(&key("a")).await.unwrap();
        cache.stats();
    }
    assert_eq!(labels().into_iter().collect::<Vec<_>>(), ["tenants"]);
}

#[cfg(feature = "metrics")]
#[tokio::test(start_paused = true)]
async fn a_dropped_cache_publishes_its_last_hits() {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let mint = Mint::hourly();
    let cache = mint.builder().build();
    for _ in 0..4 {
        cache.token(&key("a")).await.unwrap();
    }
    settle().await;
    drop(cache);
    let series = snapshotter.snapshot().into_vec().into_iter();
    let mut hits = series.filter(|(key, ..)| key.key().name() == "hallpass_hits_total");
    let (.., hits) = hits.next().unwrap();
    assert_eq!(hits, DebugValue::Counter(3));
}
