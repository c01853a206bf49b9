//! The memory of a cache: a program may have one for each tenant.

#![allow(clippy::unwrap_used)]

use allocation_counter::measure;
use hallpass_cache::CachedTokenSource;
use hallpass_core::{TokenRequest, TokenSource as _};
use hallpass_testkit::StaticSource;

#[test]
fn a_cache_without_a_token_takes_3_kib() {
    let source = StaticSource::new("t");
    let mut caches = Vec::with_capacity(1_000);
    let before = measure(|| {
        for _ in 0..1_000 {
            caches.push(CachedTokenSource::new(source.clone()));
        }
    });
    let each = before.bytes_current / 1_000;
    assert!((1_024..3_072).contains(&each), "{each} bytes");
    let after = measure(|| drop(caches));
    assert!(after.bytes_current <= -before.bytes_current, "{after:?}");
}

#[test]
fn the_map_of_keys_is_created_for_the_first_key() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.unwrap();
    let tokens = CachedTokenSource::new(StaticSource::new("t"));
    let other = TokenRequest::new().with_audience("https://a.example");
    let requests = [TokenRequest::default(), other.unwrap()];
    let bytes = requests.map(|request| {
        let call = || drop(runtime.block_on(tokens.token(&request)).unwrap());
        measure(call).bytes_current
    });
    assert!(bytes[0] < 2_048 && bytes[1] > 2_048, "{bytes:?}");
    assert_eq!(tokens.stats().keys, 1);
}
