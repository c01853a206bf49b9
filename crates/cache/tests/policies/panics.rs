//! Panics in code outside of the cache: each is one failure, and none reaches a caller.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use hallpass_cache::{CacheBuilder, CachedTokenSource};
use hallpass_core::{AccessToken, ErrorKind, TokenError, TokenRequest, TokenSource};
use hallpass_testkit::leak::Capture;
use tokio::time::advance;
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    layer::{Context, Layer, SubscriberExt as _},
    util::SubscriberInitExt as _,
};

use crate::support::{Answer, HOUR, MINUTE, Mint, SECOND, ask, name, settle};

/// A source that panics where the test says so.
#[derive(Clone, Copy, Default)]
struct Where {
    drop: bool,
    epoch: bool,
    invalidate: bool,
}

struct Panics(Mint, Where);

/// A value that panics when it is dropped.
struct PanicOnDrop;

impl Drop for PanicOnDrop {
    fn drop(&mut self) {
        panic!("CANARY of the source");
    }
}

#[async_trait]
impl TokenSource for Panics {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        let _dropped = self.1.drop.then(|| PanicOnDrop);
        self.0.token(request).await
    }

    fn invalidate(&self, _: &AccessToken) {
        assert!(!self.1.invalidate, "CANARY of the source");
    }

    fn credential_epoch(&self) -> u64 {
        assert!(!self.1.epoch, "CANARY of the source");
        7
    }
}

fn panics(mint: &Mint, here: Where) -> CacheBuilder<Panics> {
    CachedTokenSource::builder(Panics(mint.clone(), here)).clock(mint.clock())
}

// covers: F-74
#[tokio::test(start_paused = true)]
async fn a_panic_while_the_fetch_is_dropped_is_one_failure() {
    let mint = Mint::new([Answer::Hang]);
    let here = Where {
        drop: true,
        ..Where::default()
    };
    let cache = panics(&mint, here).fetch_timeout(5 * SECOND).build();
    for _ in 0..3 {
        let error = ask(&cache).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.is_transient());
        assert_eq!(
            error.to_string(),
            "the token source did not answer within 5s"
        );
    }
    assert_eq!((mint.calls(), cache.stats().cached_failures), (1, 2));
}

// covers: F-74
#[tokio::test(start_paused = true)]
async fn a_source_whose_epoch_panics_still_serves_tokens() {
    let capture = Capture::start();
    let mint = Mint::hourly();
    let here = Where {
        epoch: true,
        ..Where::default()
    };
    let cache = panics(&mint, here).build();
    assert_eq!(name(&cache).await, "t1");
    advance(58 * MINUTE).await;
    assert_eq!(name(&cache).await, "t1");
    settle().await;
    assert_eq!((name(&cache).await, mint.calls()), ("t2".to_owned(), 2));
    assert_eq!(cache.credential_epoch(), 0);
    let text = capture.text();
    let told = "token source panicked cache=\"tokens\" method=\"credential_epoch\"";
    assert_eq!(text.matches(told).count(), 1, "{text}");
    assert!(!text.contains("CANARY"), "{text}");
}

// covers: F-74
#[tokio::test(start_paused = true)]
async fn a_panic_at_a_refusal_does_not_keep_the_refused_token() {
    let mint = Mint::hourly();
    let here = Where {
        invalidate: true,
        ..Where::default()
    };
    let cache = panics(&mint, here).build();
    let token = ask(&cache).await.unwrap();
    cache.invalidate(&token);
    assert_eq!(cache.stats().invalidations, 1);
    assert_eq!(name(&cache).await, "t2");
}

/// A subscriber that panics at one event.
struct Brittle(AtomicBool);

impl<S: Subscriber> Layer<S> for Brittle {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let fetched = event.metadata().fields().field("lifetime_seconds");
        let panics = fetched.is_some() && self.0.swap(false, Ordering::Relaxed);
        assert!(!panics, "CANARY of the subscriber");
    }
}

// covers: F-74
#[tokio::test(start_paused = true)]
async fn a_panic_anywhere_in_a_flight_is_one_failure() {
    let _guard = tracing_subscriber::registry()
        .with(Brittle(AtomicBool::new(true)))
        .set_default();
    let mint = Mint::new([Answer::New(HOUR)]);
    let cache = Arc::new(mint.cached());
    for _ in 0..3 {
        let error = ask(&*cache).await.unwrap_err();
        assert!(error.is_transient());
        assert_eq!(error.to_string(), "a panic ended the token fetch");
    }
    assert_eq!(mint.calls(), 1);
    advance(SECOND).await;
    assert_eq!(name(&*cache).await, "t2");
}
