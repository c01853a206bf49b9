//! Tokens that are bound to a key (RFC 9449): this process has the key, others do not.

use std::sync::Arc;

use async_trait::async_trait;
use hallpass_cache::{CachedTokenSource, MemoryTokenStore};
use hallpass_core::{
    AccessToken, Clock as _, Proof, ProofRequest, Prover, TokenError, TokenRequest, TokenSource,
    TokenType,
};
use hallpass_testkit::{ManualClock, ScriptedSource};

use crate::{
    distant::{Distant, NAMESPACE},
    support::{HOUR, Mint, settle},
};

#[derive(Debug)]
struct Key;

/// A key that several processes have, by its thumbprint.
#[derive(Clone, Debug)]
pub(crate) struct SharedKey(pub(crate) &'static str);

#[async_trait]
impl Prover for SharedKey {
    async fn prove(&self, _: &ProofRequest<'_>) -> Result<Proof, TokenError> {
        Err(TokenError::configuration("nothing is proven here"))
    }

    fn shared_key(&self) -> Option<&str> {
        Some(self.0)
    }
}

#[async_trait]
impl Prover for Key {
    async fn prove(&self, _: &ProofRequest<'_>) -> Result<Proof, TokenError> {
        Err(TokenError::configuration("nothing is proven here"))
    }
}

/// Returns the number of source calls by two processes with one store.
async fn fetches(token: AccessToken, clock: &ManualClock) -> usize {
    let source = ScriptedSource::new([Ok(token.clone())]);
    let store = MemoryTokenStore::new(clock.clone());
    for _ in 0..2 {
        let process = CachedTokenSource::builder(source.clone())
            .clock(clock.clone())
            .store(store.clone(), "orders")
            .build();
        let fetched = process.token(&TokenRequest::default()).await.unwrap();
        assert!(fetched.is_same(&token));
        assert_eq!(fetched.prover().is_some(), token.prover().is_some());
        // A hit includes the key too.
        let ready = process.ready_token(&TokenRequest::default()).unwrap();
        assert_eq!(ready.prover().is_some(), token.prover().is_some());
    }
    source.calls()
}

/// A source that says in advance that its tokens are bound.
struct Binding(ScriptedSource);

#[async_trait]
impl TokenSource for Binding {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        self.0.token(request).await
    }

    fn binds_tokens(&self) -> bool {
        true
    }
}

#[tokio::test(start_paused = true)]
async fn no_process_waits_for_a_token_that_another_one_cannot_use() {
    let mint = Mint::hourly();
    let token = AccessToken::new(TokenType::Dpop, "t", mint.clock().moment(), HOUR).unwrap();
    let source = ScriptedSource::new([Ok(token.with_prover(Arc::new(Key)))]);
    let store = Distant::new(&mint).notifying();
    let process = || {
        CachedTokenSource::builder(Binding(source.clone()))
            .clock(mint.clock())
            .store(store.clone(), NAMESPACE)
    };
    for call in 1..=3 {
        let cache = process().build();
        // Also through another cache, which forwards it.
        let cache = CachedTokenSource::builder(cache).clock(mint.clock());
        let cache = cache.store(store.clone(), NAMESPACE).build();
        let token = cache.token(&TokenRequest::default()).await.unwrap();
        cache.invalidate(&token);
        settle().await;
        assert_eq!(source.calls(), call);
    }
    assert_eq!((store.questions(), store.listeners()), (0, 0));
}

// covers: C-40
#[tokio::test]
async fn a_token_that_is_bound_to_a_key_is_not_shared() {
    let clock = ManualClock::new();
    let token = |kind| AccessToken::new(kind, "t", clock.moment(), HOUR).unwrap();
    assert_eq!(fetches(token(TokenType::Bearer), &clock).await, 1);
    let bound = token(TokenType::Dpop).with_prover(Arc::new(Key));
    assert_eq!(fetches(bound, &clock).await, 2);
}

/// A process with this key, whose source issues a new token at each call.
struct Process {
    source: ScriptedSource,
    cache: CachedTokenSource<ScriptedSource>,
}

fn process(
    key: &'static str,
    store_key: Option<&'static str>,
    store: &MemoryTokenStore,
    clock: &ManualClock,
) -> Process {
    let token = AccessToken::new(TokenType::Dpop, "t", clock.moment(), HOUR).unwrap();
    let source = ScriptedSource::new([Ok(token.with_prover(Arc::new(SharedKey(key))))]);
    let builder = CachedTokenSource::builder(source.clone())
        .clock(clock.clone())
        .store(store.clone(), "orders");
    let builder = match store_key {
        Some(key) => builder.shared_prover(SharedKey(key)),
        None => builder,
    };
    let cache = builder.build();
    Process { source, cache }
}

#[tokio::test]
async fn processes_with_one_key_share_a_bound_token() {
    let clock = ManualClock::new();
    let store = MemoryTokenStore::new(clock.clone());
    let request = TokenRequest::default();
    let mut calls = Vec::new();
    for (key, store_key) in [
        ("one", Some("one")),
        ("one", Some("one")),
        ("two", Some("two")),
        ("two", Some("two")),
        // The first entry is still there.
        ("one", Some("one")),
        // No key is declared as shared.
        ("one", None),
        // The source has another key than the cache was given.
        ("three", Some("four")),
        ("four", Some("four")),
    ] {
        let process = process(key, store_key, &store, &clock);
        let token = process.cache.token(&request).await.unwrap();
        assert_eq!(token.token_type(), TokenType::Dpop);
        assert_eq!(token.prover().unwrap().shared_key(), Some(key));
        process.cache.shutdown().await;
        calls.push(process.source.calls());
    }
    assert_eq!(calls, [1, 0, 1, 0, 0, 1, 1, 1]);
}

#[tokio::test]
async fn a_refused_bound_token_is_removed_for_all() {
    let clock = ManualClock::new();
    let store = MemoryTokenStore::new(clock.clone());
    let request = TokenRequest::default();
    let first = process("one", Some("one"), &store, &clock);
    let token = first.cache.token(&request).await.unwrap();
    first.cache.shutdown().await;
    let second = process("one", Some("one"), &store, &clock);
    second.cache.token(&request).await.unwrap();
    second.cache.invalidate(&token);
    second.cache.shutdown().await;
    let third = process("one", Some("one"), &store, &clock);
    third.cache.token(&request).await.unwrap();
    assert_eq!((second.source.calls(), third.source.calls()), (0, 1));
}
