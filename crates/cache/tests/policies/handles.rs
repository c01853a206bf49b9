//! Handles: one request's token, without a look-up by key.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use hallpass_cache::CachedTokenSource;
use hallpass_core::{
    AccessToken, Clock as _, ErrorKind, SystemClock, TokenError, TokenRequest, TokenSource,
    TokenSourceExt,
};

use crate::support::{Answer, HOUR, MINUTE, Mint, down, key, name, refused, settle};

#[tokio::test(start_paused = true)]
async fn a_handle_and_keyed_calls_share_one_token() {
    let mint = Mint::hourly();
    let cache = mint.cached();
    let handles = [cache.bind(key("a")), cache.bind(key("a"))];
    for handle in &handles {
        assert_eq!(handle.access_token().await.unwrap().expose(), "t1");
    }
    assert_eq!(cache.token(&key("a")).await.unwrap().expose(), "t1");
    let default = cache.bind(TokenRequest::default());
    assert_eq!(default.access_token().await.unwrap().expose(), "t2");
    assert_eq!(name(&cache).await, "t2");
    let stats = cache.stats();
    assert_eq!((stats.misses, stats.hits, mint.calls()), (2, 3, 2));
}

#[tokio::test(start_paused = true)]
async fn a_handle_follows_invalidation_refresh_and_expiry() {
    let mint = Mint::hourly();
    let cache = mint.cached();
    let handle = cache.bind(key("a"));
    let refused = handle.access_token().await.unwrap();
    cache.invalidate(&refused);
    assert!(handle.ready_token().is_none());
    assert_eq!(handle.access_token().await.unwrap().expose(), "t2");

    // In its refresh window: the old token at once, then the new one.
    tokio::time::advance(58 * MINUTE).await;
    assert_eq!(handle.ready_token().unwrap().expose(), "t2");
    settle().await;
    assert_eq!(handle.ready_token().unwrap().expose(), "t3");

    tokio::time::advance(HOUR).await;
    assert!(handle.ready_token().is_none());
    assert_eq!(handle.access_token().await.unwrap().expose(), "t4");
    assert_eq!(mint.calls(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_handle_repeats_a_cached_failure() {
    let mint = Mint::new([down(), Answer::New(HOUR)]);
    let cache = mint.cached();
    let handle = cache.bind(key("a"));
    for _ in 0..10 {
        let error = handle.access_token().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
    assert_eq!(mint.calls(), 1);
    tokio::time::advance(MINUTE).await;
    assert_eq!(handle.access_token().await.unwrap().expose(), "t2");
}

// covers: F-83
#[tokio::test(start_paused = true)]
async fn a_key_with_a_handle_is_not_evicted() {
    let mint = Mint::hourly();
    let cache = mint.builder().max_keys(1).build();
    let handle = cache.bind(key("a"));
    handle.access_token().await.unwrap();
    for number in 0..100 {
        cache.token(&key(number)).await.unwrap();
        assert_eq!(handle.ready_token().unwrap().expose(), "t1");
    }
    assert_eq!(cache.token(&key("a")).await.unwrap().expose(), "t1");
    let stats = cache.stats();
    assert_eq!((stats.keys, stats.evictions, mint.calls()), (2, 99, 101));
}

#[tokio::test(start_paused = true)]
async fn a_handle_to_an_evicted_key_fetches_again() {
    let mint = Mint::hourly();
    let cache = mint.builder().max_keys(1).build();
    cache.token(&key("a")).await.unwrap();
    cache.token(&key("b")).await.unwrap();
    let handle = cache.bind(key("a"));
    assert!(handle.ready_token().is_none());
    assert_eq!(handle.access_token().await.unwrap().expose(), "t3");
}

// covers: F-83
#[tokio::test(start_paused = true)]
async fn the_keys_of_dropped_handles_are_bounded() {
    let mint = Mint::hourly();
    let cache = mint.builder().max_keys(10).build();
    let mut handles = Vec::new();
    for number in 0..100 {
        let handle = cache.bind(key(number));
        handle.access_token().await.unwrap();
        handles.push(handle);
    }
    let second = cache.bind(key(0));
    assert_eq!(cache.stats().keys, 100);
    drop(handles);
    // Ten, and the one that still has a handle.
    assert_eq!(cache.stats().keys, 11);
    assert!(second.ready_token().is_some());
    drop(second);
    assert_eq!(cache.stats().keys, 10);
}

// covers: F-83
#[tokio::test(start_paused = true)]
async fn handles_leave_the_room_for_other_keys() {
    let mint = Mint::hourly();
    let cache = mint.builder().max_keys(2).build();
    let handles: Vec<_> = (0..10).map(|number| cache.bind(key(number))).collect();
    for other in ["x", "y"] {
        cache.token(&key(other)).await.unwrap();
    }
    assert!(cache.ready_token(&key("x")).is_some());
    assert!(cache.ready_token(&key("y")).is_some());
    assert_eq!(cache.stats().keys, handles.len() + 2);
}

#[tokio::test(start_paused = true)]
async fn a_handle_outlives_its_cache() {
    let mint = Mint::hourly();
    let cache = mint.cached();
    let handle = cache.bind(key("a"));
    drop(cache);
    assert_eq!(handle.access_token().await.unwrap().expose(), "t1");
}

#[tokio::test(start_paused = true)]
async fn a_handle_is_a_source_for_its_own_request_only() {
    let mint = Mint::new([Answer::New(HOUR), refused()]);
    let cache = mint.cached();
    let source: Arc<dyn TokenSource> = Arc::new(cache.bind(key("a")));
    for request in [TokenRequest::default(), key("a")] {
        let token = source.access_token(&request).await.unwrap();
        assert_eq!(token.expose(), "t1");
    }
    let error = source.access_token(&key("b")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert_eq!(mint.calls(), 1);
}

/// A source that says in advance that its tokens are bound.
struct Binding;

#[async_trait]
impl TokenSource for Binding {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        Err(TokenError::unavailable("not needed"))
    }

    fn binds_tokens(&self) -> bool {
        true
    }
}

#[test]
fn a_handle_says_that_its_tokens_are_bound() {
    let handle = CachedTokenSource::new(Binding).bind(key("a"));
    assert!(handle.binds_tokens());
    let unbound = Mint::hourly().cached().bind(key("a"));
    assert!(!unbound.binds_tokens());
}

/// A source with credentials, whose tokens are for the key `a`; it counts the refused ones.
#[derive(Default)]
struct Particular(AtomicUsize);

#[async_trait]
impl TokenSource for Particular {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        Ok(AccessToken::bearer("t", SystemClock.moment(), HOUR)?)
    }

    fn invalidate(&self, _: &AccessToken) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn check_token(&self, request: &TokenRequest, _: &AccessToken) -> Result<(), TokenError> {
        let fits = *request == key("a");
        fits.then_some(())
            .ok_or_else(|| TokenError::configuration("a token for another key"))
    }

    fn credential_epoch(&self) -> u64 {
        7
    }

    async fn credential_digest(&self) -> Option<[u8; 32]> {
        Some([7; 32])
    }
}

#[tokio::test]
async fn a_cache_and_its_handles_answer_as_their_source() {
    let cache = CachedTokenSource::new(Particular::default());
    let handle = cache.bind(key("a"));
    let token = handle.access_token().await.unwrap();
    for source in [&cache as &dyn TokenSource, &handle] {
        assert_eq!(source.credential_epoch(), 7);
        assert_eq!(source.credential_digest().await, Some([7; 32]));
        assert!(source.check_token(&key("a"), &token).is_ok());
        assert!(source.check_token(&key("b"), &token).is_err());
        assert!(source.ready_token(&key("a")).is_some());
        assert!(source.ready_token(&key("b")).is_none());
    }
    // A handle's default request is its own.
    let default = TokenRequest::default();
    assert_eq!(handle.request(), &key("a"));
    assert!(handle.check_token(&default, &token).is_ok());
    assert!(cache.check_token(&default, &token).is_err());
    TokenSource::invalidate(&handle, &token);
    assert!(cache.ready_token(&key("a")).is_none());
    assert_eq!(cache.get_ref().0.load(Ordering::SeqCst), 1);
}

#[test]
fn concurrent_handles_leave_the_cache_within_its_bound() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap();
    let source = hallpass_testkit::StaticSource::new("t");
    let cache = Arc::new(CachedTokenSource::builder(source).max_keys(2).build());
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..4 {
            let cache = cache.clone();
            tasks.spawn(async move {
                for round in 0..1_000 {
                    let request = key((task + round) % 5);
                    let handle = cache.bind(request.clone());
                    handle.access_token().await.unwrap();
                    cache.token(&key(round % 7)).await.unwrap();
                    assert!(handle.ready_token().is_some());
                    assert!(cache.ready_token(&request).is_some());
                }
            });
        }
        while let Some(task) = tasks.join_next().await {
            task.unwrap();
        }
    });
    // A flight that has just landed protects its key until its task has ended.
    drop(runtime);
    cache.bind(key("last"));
    assert_eq!(cache.stats().keys, 2);
}
