//! A network store from its callers' point of view: each call takes a millisecond.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use hallpass_cache::{
    CachedTokenSource, Lease, LeaseOutcome, MemoryTokenStore, StoreEntry, StoreError, StoreKey,
    TokenStore,
};
use hallpass_core::TokenRequest;

use crate::support::Mint;

pub(crate) const NAMESPACE: &str = "https://login.example/ orders";
pub(crate) const MILLISECOND: Duration = Duration::from_millis(1);

type Fate = (Result<(), StoreError>, Duration);

/// A store whose clones share their entries and counts.
#[derive(Clone, Debug)]
pub(crate) struct Distant {
    pub(crate) inner: MemoryTokenStore,
    questions: Arc<Mutex<BTreeMap<&'static str, usize>>>,
    /// The outcome and the duration of each further call; then that of all others.
    fates: Arc<Mutex<Vec<Fate>>>,
    notifies: bool,
}

impl Distant {
    pub(crate) fn new(mint: &Mint) -> Self {
        Self {
            inner: MemoryTokenStore::new(mint.clock()),
            questions: Arc::default(),
            fates: Arc::new(Mutex::new(vec![(Ok(()), MILLISECOND)])),
            notifies: false,
        }
    }

    /// Enables notifications of changes.
    pub(crate) fn notifying(self) -> Self {
        Self {
            notifies: true,
            ..self
        }
    }

    /// Sets the outcome of all calls from now on.
    pub(crate) fn set(&self, outcome: Result<(), &str>, time: Duration) {
        *self.fates.lock().unwrap() = vec![(outcome.map_err(StoreError::new), time)];
    }

    /// Sets the duration of the next call.
    pub(crate) fn next_takes(&self, time: Duration) {
        self.fates.lock().unwrap().push((Ok(()), time));
    }

    pub(crate) fn questions(&self) -> usize {
        self.questions.lock().unwrap().values().sum()
    }

    pub(crate) fn asked(&self, what: &str) -> usize {
        let questions = self.questions.lock().unwrap();
        questions.get(what).copied().unwrap_or_default()
    }

    pub(crate) async fn entry(&self) -> Option<StoreEntry> {
        self.inner.look_up(&default_key()).await.unwrap()
    }

    async fn question(&self, what: &'static str) -> Result<(), StoreError> {
        *self.questions.lock().unwrap().entry(what).or_default() += 1;
        let (outcome, time) = {
            let mut fates = self.fates.lock().unwrap();
            if fates.len() > 1 {
                fates.pop().expect("one at least")
            } else {
                fates[0].clone()
            }
        };
        tokio::time::sleep(time).await;
        outcome
    }
}

/// Returns the default token's key.
pub(crate) fn default_key() -> StoreKey {
    StoreKey::new(NAMESPACE, &TokenRequest::new())
}

/// Creates the cache of another process.
pub(crate) fn process(mint: &Mint, store: &Distant) -> CachedTokenSource<Mint> {
    mint.builder().store(store.clone(), NAMESPACE).build()
}

#[async_trait]
impl TokenStore for Distant {
    async fn look_up(&self, key: &StoreKey) -> Result<Option<StoreEntry>, StoreError> {
        self.question("look_up").await?;
        self.inner.look_up(key).await
    }

    async fn put(
        &self,
        key: &StoreKey,
        entry: &[u8],
        ttl: Duration,
        lease: Option<&Lease>,
    ) -> Result<(), StoreError> {
        self.question("put").await?;
        self.inner.put(key, entry, ttl, lease).await
    }

    async fn remove(&self, key: &StoreKey, fence: u64) -> Result<(), StoreError> {
        self.question("remove").await?;
        self.inner.remove(key, fence).await
    }

    async fn lease(&self, key: &StoreKey, ttl: Duration) -> Result<LeaseOutcome, StoreError> {
        self.question("lease").await?;
        self.inner.lease(key, ttl).await
    }

    async fn extend(
        &self,
        key: &StoreKey,
        lease: &Lease,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        self.question("extend").await?;
        self.inner.extend(key, lease, ttl).await
    }

    async fn release(&self, key: &StoreKey, lease: &Lease) -> Result<(), StoreError> {
        self.question("release").await?;
        self.inner.release(key, lease).await
    }

    async fn changed(&self, key: &StoreKey) {
        if !self.notifies {
            std::future::pending::<()>().await;
        }
        self.inner.changed(key).await;
    }
}
