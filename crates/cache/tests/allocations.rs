//! A hit allocates nothing.

#![allow(clippy::unwrap_used)]

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use hallpass_cache::{CachedTokenSource, TokenHandle};
use hallpass_core::{
    AccessToken, Clock as _, Event, SystemClock, TokenRequest, TokenSource, TokenSourceExt,
};
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

/// Returns the number of allocations of a call that does not wait.
fn allocations<T>(call: impl Future<Output = T>) -> u64 {
    let mut context = Context::from_waker(Waker::noop());
    let mut ready = false;
    let call = pin!(call);
    let counted = allocation_counter::measure(|| {
        ready = matches!(call.poll(&mut context), Poll::Ready(_));
    });
    assert!(ready, "the call waits");
    counted.count_total
}

async fn counts_are_exact(source: &(impl TokenSource + ?Sized)) {
    let request = TokenRequest::default();
    source.access_token(&request).await.unwrap();
    assert_eq!(allocations(source.access_token(&request)), 0);
    assert_eq!(allocations(async { source.token(&request).await }), 1);
}

async fn cached_handle() -> TokenHandle<StaticSource> {
    let cache = CachedTokenSource::new(StaticSource::new("t"));
    let request = TokenRequest::new().with_audience("https://a.example");
    let handle = cache.bind(request.unwrap());
    handle.access_token().await.unwrap();
    handle
}

#[tokio::test]
async fn a_pointer_adds_no_allocation_to_a_call() {
    let cache = Arc::new(CachedTokenSource::new(StaticSource::new("t")));
    counts_are_exact(&*cache).await;
    counts_are_exact(&cache).await;
    let source: Arc<dyn TokenSource> = cache;
    counts_are_exact(&*source).await;
    counts_are_exact(&source).await;
    let handle = cached_handle().await;
    assert_eq!(allocations(handle.access_token()), 0);
    assert_eq!(allocations(async { handle.ready_token() }), 0);
    let nested: Arc<dyn TokenSource> = Arc::new(Box::new(source) as Box<dyn TokenSource>);
    counts_are_exact(&nested).await;
}
