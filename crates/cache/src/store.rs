use std::{fmt, time::Duration};

use async_trait::async_trait;

/// A second level that processes and hosts share: an extension point.
///
/// The cache treats it as something that can be slow, down or wrong, and never lets a caller fail because of it:
/// each call has a short budget of time, errors count as "nothing there", entries that cannot be read are passed over
/// and overwritten, and a store that keeps failing is left alone for a while. A token that is
/// [bound](hallpass_core::AccessToken::binding) to a certificate of this process, or to a key of it (DPoP), is never put
/// there.
///
/// # What a store promises
///
/// - Keys are opaque names, entries opaque bytes, which **hold a token in clear**: a store that leaves this machine
///   encrypts them, with the key's name as associated data, so that an entry cannot be moved to another key.
/// - [`look_up`](Self::look_up) yields what was put last under this very key, or nothing, never a part of it.
/// - An entry is gone when its time to live has passed, by the store's own clock.
/// - At most one [`Lease`] on a key is in force at a time; it ends by itself after its time to live.
/// - Leases on a key carry rising fence numbers, and a [`put`](Self::put) under a lease older than the latest one is
///   passed over: whoever was away for too long does not overwrite something newer.
/// - Every method may be called from any number of tasks at once, and dropped while it waits.
#[async_trait]
pub trait TokenStore: Send + Sync + fmt::Debug {
    /// The entry under this key, with the time that it still has to live.
    ///
    /// # Errors
    ///
    /// A [`StoreError`] where the store cannot be asked.
    async fn look_up(&self, key: &StoreKey) -> Result<Option<StoreEntry>, StoreError>;

    /// Puts an entry under this key, for `ttl`, in place of the one before; nothing where a later lease was given.
    ///
    /// # Errors
    ///
    /// A [`StoreError`] where it could not be put.
    async fn put(
        &self,
        key: &StoreKey,
        entry: &[u8],
        ttl: Duration,
        lease: Lease,
    ) -> Result<(), StoreError>;

    /// Removes the entry under this key, if there is one.
    ///
    /// # Errors
    ///
    /// A [`StoreError`] where the store cannot be asked.
    async fn remove(&self, key: &StoreKey) -> Result<(), StoreError>;

    /// Takes a lease on this key for `ttl`, or yields nothing where someone else has one.
    ///
    /// # Errors
    ///
    /// A [`StoreError`] where the store cannot be asked.
    async fn lease(&self, key: &StoreKey, ttl: Duration) -> Result<Option<Lease>, StoreError>;

    /// Gives a lease back early. One that has ended or that someone else has by now is left alone.
    ///
    /// # Errors
    ///
    /// A [`StoreError`] where the store cannot be asked.
    async fn release(&self, key: &StoreKey, lease: Lease) -> Result<(), StoreError>;
}

/// The name of a key in a store: a hash in hexadecimal digits, which tells nothing of client, issuer or request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoreKey(pub(crate) String);

impl StoreKey {
    /// The name: 64 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a store holds under a key.
#[derive(Clone)]
pub struct StoreEntry {
    bytes: Vec<u8>,
    ttl: Option<Duration>,
}

impl StoreEntry {
    /// An entry that was put, and the time that it still has to live where the store can tell.
    pub fn new(bytes: Vec<u8>, ttl: Option<Duration>) -> Self {
        Self { bytes, ttl }
    }

    /// The bytes that were put.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How long it still has to live, by the store's clock.
    pub fn ttl(&self) -> Option<Duration> {
        self.ttl
    }
}

impl Drop for StoreEntry {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.bytes);
    }
}

impl fmt::Debug for StoreEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreEntry")
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}

/// The right to fetch a token for a key, among all processes that share a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    fence: u64,
}

impl Lease {
    /// A lease with this fence number, which is higher than that of every lease on the key before.
    pub fn new(fence: u64) -> Self {
        Self { fence }
    }

    /// Its fence number.
    pub fn fence(&self) -> u64 {
        self.fence
    }
}

/// A store could not do what was asked. The text holds no token and no secret.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(String);

impl StoreError {
    /// An error with this text.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}
