//! Tokens that a resource server refused.

use std::sync::Arc;

use async_trait::async_trait;
use hallpass_cache::{CachedTokenSource, TokenStore as _};
use hallpass_core::{AccessToken, Clock, Moment, Timestamp, TokenError, TokenRequest, TokenSource};

use crate::{
    distant::{Distant, NAMESPACE, default_key, process},
    support::{HOUR, MINUTE, Mint, SECOND, ask, name, spawn_ask},
};

// covers: F-81, I-12
#[tokio::test(start_paused = true)]
async fn only_the_refused_token_is_removed_from_the_store() {
    let mint = Mint::hourly();
    let store = Distant::new(&mint);
    let (one, other) = (process(&mint, &store), process(&mint, &store));
    let first = ask(&one).await.unwrap();
    tokio::time::sleep(SECOND).await;
    assert!(ask(&other).await.unwrap().is_same(&first));
    one.invalidate(&first);
    one.shutdown().await;
    assert!(store.entry().await.is_none(), "before anyone fetches");
    let third = process(&mint, &store);
    assert_eq!(name(&third).await, "t2");
    tokio::time::sleep(SECOND).await;
    // This report is late: its token is not the current one.
    other.invalidate(&first);
    assert_eq!(name(&other).await, "t2");
    other.shutdown().await;
    assert!(store.entry().await.is_some());
    assert_eq!((mint.calls(), store.asked("remove")), (2, 1));
}

// covers: F-81, I-12
#[tokio::test(start_paused = true)]
async fn a_refused_token_back_in_the_store_is_removed_before_a_fetch() {
    let mint = Mint::hourly();
    let store = Distant::new(&mint);
    let cache = Arc::new(process(&mint, &store));
    let token = ask(&*cache).await.unwrap();
    tokio::time::sleep(SECOND).await;
    let entry = store.entry().await.unwrap();
    cache.invalidate(&token);
    tokio::time::sleep(SECOND).await;
    // A process that does not know put it again.
    let (key, entries) = (default_key(), &store.inner);
    entries.put(&key, entry.bytes(), HOUR, None).await.unwrap();
    let gate = mint.close();
    let caller = spawn_ask(&cache);
    gate.arrived(1).await;
    assert!(store.entry().await.is_none());
    gate.open();
    assert_eq!(caller.await.unwrap().unwrap().expose(), "t2");
}

/// A clock whose wall-clock time is five minutes behind.
#[derive(Clone, Debug)]
struct Behind<C>(C);

impl<C: Clock> Clock for Behind<C> {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn wall(&self) -> std::time::SystemTime {
        self.0.wall() - 5 * MINUTE
    }
}

/// A source whose tokens are dated by that clock.
struct OnHostBehind(Mint);

#[async_trait]
impl TokenSource for OnHostBehind {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        let token = self.0.token(request).await?;
        let Moment {
            timestamp, wall, ..
        } = token.requested_at();
        let requested_at = Moment::new(timestamp, wall - 5 * MINUTE);
        Ok(AccessToken::bearer(
            token.expose(),
            requested_at,
            token.lifetime(),
        )?)
    }
}

// covers: F-81, F-95
#[tokio::test(start_paused = true)]
async fn a_host_whose_clock_is_behind_shares_its_new_token() {
    let mint = Mint::hourly();
    let store = Distant::new(&mint);
    let ahead = process(&mint, &store);
    let behind = CachedTokenSource::builder(OnHostBehind(mint.clone()))
        .clock(Behind(mint.clock()))
        .store(store.clone(), NAMESPACE)
        .build();
    let refused = ask(&ahead).await.unwrap();
    tokio::time::sleep(SECOND).await;
    let same = ask(&behind).await.unwrap();
    assert!(same.is_same(&refused));
    for cache in [&ahead as &dyn TokenSource, &behind] {
        cache.invalidate(&refused);
    }
    tokio::time::sleep(SECOND).await;
    assert_eq!(name(&behind).await, "t2");
    tokio::time::sleep(SECOND).await;
    assert_eq!(name(&ahead).await, "t2");
    assert_eq!(mint.calls(), 2);
}
