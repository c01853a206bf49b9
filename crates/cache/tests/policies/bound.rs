//! Tokens that are bound to a certificate, which is replaced.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use hallpass_cache::{CachedTokenSource, MemoryTokenStore};
use hallpass_core::{AccessToken, Binding, TokenError, TokenRequest, TokenSource};
use tokio::time::advance;

use crate::support::{MINUTE, Mint, SECOND, ask, callers, key, name, settle};

/// A source that binds its tokens to the certificate in use when the fetch begins.
#[derive(Clone)]
struct BoundSource(Mint, Arc<Mutex<Binding>>);

impl BoundSource {
    fn new() -> Self {
        Self(Mint::hourly(), Arc::default())
    }

    fn rotate(&self) {
        std::mem::take(&mut *self.1.lock().unwrap()).end();
    }

    fn cached(&self) -> CachedTokenSource<Self> {
        CachedTokenSource::builder(self.clone())
            .clock(self.0.clock())
            .build()
    }
}

#[async_trait]
impl TokenSource for BoundSource {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        let binding = self.1.lock().unwrap().clone();
        Ok(self.0.token(request).await?.with_binding(binding))
    }
}

// covers: C-65
#[tokio::test(start_paused = true)]
async fn one_rotation_causes_one_fetch_for_each_key() {
    let bound = BoundSource::new();
    let cache = Arc::new(bound.cached());
    let keys: Vec<_> = ["", "a", "b"].map(key).into();
    for request in &keys {
        cache.token(request).await.unwrap();
    }
    advance(MINUTE).await;
    bound.rotate();
    for request in &keys {
        assert!(cache.ready_token(request).is_none());
    }
    let gate = bound.0.close();
    let waiting = callers(&cache, 100).await;
    gate.open();
    for token in waiting.join_all().await {
        assert_eq!(token.unwrap().expose(), "t4");
    }
    for request in &keys {
        cache.token(request).await.unwrap();
        assert!(cache.ready_token(request).is_some());
    }
    assert_eq!(bound.0.calls(), 6);
    assert_eq!(cache.stats().invalidations, 0, "nobody refused one");
}

// covers: C-65
#[tokio::test(start_paused = true)]
async fn a_token_of_the_old_certificate_is_fetched_again() {
    let bound = BoundSource::new();
    let cache = Arc::new(bound.cached());
    let gate = bound.0.close();
    let waiting = callers(&cache, 10).await;
    gate.arrived(1).await;
    bound.rotate();
    gate.open();
    for token in waiting.join_all().await {
        assert_eq!(token.unwrap().expose(), "t2");
    }
    assert_eq!(bound.0.calls(), 2);
    assert_eq!(
        bound.0.gaps(),
        [SECOND / 2],
        "no sooner than any two fetches"
    );
}

/// A token whose certificate is replaced at each fetch serves its waiters, and does not cause endless fetches.
// covers: C-65
#[tokio::test(start_paused = true)]
async fn a_certificate_that_keeps_changing_costs_two_fetches_a_call() {
    struct Restless(BoundSource);

    #[async_trait]
    impl TokenSource for Restless {
        async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
            let token = self.0.token(request).await;
            self.0.rotate();
            token
        }
    }

    let bound = BoundSource::new();
    let cache = CachedTokenSource::builder(Restless(bound.clone())).clock(bound.0.clock());
    let cache = cache.build();
    for call in 1..=3 {
        assert_eq!(name(&cache).await, format!("t{}", 2 * call));
        assert!(cache.ready_token(&TokenRequest::default()).is_none());
    }
    assert_eq!(bound.0.calls(), 6);
}

// covers: C-65
#[tokio::test(start_paused = true)]
async fn a_warm_key_is_fetched_again_without_a_caller() {
    let bound = BoundSource::new();
    let cache = CachedTokenSource::builder(bound.clone()).clock(bound.0.clock());
    let cache = cache.keep_warm().build();
    ask(&cache).await.unwrap();
    tokio::time::sleep(MINUTE).await;
    bound.rotate();
    // It checks twice a minute.
    tokio::time::sleep(31 * SECOND).await;
    settle().await;
    let token = cache.ready_token(&TokenRequest::default()).unwrap();
    assert_eq!((token.expose(), bound.0.calls()), ("t2", 2));
}

// covers: C-65
#[tokio::test(start_paused = true)]
async fn a_bound_token_is_never_stored() {
    let mint = Mint::hourly();
    let store = MemoryTokenStore::new(mint.clock());
    let with = |source| CachedTokenSource::builder(source).clock(mint.clock());
    let bound = BoundSource(mint.clone(), Arc::default());
    for call in 1..=2 {
        let cache = with(bound.clone()).store(store.clone(), "ns").build();
        assert_eq!(name(&cache).await, format!("t{call}"));
        settle().await;
    }
    // The control: without the binding it is shared.
    for _ in 0..2 {
        let cache = CachedTokenSource::builder(mint.clone()).clock(mint.clock());
        let cache = cache.store(store.clone(), "ns").build();
        assert_eq!(name(&cache).await, "t3");
        settle().await;
    }
}
