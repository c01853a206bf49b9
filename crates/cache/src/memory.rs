use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use hallpass_core::{Clock, SystemClock, Timestamp};
use zeroize::Zeroizing;

use crate::{Lease, StoreEntry, StoreError, StoreKey, TokenStore};

/// A store in this process's memory: for tests, and for sharing tokens between caches of one process.
///
/// Clones share their entries.
///
/// ```
/// use hallpass_cache::{CachedTokenSource, MemoryTokenStore};
/// # use hallpass_testkit::ScriptedSource;
/// # use hallpass_core::TokenError;
/// # let source = || ScriptedSource::new([Err(TokenError::unavailable("down"))]);
///
/// let store = MemoryTokenStore::default();
/// let one = CachedTokenSource::builder(source()).store(store.clone(), "login.example/orders").build();
/// let other = CachedTokenSource::builder(source()).store(store, "login.example/orders").build();
/// ```
#[derive(Clone)]
pub struct MemoryTokenStore {
    slots: Arc<Mutex<HashMap<StoreKey, Slot>>>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct Slot {
    entry: Option<(Zeroizing<Vec<u8>>, Timestamp)>,
    leased_until: Option<Timestamp>,
    fence: u64,
}

impl Default for MemoryTokenStore {
    fn default() -> Self {
        Self::new(SystemClock)
    }
}

impl MemoryTokenStore {
    /// An empty store that reads time from `clock`.
    pub fn new(clock: impl Clock + 'static) -> Self {
        Self {
            slots: Arc::default(),
            clock: Arc::new(clock),
        }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<StoreKey, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl TokenStore for MemoryTokenStore {
    async fn look_up(&self, key: &StoreKey) -> Result<Option<StoreEntry>, StoreError> {
        let now = self.clock.now();
        let slots = self.slots();
        let entry = slots.get(key).and_then(|slot| slot.entry.as_ref());
        let live = entry.filter(|(_, until)| now < *until);
        Ok(live.map(|(bytes, until)| {
            StoreEntry::new(bytes.to_vec(), Some(until.saturating_since(now)))
        }))
    }

    async fn put(
        &self,
        key: &StoreKey,
        entry: &[u8],
        ttl: Duration,
        lease: Lease,
    ) -> Result<(), StoreError> {
        let until = self.clock.now().saturating_add(ttl);
        let mut slots = self.slots();
        let slot = slots.entry(key.clone()).or_default();
        if lease.fence() >= slot.fence {
            slot.entry = Some((Zeroizing::new(entry.to_vec()), until));
        }
        Ok(())
    }

    async fn remove(&self, key: &StoreKey) -> Result<(), StoreError> {
        if let Some(slot) = self.slots().get_mut(key) {
            slot.entry = None;
        }
        Ok(())
    }

    async fn lease(&self, key: &StoreKey, ttl: Duration) -> Result<Option<Lease>, StoreError> {
        let now = self.clock.now();
        let mut slots = self.slots();
        let slot = slots.entry(key.clone()).or_default();
        if slot.leased_until.is_some_and(|until| now < until) {
            return Ok(None);
        }
        slot.leased_until = Some(now.saturating_add(ttl));
        slot.fence += 1;
        Ok(Some(Lease::new(slot.fence)))
    }

    async fn release(&self, key: &StoreKey, lease: Lease) -> Result<(), StoreError> {
        if let Some(slot) = self.slots().get_mut(key)
            && slot.fence == lease.fence()
        {
            slot.leased_until = None;
        }
        Ok(())
    }
}

impl fmt::Debug for MemoryTokenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTokenStore")
            .field("keys", &self.slots().len())
            .finish_non_exhaustive()
    }
}
