use std::{fmt, time::Duration};

use async_trait::async_trait;

use super::{EntryOrLease, Lease, LeaseOutcome, StoreEntry, StoreError, StoreKey, TokenStore};

/// A layer around the calls of a store, for metrics and traces of a program's own, or for faults in tests; see
/// [`LayeredStore`].
pub trait StoreLayer: Send + Sync + fmt::Debug {
    /// Runs a call, which begins when the future is polled first, and returns its result or another one.
    ///
    /// # Errors
    ///
    /// A [`StoreError`] of the store, or of the layer.
    fn around<T: Send>(
        &self,
        call: StoreCall,
        result: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> impl Future<Output = Result<T, StoreError>> + Send;
}

/// A method of [`TokenStore`] that a cache calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreCall {
    /// [`TokenStore::extend`].
    Extend,
    /// [`TokenStore::lease`].
    Lease,
    /// [`TokenStore::look_up`].
    LookUp,
    /// [`TokenStore::look_up_or_lease`].
    LookUpOrLease,
    /// [`TokenStore::put`].
    Put,
    /// [`TokenStore::release`].
    Release,
    /// [`TokenStore::remove`].
    Remove,
}

/// A store with a [layer](StoreLayer) around each call. Notifications of changes bypass the layer.
///
/// ```
/// use std::time::Instant;
/// use hallpass_cache::{LayeredStore, MemoryTokenStore, StoreCall, StoreError, StoreLayer};
///
/// /// Prints the duration of each call.
/// #[derive(Debug)]
/// struct Durations;
///
/// impl StoreLayer for Durations {
///     async fn around<T: Send>(
///         &self,
///         call: StoreCall,
///         result: impl Future<Output = Result<T, StoreError>> + Send,
///     ) -> Result<T, StoreError> {
///         let start = Instant::now();
///         let result = result.await;
///         println!("{call:?}: {:?}, {}", start.elapsed(), result.is_ok());
///         result
///     }
/// }
///
/// let store = LayeredStore::new(MemoryTokenStore::default(), Durations);
/// # let _ = store.get_ref();
/// ```
#[derive(Clone, Debug)]
pub struct LayeredStore<S, L> {
    store: S,
    layer: L,
}

impl<S: TokenStore, L: StoreLayer> LayeredStore<S, L> {
    /// Creates a store with this layer.
    pub const fn new(store: S, layer: L) -> Self {
        Self { store, layer }
    }

    /// Returns the inner store.
    pub const fn get_ref(&self) -> &S {
        &self.store
    }

    /// Returns the inner store, without the layer.
    pub fn into_inner(self) -> S {
        self.store
    }
}

#[async_trait]
impl<S: TokenStore, L: StoreLayer> TokenStore for LayeredStore<S, L> {
    async fn look_up(&self, key: &StoreKey) -> Result<Option<StoreEntry>, StoreError> {
        let result = self.store.look_up(key);
        self.layer.around(StoreCall::LookUp, result).await
    }

    async fn put(
        &self,
        key: &StoreKey,
        entry: &[u8],
        ttl: Duration,
        lease: Option<&Lease>,
    ) -> Result<(), StoreError> {
        let result = self.store.put(key, entry, ttl, lease);
        self.layer.around(StoreCall::Put, result).await
    }

    async fn remove(&self, key: &StoreKey, fence: u64) -> Result<(), StoreError> {
        let result = self.store.remove(key, fence);
        self.layer.around(StoreCall::Remove, result).await
    }

    async fn lease(&self, key: &StoreKey, ttl: Duration) -> Result<LeaseOutcome, StoreError> {
        let result = self.store.lease(key, ttl);
        self.layer.around(StoreCall::Lease, result).await
    }

    async fn look_up_or_lease(
        &self,
        key: &StoreKey,
        except: Option<u64>,
        ttl: Duration,
    ) -> Result<EntryOrLease, StoreError> {
        let result = self.store.look_up_or_lease(key, except, ttl);
        self.layer.around(StoreCall::LookUpOrLease, result).await
    }

    async fn extend(
        &self,
        key: &StoreKey,
        lease: &Lease,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        let result = self.store.extend(key, lease, ttl);
        self.layer.around(StoreCall::Extend, result).await
    }

    async fn release(&self, key: &StoreKey, lease: &Lease) -> Result<(), StoreError> {
        let result = self.store.release(key, lease);
        self.layer.around(StoreCall::Release, result).await
    }

    fn notifies(&self) -> bool {
        self.store.notifies()
    }

    async fn changed(&self, key: &StoreKey) {
        self.store.changed(key).await;
    }
}
