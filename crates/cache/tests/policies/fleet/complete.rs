//! A token from the store is as good as one that this process fetched.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use hallpass_cache::CachedTokenSource;
use hallpass_core::{AccessToken, TokenError, TokenRequest, TokenSource};

use crate::{
    distant::{Distant, NAMESPACE, process},
    support::{Answer, Mint, ask, name},
};

/// A server with a custom response member, whose tokens never expire.
struct Instance(Mint);

#[async_trait]
impl TokenSource for Instance {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        let token = self.0.token(request).await?;
        let extra = ("instance_url".into(), r#""https://eu1.example""#.to_owned());
        Ok(token.with_extra([extra]))
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_of_another_process_is_complete() {
    let mint = Mint::new([Answer::New(Duration::from_secs(u64::MAX))]);
    let store = Distant::new(&mint);
    for _ in 0..3 {
        let cache = CachedTokenSource::builder(Instance(mint.clone()))
            .clock(mint.clock())
            .store(store.clone(), NAMESPACE)
            .build();
        let token = ask(&cache).await.unwrap();
        assert_eq!(
            token.extra("instance_url"),
            Some(r#""https://eu1.example""#)
        );
        cache.shutdown().await;
        assert_eq!(cache.stats().store_faults, 0);
    }
    assert_eq!(mint.calls(), 1);
}

/// A source of tokens for everyone, which accepts only those that it returned last.
struct Strict(Mint, &'static str);

#[async_trait]
impl TokenSource for Strict {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        self.0.token(request).await
    }

    fn check_token(&self, _: &TokenRequest, token: &AccessToken) -> Result<(), TokenError> {
        assert_ne!(self.1, "panics", "the source's own words");
        if token.expose() == self.1 {
            return Ok(());
        }
        Err(TokenError::request_refused("too few scopes"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_from_the_store_passes_the_checks_of_the_source() {
    for (accepts, token, calls) in [("t1", "t1", 1), ("t2", "t2", 2), ("panics", "t2", 2)] {
        let mint = Mint::hourly();
        let store = Distant::new(&mint);
        let lenient = process(&mint, &store);
        name(&lenient).await;
        lenient.shutdown().await;
        // Through a pointer and a cache, as in practice.
        let strict = Arc::new(Strict(mint.clone(), accepts));
        let strict = CachedTokenSource::builder(strict).clock(mint.clock());
        let strict = strict.store(store.clone(), NAMESPACE).build();
        assert_eq!(name(&strict).await, token);
        assert_eq!(mint.calls(), calls, "{accepts}");
    }
}
