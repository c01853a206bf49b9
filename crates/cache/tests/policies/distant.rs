//! A network store from its callers' point of view: its calls take time and can fail.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use hallpass_cache::{
    CachedTokenSource, EntryOrLease, Lease, LeaseOutcome, MemoryTokenStore, StoreEntry, StoreError,
    StoreKey, TokenStore,
};
use hallpass_core::TokenRequest;
use tokio::time::Instant;

use crate::support::Mint;

pub(crate) const NAMESPACE: &str = "https://login.example/ orders";
pub(crate) const MILLISECOND: Duration = Duration::from_millis(1);

type Fate = (Result<(), StoreError>, Duration);

/// The notifications of changes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Notifications {
    None,
    OfChanges,
    /// One after the other, without a change.
    Endless,
    /// Waiting for one panics.
    Panic,
}

/// A store whose clones share their entries and counts.
#[derive(Clone, Debug)]
pub(crate) struct Distant {
    pub(crate) inner: MemoryTokenStore,
    questions: Arc<Mutex<BTreeMap<&'static str, usize>>>,
    /// The outcome and the duration of each further call; then that of all others.
    fates: Arc<Mutex<Vec<Fate>>>,
    refuses_writes: Arc<AtomicBool>,
    notifications: Notifications,
    /// The time for which the connection's first calls wait, counted from the first one.
    connecting: Duration,
    connected_at: Arc<OnceLock<Instant>>,
    /// The number of this connection's calls.
    own: Arc<AtomicUsize>,
    /// The number of calls that wait for a change.
    listeners: Arc<AtomicUsize>,
}

impl Distant {
    /// Creates a store whose calls take a millisecond each.
    pub(crate) fn new(mint: &Mint) -> Self {
        let store = Self::immediate(mint);
        store.set(Ok(()), MILLISECOND);
        store
    }

    /// Creates a store whose calls take no time.
    pub(crate) fn immediate(mint: &Mint) -> Self {
        Self {
            inner: MemoryTokenStore::new(mint.clock()),
            questions: Arc::default(),
            fates: Arc::new(Mutex::new(vec![(Ok(()), Duration::ZERO)])),
            refuses_writes: Arc::default(),
            notifications: Notifications::None,
            connecting: Duration::ZERO,
            connected_at: Arc::default(),
            own: Arc::default(),
            listeners: Arc::default(),
        }
    }

    /// Sets the time that each new connection takes.
    pub(crate) fn connecting(self, connecting: Duration) -> Self {
        Self { connecting, ..self }
    }

    /// Returns another connection to the same store.
    pub(crate) fn connection(&self) -> Self {
        Self {
            connected_at: Arc::default(),
            own: Arc::default(),
            ..self.clone()
        }
    }

    /// Enables notifications of changes.
    pub(crate) fn notifying(self) -> Self {
        Self {
            notifications: Notifications::OfChanges,
            ..self
        }
    }

    /// Enables them if `notifies`.
    pub(crate) fn notifying_if(self, notifies: bool) -> Self {
        if notifies { self.notifying() } else { self }
    }

    /// Reports changes endlessly.
    pub(crate) fn notifying_endlessly(self) -> Self {
        Self {
            notifications: Notifications::Endless,
            ..self
        }
    }

    /// Panics when it is to report a change.
    pub(crate) fn panicking_notifications(self) -> Self {
        Self {
            notifications: Notifications::Panic,
            ..self
        }
    }

    /// Refuses everything but look-ups from now on.
    pub(crate) fn refuse_writes(&self) {
        self.refuses_writes.store(true, Ordering::SeqCst);
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

    /// Returns the number of calls by this connection.
    pub(crate) fn own_questions(&self) -> usize {
        self.own.load(Ordering::SeqCst)
    }

    /// Returns the number of calls of all connections that wait for a change.
    pub(crate) fn listeners(&self) -> usize {
        self.listeners.load(Ordering::SeqCst)
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
        self.own.fetch_add(1, Ordering::SeqCst);
        let (outcome, time) = {
            let mut fates = self.fates.lock().unwrap();
            if fates.len() > 1 {
                fates.pop().expect("one at least")
            } else {
                fates[0].clone()
            }
        };
        let connected_at = || Instant::now() + self.connecting;
        let start = (*self.connected_at.get_or_init(connected_at)).max(Instant::now());
        let end = start + time;
        // A sleep takes a millisecond at least.
        if end > Instant::now() {
            tokio::time::sleep_until(end).await;
        }
        if self.refuses_writes.load(Ordering::SeqCst) && !what.starts_with("look_up") {
            return Err(StoreError::new("read-only replica"));
        }
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

    async fn look_up_or_lease(
        &self,
        key: &StoreKey,
        except: Option<u64>,
        ttl: Duration,
    ) -> Result<EntryOrLease, StoreError> {
        self.question("look_up_or_lease").await?;
        if self.refuses_writes.load(Ordering::SeqCst) {
            let found = self.inner.look_up(key).await?;
            let found = found.filter(|entry| Some(entry.fence()) != except);
            let refusal = || StoreError::new("read-only replica");
            return found.map(EntryOrLease::Entry).ok_or_else(refusal);
        }
        self.inner.look_up_or_lease(key, except, ttl).await
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

    fn notifies(&self) -> bool {
        self.notifications != Notifications::None
    }

    async fn changed(&self, key: &StoreKey) {
        match self.notifications {
            Notifications::None => std::future::pending().await,
            Notifications::OfChanges => {}
            Notifications::Endless => return,
            Notifications::Panic => panic!("the store's own words"),
        }
        self.listeners.fetch_add(1, Ordering::SeqCst);
        let _listening = Listening(&self.listeners);
        self.inner.changed(key).await;
    }
}

struct Listening<'a>(&'a AtomicUsize);

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
