//! A store whose notifications are worthless.

use std::time::Duration;

use async_trait::async_trait;
use hallpass_cache::{
    EntryOrLease, Lease, LeaseOutcome, StoreEntry, StoreError, StoreKey, TokenStore,
};

use super::waiting::most_questions;
use crate::{
    distant::{Distant, NAMESPACE, process},
    support::{MINUTE, Mint, SECOND, name},
};

/// A store that reports changes endlessly, or panics.
#[derive(Debug)]
struct Noisy(Distant, bool);

#[async_trait]
impl TokenStore for Noisy {
    async fn look_up(&self, key: &StoreKey) -> Result<Option<StoreEntry>, StoreError> {
        self.0.look_up(key).await
    }

    async fn put(
        &self,
        key: &StoreKey,
        entry: &[u8],
        ttl: Duration,
        lease: Option<&Lease>,
    ) -> Result<(), StoreError> {
        self.0.put(key, entry, ttl, lease).await
    }

    async fn remove(&self, key: &StoreKey, fence: u64) -> Result<(), StoreError> {
        self.0.remove(key, fence).await
    }

    async fn lease(&self, key: &StoreKey, ttl: Duration) -> Result<LeaseOutcome, StoreError> {
        self.0.lease(key, ttl).await
    }

    async fn look_up_or_lease(
        &self,
        key: &StoreKey,
        except: Option<u64>,
        ttl: Duration,
    ) -> Result<EntryOrLease, StoreError> {
        self.0.look_up_or_lease(key, except, ttl).await
    }

    async fn extend(
        &self,
        key: &StoreKey,
        lease: &Lease,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        self.0.extend(key, lease, ttl).await
    }

    async fn release(&self, key: &StoreKey, lease: &Lease) -> Result<(), StoreError> {
        self.0.release(key, lease).await
    }

    fn notifies(&self) -> bool {
        true
    }

    async fn changed(&self, _: &StoreKey) {
        assert!(self.1, "the store's own words");
    }
}

#[tokio::test(start_paused = true)]
async fn endless_notifications_do_not_cause_endless_lookups() {
    for ends in [true, false] {
        let mint = Mint::hourly().latency(20 * SECOND);
        let store = Distant::new(&mint);
        let holder = process(&mint, &store);
        let waiting = mint
            .builder()
            .store(Noisy(store.clone(), ends), NAMESPACE)
            .build();
        let (first, second) = tokio::join!(name(&holder), async {
            tokio::time::sleep(SECOND).await;
            name(&waiting).await
        });
        assert_eq!((first.as_str(), second.as_str()), ("t1", "t1"));
        // As many as with notifications, and one for each change that is used.
        let asked = store.questions() - store.asked("extend");
        let most = most_questions(20 * SECOND, true) + if ends { 50 } else { 0 };
        assert!(asked <= most + 5, "{asked}");
        assert_eq!(mint.calls(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn endless_notifications_cause_few_lookups_of_a_held_key() {
    let mint = Mint::hourly();
    let store = Distant::new(&mint);
    let noisy = Noisy(store.clone(), true);
    let cache = mint.builder().store(noisy, NAMESPACE).build();
    name(&cache).await;
    tokio::time::sleep(30 * MINUTE).await;
    // Eight within half a second each, then one in fifteen seconds on average.
    let asked = store.asked("look_up");
    assert!((8..=8 + 160).contains(&asked), "{asked}");
    assert_eq!(mint.calls(), 1);
}
