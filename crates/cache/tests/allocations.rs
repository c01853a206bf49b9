//! A hit allocates nothing.

#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use hallpass_cache::CachedTokenSource;
use hallpass_core::{AccessToken, Clock as _, SystemClock, TokenRequest, TokenSource};
use hallpass_testkit::StaticSource;

#[tokio::test]
async fn a_hit_allocates_nothing() {
    let hour = Duration::from_secs(3_600);
    let token = AccessToken::bearer("t", SystemClock.moment(), hour).unwrap();
    let source: Arc<dyn TokenSource> = Arc::new(CachedTokenSource::new(StaticSource::new(token)));
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
    assert_eq!(allocation_counter::measure(hits).count_total, 0);
    // The control: what allocates is counted.
    let copy = || drop(std::hint::black_box("t".to_owned()));
    assert_eq!(allocation_counter::measure(copy).count_total, 1);
}
