//! A simulated token store on a network, and the connections of processes to it.

use std::{
    collections::HashMap,
    future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use hallpass_cache::{
    EntryOrLease, Lease, LeaseOutcome, MemoryTokenStore, StoreEntry, StoreError, StoreKey,
    TokenStore,
};
use hallpass_testkit::TokioClock;
use tokio::time;

/// The mean duration of a store call; each takes between half of it and one and a half times.
const LATENCY: Duration = Duration::from_millis(1);

/// The state of the network between all processes and the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    Up,
    /// Connections are refused.
    Refusing,
    /// No call is answered.
    Stalled,
}

/// A store in virtual time; clones share its state.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    entries: MemoryTokenStore,
    state: Arc<Mutex<State>>,
    notifies: bool,
}

#[derive(Debug)]
struct State {
    network: Network,
    questions: usize,
    /// Each key that was used, with its last lease.
    leases: HashMap<StoreKey, Option<Lease>>,
}

impl Store {
    pub(crate) fn new(clock: TokioClock, notifies: bool) -> Self {
        let state = State {
            network: Network::Up,
            questions: 0,
            leases: HashMap::new(),
        };
        Self {
            entries: MemoryTokenStore::new(clock),
            state: Arc::new(Mutex::new(state)),
            notifies,
        }
    }

    /// Returns the connection of another process.
    pub(crate) fn connect(&self) -> Connection {
        Connection {
            store: self.clone(),
            own: Arc::default(),
        }
    }

    /// Returns the number of calls by all processes.
    pub(crate) fn questions(&self) -> usize {
        self.state().questions
    }

    pub(crate) fn set_network(&self, network: Network) {
        self.state().network = network;
    }

    /// Deletes all entries and leases.
    pub(crate) async fn flush(&self) -> Result<(), StoreError> {
        let leases = std::mem::take(&mut self.state().leases);
        for (key, lease) in leases {
            if let Some(entry) = self.entries.look_up(&key).await? {
                self.entries.remove(&key, entry.fence()).await?;
            }
            if let Some(lease) = lease {
                self.entries.release(&key, &lease).await?;
            }
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A process's connection to the store; clones belong to the same process.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    store: Store,
    own: Arc<Own>,
}

#[derive(Debug, Default)]
struct Own {
    questions: AtomicUsize,
    is_killed: AtomicBool,
}

impl Connection {
    /// Returns the number of this process's calls.
    pub(crate) fn questions(&self) -> usize {
        self.own.questions.load(Ordering::Relaxed)
    }

    /// Suppresses all further calls: the process was killed and can clean up nothing.
    pub(crate) fn kill(&self) {
        self.own.is_killed.store(true, Ordering::Relaxed);
    }

    fn note(&self, key: &StoreKey, outcome: &LeaseOutcome) {
        if let LeaseOutcome::Granted(lease) = outcome {
            let mut state = self.store.state();
            state.leases.insert(key.clone(), Some(lease.clone()));
        }
    }

    async fn question(&self, key: &StoreKey) -> Result<&MemoryTokenStore, StoreError> {
        if self.own.is_killed.load(Ordering::Relaxed) {
            future::pending::<()>().await;
        }
        self.own.questions.fetch_add(1, Ordering::Relaxed);
        {
            let mut state = self.store.state();
            state.questions += 1;
            state.leases.entry(key.clone()).or_default();
        }
        time::sleep(LATENCY.mul_f64(0.5 + fastrand::f64())).await;
        let network = self.store.state().network;
        match network {
            Network::Up => Ok(&self.store.entries),
            Network::Refusing => Err(StoreError::new("connection refused")),
            Network::Stalled => future::pending().await,
        }
    }
}

#[async_trait]
impl TokenStore for Connection {
    async fn look_up(&self, key: &StoreKey) -> Result<Option<StoreEntry>, StoreError> {
        self.question(key).await?.look_up(key).await
    }

    async fn put(
        &self,
        key: &StoreKey,
        entry: &[u8],
        ttl: Duration,
        lease: Option<&Lease>,
    ) -> Result<(), StoreError> {
        let entries = self.question(key).await?;
        entries.put(key, entry, ttl, lease).await
    }

    async fn remove(&self, key: &StoreKey, fence: u64) -> Result<(), StoreError> {
        self.question(key).await?.remove(key, fence).await
    }

    async fn lease(&self, key: &StoreKey, ttl: Duration) -> Result<LeaseOutcome, StoreError> {
        let outcome = self.question(key).await?.lease(key, ttl).await?;
        self.note(key, &outcome);
        Ok(outcome)
    }

    async fn look_up_or_lease(
        &self,
        key: &StoreKey,
        except: Option<u64>,
        ttl: Duration,
    ) -> Result<EntryOrLease, StoreError> {
        let entries = self.question(key).await?;
        let found = entries.look_up_or_lease(key, except, ttl).await?;
        if let EntryOrLease::Lease(outcome) = &found {
            self.note(key, outcome);
        }
        Ok(found)
    }

    async fn extend(
        &self,
        key: &StoreKey,
        lease: &Lease,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        self.question(key).await?.extend(key, lease, ttl).await
    }

    async fn release(&self, key: &StoreKey, lease: &Lease) -> Result<(), StoreError> {
        self.question(key).await?.release(key, lease).await
    }

    fn notifies(&self) -> bool {
        self.store.notifies
    }

    async fn changed(&self, key: &StoreKey) {
        if self.store.notifies {
            self.store.entries.changed(key).await;
        } else {
            future::pending::<()>().await;
        }
    }
}
