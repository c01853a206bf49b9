use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use async_trait::async_trait;
use hallpass_core::{Clock, SystemClock, Timestamp};
use tokio::{sync::Notify, task::yield_now};
use zeroize::Zeroizing;

use crate::store::{
    EntryOrLease, Lease, LeaseOutcome, StoreEntry, StoreError, StoreKey, TokenStore,
};

/// A token store in this process's memory: for tests, and for sharing tokens between caches of one process.
///
/// Clones share their entries. Each call yields to other tasks once, like a call to a network store, so that tests see
/// the same interleavings. Entries are wiped from memory when they are replaced, removed or evicted, and when a look-up
/// or a new key finds them expired; the number of keys is limited.
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
    inner: Arc<Mutex<Inner>>,
    max_keys: usize,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct Inner {
    slots: HashMap<StoreKey, Slot>,
    /// The calls that wait for a change of a key.
    listeners: HashMap<StoreKey, Weak<Notify>>,
    /// The last fence number of all keys, so that dropping a key does not lose it.
    fence: u64,
    /// The number of keys that triggers a sweep of expired ones.
    sweep_at: usize,
}

#[derive(Default)]
struct Slot {
    entry: Option<Entry>,
    /// The latest lease's fence, and its expiry.
    lease: Option<(u64, Timestamp)>,
}

struct Entry {
    bytes: Zeroizing<Vec<u8>>,
    fence: u64,
    until: Timestamp,
}

impl Default for MemoryTokenStore {
    fn default() -> Self {
        Self::new(SystemClock)
    }
}

impl MemoryTokenStore {
    /// Creates an empty store that reads time from `clock`.
    pub fn new(clock: impl Clock + 'static) -> Self {
        Self {
            inner: Arc::default(),
            max_keys: 10_000,
            clock: Arc::new(clock),
        }
    }

    /// Sets the maximum number of keys; beyond it, the entry that expires first is dropped. Default: 10,000.
    #[must_use]
    pub fn with_max_keys(self, max_keys: usize) -> Self {
        Self { max_keys, ..self }
    }

    /// Returns the number of keys, including expired ones that were not dropped yet.
    pub fn len(&self) -> usize {
        self.inner().slots.len()
    }

    /// Returns true if there are no keys.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Returns the key's slot; makes room for a new one.
    fn slot(&mut self, key: &StoreKey, now: Timestamp, max_keys: usize) -> &mut Slot {
        const MIN_SWEEP_SIZE: usize = 64;
        if !self.slots.contains_key(key) {
            let len = self.slots.len();
            if len >= self.sweep_at.max(MIN_SWEEP_SIZE).min(max_keys) {
                self.slots.retain(|_, slot| slot.is_in_use(now));
                self.listeners
                    .retain(|_, listener| listener.strong_count() > 0);
                self.sweep_at = self.slots.len() * 2;
            }
            while !self.slots.is_empty() && self.slots.len() >= max_keys {
                let first = self.slots.iter().min_by_key(|(_, slot)| slot.until());
                let Some(first) = first.map(|(key, _)| key.clone()) else {
                    break;
                };
                self.slots.remove(&first);
            }
        }
        self.slots.entry(key.clone()).or_default()
    }

    fn notify(&mut self, key: &StoreKey) {
        match self.listeners.get(key).map(Weak::upgrade) {
            Some(Some(listener)) => listener.notify_waiters(),
            Some(None) => drop(self.listeners.remove(key)),
            None => {}
        }
    }

    fn listener(&mut self, key: &StoreKey) -> Arc<Notify> {
        let known = self.listeners.get(key).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let listener = Arc::default();
            self.listeners
                .insert(key.clone(), Arc::downgrade(&listener));
            listener
        })
    }

    fn next_fence(&mut self) -> u64 {
        self.fence += 1;
        self.fence
    }

    fn entry(&mut self, key: &StoreKey, now: Timestamp) -> Option<StoreEntry> {
        let slot = self.slots.get_mut(key)?;
        let Some(entry) = slot.live(now) else {
            slot.entry = None;
            return None;
        };
        let ttl = entry.until.saturating_since(now);
        Some(StoreEntry::new(
            entry.bytes.to_vec(),
            entry.fence,
            Some(ttl),
        ))
    }

    fn lease(
        &mut self,
        key: &StoreKey,
        ttl: Duration,
        now: Timestamp,
        max_keys: usize,
    ) -> LeaseOutcome {
        let fence = self.next_fence();
        let slot = self.slot(key, now, max_keys);
        let holder = slot.leased(now);
        if holder.is_some() {
            return LeaseOutcome::Held { fence: holder };
        }
        slot.lease = Some((fence, now.saturating_add(ttl)));
        LeaseOutcome::Granted(Lease::new(fence))
    }
}

impl Slot {
    fn live(&self, now: Timestamp) -> Option<&Entry> {
        self.entry.as_ref().filter(|entry| now < entry.until)
    }

    fn leased(&self, now: Timestamp) -> Option<u64> {
        let lease = self.lease.filter(|(_, until)| now < *until);
        lease.map(|(fence, _)| fence)
    }

    fn is_in_use(&self, now: Timestamp) -> bool {
        self.live(now).is_some() || self.leased(now).is_some()
    }

    fn until(&self) -> Timestamp {
        let entry = self.entry.as_ref().map(|entry| entry.until);
        let lease = self.lease.map(|(_, until)| until);
        entry.max(lease).unwrap_or_default()
    }
}

#[async_trait]
impl TokenStore for MemoryTokenStore {
    async fn look_up(&self, key: &StoreKey) -> Result<Option<StoreEntry>, StoreError> {
        yield_now().await;
        let now = self.clock.now();
        Ok(self.inner().entry(key, now))
    }

    async fn put(
        &self,
        key: &StoreKey,
        entry: &[u8],
        ttl: Duration,
        lease: Option<&Lease>,
    ) -> Result<(), StoreError> {
        yield_now().await;
        let now = self.clock.now();
        let until = now.saturating_add(ttl);
        let mut inner = self.inner();
        let next = inner.next_fence();
        let slot = inner.slot(key, now, self.max_keys);
        let fence = match lease {
            Some(lease) => {
                let later_lease = slot.leased(now).is_some_and(|other| other > lease.fence());
                let newer = slot
                    .live(now)
                    .is_some_and(|entry| entry.fence > lease.fence());
                if later_lease || newer {
                    return Ok(());
                }
                lease.fence()
            }
            None if slot.live(now).is_some_and(|entry| entry.until >= until) => return Ok(()),
            None => next,
        };
        slot.entry = Some(Entry {
            bytes: Zeroizing::new(entry.to_vec()),
            fence,
            until,
        });
        inner.notify(key);
        Ok(())
    }

    async fn remove(&self, key: &StoreKey, fence: u64) -> Result<(), StoreError> {
        yield_now().await;
        let mut inner = self.inner();
        let entry = inner.slots.get_mut(key).map(|slot| &mut slot.entry);
        if entry.is_some_and(|entry| entry.take_if(|entry| entry.fence == fence).is_some()) {
            inner.notify(key);
        }
        Ok(())
    }

    async fn lease(&self, key: &StoreKey, ttl: Duration) -> Result<LeaseOutcome, StoreError> {
        yield_now().await;
        let now = self.clock.now();
        Ok(self.inner().lease(key, ttl, now, self.max_keys))
    }

    async fn look_up_or_lease(
        &self,
        key: &StoreKey,
        except: Option<u64>,
        ttl: Duration,
    ) -> Result<EntryOrLease, StoreError> {
        yield_now().await;
        let now = self.clock.now();
        let mut inner = self.inner();
        Ok(match inner.entry(key, now) {
            Some(entry) if Some(entry.fence()) != except => EntryOrLease::Entry(entry),
            _ => EntryOrLease::Lease(inner.lease(key, ttl, now, self.max_keys)),
        })
    }

    async fn extend(
        &self,
        key: &StoreKey,
        lease: &Lease,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        yield_now().await;
        let now = self.clock.now();
        let mut inner = self.inner();
        let slot = inner.slots.get_mut(key);
        let Some(slot) = slot.filter(|slot| slot.leased(now) == Some(lease.fence())) else {
            return Ok(false);
        };
        slot.lease = Some((lease.fence(), now.saturating_add(ttl)));
        Ok(true)
    }

    async fn release(&self, key: &StoreKey, lease: &Lease) -> Result<(), StoreError> {
        yield_now().await;
        let mut inner = self.inner();
        let held = inner.slots.get_mut(key).map(|slot| &mut slot.lease);
        if held.is_some_and(|held| held.take_if(|(fence, _)| *fence == lease.fence()).is_some()) {
            inner.notify(key);
        }
        Ok(())
    }

    fn notifies(&self) -> bool {
        true
    }

    async fn changed(&self, key: &StoreKey) {
        let listener = self.inner().listener(key);
        listener.notified().await;
    }
}

impl fmt::Debug for MemoryTokenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTokenStore")
            .field("keys", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use hallpass_core::TokenRequest;
    use hallpass_testkit::ManualClock;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3_600);

    fn key(number: u64) -> StoreKey {
        StoreKey::new(&number.to_string(), &TokenRequest::new())
    }

    async fn is_there(store: &MemoryTokenStore, number: u64) -> bool {
        store.look_up(&key(number)).await.unwrap().is_some()
    }

    #[tokio::test]
    async fn expired_keys_are_dropped_as_new_ones_arrive() {
        let clock = ManualClock::new();
        let store = MemoryTokenStore::new(clock.clone());
        assert!(store.is_empty());
        for number in 0..1_000 {
            let key = key(number);
            let lease = store.lease(&key, MINUTE).await.unwrap().into_lease();
            let put = store.put(&key, b"entry", MINUTE, lease.as_ref());
            put.await.unwrap();
        }
        assert_eq!(store.len(), 1_000);
        clock.advance(MINUTE);
        for number in 1_000..2_100 {
            let key = key(number);
            store.put(&key, b"entry", MINUTE, None).await.unwrap();
        }
        // The first doubling dropped everything that had expired.
        assert_eq!(store.len(), 1_100);
        assert!(!store.is_empty() && store.notifies());
    }

    #[tokio::test]
    async fn the_number_of_keys_is_bounded() {
        let clock = ManualClock::new();
        let store = MemoryTokenStore::new(clock.clone()).with_max_keys(10);
        for number in 0..100 {
            let ttl = MINUTE + Duration::from_secs(number);
            store.put(&key(number), b"entry", ttl, None).await.unwrap();
        }
        assert_eq!(store.len(), 10);
        for number in 0..100 {
            assert_eq!(is_there(&store, number).await, number >= 90, "{number}");
        }
    }

    #[tokio::test]
    async fn a_sweep_keeps_only_those_who_listen() {
        let clock = ManualClock::new();
        let store = MemoryTokenStore::new(clock.clone());
        let listening = key(0);
        let mut changed = Box::pin(store.changed(&listening));
        let mut context = Context::from_waker(Waker::noop());
        assert!(changed.as_mut().poll(&mut context).is_pending());
        let gone = key(1);
        let listener = Box::pin(store.changed(&gone)).as_mut().poll(&mut context);
        assert!(listener.is_pending());
        assert_eq!(store.inner().listeners.len(), 2);
        for number in 2..=66 {
            store
                .put(&key(number), b"entry", MINUTE, None)
                .await
                .unwrap();
        }
        assert_eq!(store.inner().listeners.len(), 1);
        store.put(&listening, b"entry", MINUTE, None).await.unwrap();
        assert!(changed.as_mut().poll(&mut context).is_ready());
    }

    // covers: F-89
    #[tokio::test]
    async fn fence_numbers_continue_after_a_key_was_dropped() {
        let clock = ManualClock::new();
        let store = MemoryTokenStore::new(clock.clone()).with_max_keys(1);
        let one = key(1);
        let first = store
            .lease(&one, MINUTE)
            .await
            .unwrap()
            .into_lease()
            .unwrap();
        store.put(&key(2), b"entry", MINUTE, None).await.unwrap();
        let second = store
            .lease(&one, MINUTE)
            .await
            .unwrap()
            .into_lease()
            .unwrap();
        assert!(second.fence() > first.fence());
    }

    fn bytes(store: &MemoryTokenStore) -> Vec<Vec<u8>> {
        let inner = store.inner();
        let entries = inner.slots.values().filter_map(|slot| slot.entry.as_ref());
        entries.map(|entry| entry.bytes.to_vec()).collect()
    }

    // covers: F-104
    #[tokio::test]
    async fn entries_are_wiped_when_they_are_dropped() {
        fn is_wiped(_: &impl zeroize::ZeroizeOnDrop) {}

        let store = MemoryTokenStore::default();
        let one = key(1);
        store.put(&one, b"entry", MINUTE, None).await.unwrap();
        let inner = store.inner();
        is_wiped(&inner.slots[&one].entry.as_ref().unwrap().bytes);
    }

    // covers: F-104
    #[tokio::test]
    async fn entries_that_cannot_be_returned_are_dropped() {
        let clock = ManualClock::new();
        let store = MemoryTokenStore::new(clock.clone()).with_max_keys(1);
        let (one, two) = (key(1), key(2));
        let lease = store
            .lease(&one, MINUTE)
            .await
            .unwrap()
            .into_lease()
            .unwrap();
        store
            .put(&one, b"first", MINUTE, Some(&lease))
            .await
            .unwrap();
        assert_eq!(bytes(&store), [b"first"]);
        // Replaced.
        store
            .put(&one, b"second", HOUR, Some(&lease))
            .await
            .unwrap();
        assert_eq!(bytes(&store), [b"second"]);
        // Removed.
        store.remove(&one, lease.fence()).await.unwrap();
        assert!(bytes(&store).is_empty());
        // Evicted.
        store.put(&one, b"third", MINUTE, None).await.unwrap();
        store.put(&two, b"fourth", MINUTE, None).await.unwrap();
        assert_eq!(bytes(&store), [b"fourth"]);
        // Expired.
        clock.advance(MINUTE);
        assert!(!is_there(&store, 2).await);
        assert!(bytes(&store).is_empty());
    }
}
