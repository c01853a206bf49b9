//! Tokens that are bound to a key (RFC 9449): this process has the key, others do not.

use std::sync::Arc;

use async_trait::async_trait;
use hallpass_cache::{CachedTokenSource, MemoryTokenStore};
use hallpass_core::{
    AccessToken, Clock as _, Proof, ProofRequest, Prover, TokenError, TokenRequest,
    TokenSource as _, TokenType,
};
use hallpass_testkit::{ManualClock, ScriptedSource};

use crate::support::HOUR;

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

// covers: C-40
#[tokio::test]
async fn a_token_that_is_bound_to_a_key_is_not_shared() {
    let clock = ManualClock::new();
    let token = |kind| AccessToken::new(kind, "t", clock.moment(), HOUR).unwrap();
    assert_eq!(fetches(token(TokenType::Bearer), &clock).await, 1);
    let bound = token(TokenType::Dpop).with_prover(Arc::new(Key));
    assert_eq!(fetches(bound, &clock).await, 2);
}
