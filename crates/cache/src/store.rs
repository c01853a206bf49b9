use std::{error::Error, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use zeroize::Zeroizing;

mod key;
mod layered;

pub use key::StoreKey;
pub(crate) use key::bound_namespace;
pub use layered::{LayeredStore, StoreCall, StoreLayer};

/// A shared second level of the cache, for processes and hosts: an extension point.
///
/// The cache expects it to be slow, down or wrong at times, and never lets a caller fail because of it: each call has a
/// timeout, errors count as a miss, unreadable entries are ignored and overwritten, and a store that keeps failing is
/// not called for a while. A token that is [bound](hallpass_core::AccessToken::binding) to a certificate of this
/// process, or to a key of it (DPoP), is never put there.
///
/// `Arc<T>`, `Box<T>` and `&T` are stores too, so that a program can choose one at run time as `Arc<dyn TokenStore>`.
///
/// # Requirements
///
/// - Keys are opaque names, entries opaque bytes, which **hold a token in clear**: a store outside of this machine
///   encrypts them, with the key's name as associated data, so that an entry cannot be moved to another key. An entry
///   that cannot be decrypted is a miss, `Ok(None)`, and not an error: consecutive errors stop the use of the store for
///   all keys.
/// - [`look_up`](Self::look_up) returns the entry that was put last under this very key, or nothing, never a part of
///   it, and with it the [fence](StoreEntry::fence) that it was put under.
/// - An entry disappears when its time to live has passed, by the store's own clock.
/// - At most one [`Lease`] on a key is in force at a time; it expires after its time to live, counted from the last
///   [`extend`](Self::extend).
/// - Fence numbers of a key increase with each lease and are never reused, even if neither lease nor entry is left. A
///   store that may lose its counter (a failover to a replica) starts the next one above what it may have lost, for
///   example at the time in milliseconds.
/// - [`put`](Self::put) under a lease is ignored if a later lease is in force, or if the existing entry has a later
///   fence: a process that was suspended does not overwrite something newer.
/// - [`remove`](Self::remove) compares and deletes in one step: a report about an old token never removes a new one.
/// - Every method may be called from any number of tasks at once, and dropped while it waits. A dropped call has
///   happened in full or not at all.
#[async_trait]
pub trait TokenStore: Send + Sync + fmt::Debug {
    /// Returns the entry under this key, with its fence and its remaining time to live.
    ///
    /// # Errors
    ///
    /// A [`StoreError`] if the store is unavailable.
    async fn look_up(&self, key: &StoreKey) -> Result<Option<StoreEntry>, StoreError>;

    /// Puts an entry under this key for `ttl`, replacing the previous one.
    ///
    /// Under a lease the entry gets the lease's fence. Without one, which happens if another process held the lease for
    /// too long, the entry gets a new fence, and is put only if the existing entry has less time left to live.
    ///
    /// # Errors
    ///
    /// A [`StoreError`] if it could not be put. Ignoring an entry by the rules above is not an error.
    async fn put(
        &self,
        key: &StoreKey,
        entry: &[u8],
        ttl: Duration,
        lease: Option<&Lease>,
    ) -> Result<(), StoreError>;

    /// Removes the entry under this key if it has this fence; any other one stays.
    ///
    /// # Errors
    ///
    /// A [`StoreError`] if the store is unavailable.
    async fn remove(&self, key: &StoreKey, fence: u64) -> Result<(), StoreError>;

    /// Takes a lease on this key for `ttl`, unless it is held already.
    ///
    /// # Errors
    ///
    /// A [`StoreError`] if the store is unavailable.
    async fn lease(&self, key: &StoreKey, ttl: Duration) -> Result<LeaseOutcome, StoreError>;

    /// Returns the entry under this key, or takes a lease for `ttl` if there is none. An entry with the fence `except`,
    /// which the cache has read and cannot use, counts as none.
    ///
    /// The cache looks for a token with this call, and polls with it while another process holds the lease. A store on
    /// the network does it in one step, for one round trip. The default makes up to three calls, and if it is dropped
    /// between them, a lease may stay until it expires.
    ///
    /// # Errors
    ///
    /// A [`StoreError`] if the store is unavailable.
    async fn look_up_or_lease(
        &self,
        key: &StoreKey,
        except: Option<u64>,
        ttl: Duration,
    ) -> Result<EntryOrLease, StoreError> {
        let usable = |entry: &StoreEntry| Some(entry.fence()) != except;
        if let Some(entry) = self.look_up(key).await?.filter(usable) {
            return Ok(EntryOrLease::Entry(entry));
        }
        let outcome = self.lease(key, ttl).await?;
        // Another process may have put an entry just before it released the lease.
        if let LeaseOutcome::Granted(lease) = &outcome
            && let Ok(Some(entry)) = self.look_up(key).await
            && usable(&entry)
        {
            self.release(key, lease).await?;
            return Ok(EntryOrLease::Entry(entry));
        }
        Ok(EntryOrLease::Lease(outcome))
    }

    /// Extends a lease, which then expires after `ttl` from now; returns false if it is no longer in force.
    ///
    /// # Errors
    ///
    /// A [`StoreError`] if the store is unavailable.
    async fn extend(
        &self,
        key: &StoreKey,
        lease: &Lease,
        ttl: Duration,
    ) -> Result<bool, StoreError>;

    /// Releases a lease early. One that has expired, or that is held by someone else by now, is left alone.
    ///
    /// # Errors
    ///
    /// A [`StoreError`] if the store is unavailable.
    async fn release(&self, key: &StoreKey, lease: &Lease) -> Result<(), StoreError>;

    /// Returns true if [`changed`](Self::changed) reports changes at present.
    ///
    /// The cache then polls less often, and reads a changed entry of each key that it has a token of, so that it uses the
    /// token that replaced a refused one. The default is false.
    fn notifies(&self) -> bool {
        false
    }

    /// Waits until this key may have changed since the first poll: an entry was put or removed, or a lease was
    /// released.
    ///
    /// The cache also polls, so that a lost notification costs only time. A store without notifications, or with a lost
    /// subscription, waits forever, which is the default; one that cannot distinguish keys may return for another key's
    /// change.
    async fn changed(&self, key: &StoreKey) {
        let _ = key;
        std::future::pending::<()>().await;
    }
}

macro_rules! forward {
    ($($pointer:ty),+) => {$(
        #[async_trait]
        impl<T: TokenStore + ?Sized> TokenStore for $pointer {
            async fn look_up(&self, key: &StoreKey) -> Result<Option<StoreEntry>, StoreError> {
                (**self).look_up(key).await
            }

            async fn put(
                &self,
                key: &StoreKey,
                entry: &[u8],
                ttl: Duration,
                lease: Option<&Lease>,
            ) -> Result<(), StoreError> {
                (**self).put(key, entry, ttl, lease).await
            }

            async fn remove(&self, key: &StoreKey, fence: u64) -> Result<(), StoreError> {
                (**self).remove(key, fence).await
            }

            async fn lease(
                &self,
                key: &StoreKey,
                ttl: Duration,
            ) -> Result<LeaseOutcome, StoreError> {
                (**self).lease(key, ttl).await
            }

            async fn look_up_or_lease(
                &self,
                key: &StoreKey,
                except: Option<u64>,
                ttl: Duration,
            ) -> Result<EntryOrLease, StoreError> {
                (**self).look_up_or_lease(key, except, ttl).await
            }

            async fn extend(
                &self,
                key: &StoreKey,
                lease: &Lease,
                ttl: Duration,
            ) -> Result<bool, StoreError> {
                (**self).extend(key, lease, ttl).await
            }

            async fn release(&self, key: &StoreKey, lease: &Lease) -> Result<(), StoreError> {
                (**self).release(key, lease).await
            }

            fn notifies(&self) -> bool {
                (**self).notifies()
            }

            async fn changed(&self, key: &StoreKey) {
                (**self).changed(key).await;
            }
        }
    )+};
}

forward!(Arc<T>, Box<T>, &T);

/// An entry of a store; its bytes are wiped from memory when it is dropped.
#[derive(Clone)]
pub struct StoreEntry {
    bytes: Zeroizing<Vec<u8>>,
    fence: u64,
    ttl: Option<Duration>,
}

impl StoreEntry {
    /// Creates an entry from the bytes that were put, the fence that they were put under, and the remaining time to
    /// live, if the store knows it.
    pub fn new(bytes: Vec<u8>, fence: u64, ttl: Option<Duration>) -> Self {
        Self {
            bytes: Zeroizing::new(bytes),
            fence,
            ttl,
        }
    }

    /// Returns the bytes that were put.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the fence number that it was put under, for [`TokenStore::remove`].
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// Returns the remaining time to live, by the store's clock.
    pub fn ttl(&self) -> Option<Duration> {
        self.ttl
    }
}

impl fmt::Debug for StoreEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreEntry")
            .field("fence", &self.fence)
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}

/// The right to fetch a token for a key, among all processes that share a store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    fence: u64,
    owner: u64,
}

impl Lease {
    /// Creates a lease with this fence number, which is higher than that of every earlier lease on the key.
    pub fn new(fence: u64) -> Self {
        Self { fence, owner: 0 }
    }

    /// Adds a random number that distinguishes this lease from another one with the same fence number, for a store that
    /// may lose its counter.
    #[must_use]
    pub fn with_owner(self, owner: u64) -> Self {
        Self { owner, ..self }
    }

    /// Returns its fence number.
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// Returns the owner's random number, or 0 if the store set none.
    pub fn owner(&self) -> u64 {
        self.owner
    }
}

/// The result of a lease request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaseOutcome {
    /// The lease was granted.
    Granted(Lease),
    /// Someone else holds the lease.
    Held {
        /// Its fence number if the store knows it: a changed number shows that a process released its lease without a
        /// token, so that waiters do not wait for a whole series of failing processes.
        fence: Option<u64>,
    },
}

impl LeaseOutcome {
    /// Returns the lease, if it was granted.
    pub fn into_lease(self) -> Option<Lease> {
        match self {
            Self::Granted(lease) => Some(lease),
            Self::Held { .. } => None,
        }
    }
}

/// The result of [`TokenStore::look_up_or_lease`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EntryOrLease {
    /// The entry.
    Entry(StoreEntry),
    /// There is no entry, and a lease was requested.
    Lease(LeaseOutcome),
}

/// A store's failure. The text says why, and holds no token and no secret: it is logged and passed to observers.
///
/// It wraps the store's own error, as [`std::io::Error`] does: [`downcast_ref`](Self::downcast_ref) returns that one.
#[derive(Clone, Debug)]
pub struct StoreError(Arc<dyn Error + Send + Sync>);

impl StoreError {
    /// Creates an error from a text, or from the store's own error.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(error.into().into())
    }

    /// Returns the store's own error, if it has this type.
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_error_shows_and_returns_the_error_it_wraps() {
        let error = StoreError::new(fmt::Error);
        assert_eq!(error.to_string(), fmt::Error.to_string());
        assert_eq!(error.downcast_ref(), Some(&fmt::Error));
        let text = StoreError::new("down").clone();
        assert_eq!(text.to_string(), "down");
        assert_eq!(text.downcast_ref::<fmt::Error>(), None);
        // The error that it wraps shows its own text, and its cause follows.
        let error = hallpass_core::TokenError::unavailable("down").with_source(fmt::Error);
        assert!(StoreError::new(error).source().is_some());
    }

    #[test]
    fn a_lease_has_the_owner_that_its_store_set() {
        assert_eq!(Lease::new(7).owner(), 0);
        let owned = Lease::new(7).with_owner(9);
        assert_eq!((owned.fence(), owned.owner()), (7, 9));
        assert_ne!(owned, Lease::new(7));
    }
}
