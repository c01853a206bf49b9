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
