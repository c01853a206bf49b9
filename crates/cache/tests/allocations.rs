//! A hit allocates nothing.

#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hallpass_cache::CachedTokenSource;
use hallpass_core::{AccessToken, Clock as _, Event, SystemClock, TokenRequest, TokenSource};
use hallpass_testkit::StaticSource;

#[tokio::test]
async fn a_hit_allocates_nothing() {
    let hour = Duration::from_secs(3_600);
    let token = AccessToken::bearer("t", SystemClock.moment(), hour).unwrap();
    let told = Arc::new(AtomicUsize::new(0));
    let count = told.clone();
    let cache = CachedTokenSource::builder(StaticSource::new(token))
        // Traces and observers are not called for a hit.
        .observer(Arc::new(move |_: &Event<'_>| {
            count.fetch_add(1, Ordering::Relaxed);
        }));
    let source: Arc<dyn TokenSource> = Arc::new(cache.build());
    let mut requests = vec![TokenRequest::default()];
    for number in 0..10_000 {
        let request = TokenRequest::new().with_audience(&format!("https://{number}.example"));
        requests.push(request.unwrap());
    }
    for request in &requests {
        source.token(request).await.unwrap();
        source.ready_token(request).unwrap();
    }
    let hits = || {
        for request in &requests {
            let token = source.ready_token(request).unwrap();
            assert!(token.header_value().is_sensitive());
        }
    };
    let before = told.load(Ordering::Relaxed);
    assert!(before >= requests.len());
    assert_eq!(allocation_counter::measure(hits).count_total, 0);
    assert_eq!(told.load(Ordering::Relaxed), before);
    // The control: an allocation is counted.
    let copy = || drop(std::hint::black_box("t".to_owned()));
    assert_eq!(allocation_counter::measure(copy).count_total, 1);
}
