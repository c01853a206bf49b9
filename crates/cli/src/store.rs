//! The file-based token store: a second cache level shared by the runs of one user.
//!
//! A directory that only its user can access holds, for each key, the entry (`KEY.token`), the record of its leases
//! (`KEY.lock`) and a file that the holder of a lease locks (`KEY.held`). Entries are replaced by renaming, so a reader
//! sees either the old or the new one, never a part. Decisions about a key are made under a lock on its record, and
//! every wait for a lock has a timeout. If a holder dies, its lease is released at once, because the system drops its
//! locks; if it hangs, the lease expires.
//!
//! Tokens are stored in clear text, like sessions in other tools' caches: anyone who can read this user's files can
//! read the client's secret too. A link, another user's file and a file that others can read are ignored.

mod entry;
mod files;
mod list;
mod record;

use std::{
    collections::HashMap,
    fmt, io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hallpass::{
    Clock, SystemClock, async_trait,
    cache::{Lease, LeaseOutcome, StoreEntry, StoreError, StoreKey, TokenStore},
};

use entry::EntryHeader;
pub(crate) use entry::Label;
use files::FileLock;
pub(crate) use list::{EntryFile, clear, list};
use record::{Guard, Record};

/// The timeout for the lock on a record, well below what the cache allows a store.
const LOCK_TIMEOUT: Duration = Duration::from_millis(80);
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// A token store in files of one user. Clones share their leases.
#[derive(Clone)]
pub(crate) struct FileTokenStore(Arc<Inner>);

struct Inner {
    directory: PathBuf,
    label: Label,
    clock: Arc<dyn Clock>,
    /// The leases of this process, each with its locked file.
    leases: Mutex<HashMap<StoreKey, (Lease, FileLock)>>,
}

impl FileTokenStore {
    /// Creates a store in this directory, which is created on the first write. `label` describes the entries in
    /// listings.
    pub(crate) fn new(directory: PathBuf, label: Label) -> Self {
        Self::with_clock(directory, label, SystemClock)
    }

    pub(crate) fn with_clock(
        directory: PathBuf,
        label: Label,
        clock: impl Clock + 'static,
    ) -> Self {
        Self(Arc::new(Inner {
            directory,
            label,
            clock: Arc::new(clock),
            leases: Mutex::default(),
        }))
    }
}

impl Inner {
    fn leases(&self) -> MutexGuard<'_, HashMap<StoreKey, (Lease, FileLock)>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, key: &StoreKey, ending: &str) -> PathBuf {
        self.directory.join(format!("{}.{ending}", key.request()))
    }

    /// Waits for the lock on the key's record.
    async fn lock_record(&self, key: &StoreKey) -> Result<Guard, StoreError> {
        let path = self.path(key, "lock");
        let mut waited = Duration::ZERO;
        loop {
            match Guard::try_new(&path).map_err(store_error)? {
                Some(guard) => return Ok(guard),
                None if waited < LOCK_TIMEOUT => tokio::time::sleep(POLL_INTERVAL).await,
                None => {
                    return Err(StoreError::new(
                        "the lease record is locked by another process",
                    ));
                }
            }
            waited += POLL_INTERVAL;
        }
    }

    /// Returns the header of the current entry.
    fn header(&self, key: &StoreKey) -> io::Result<Option<EntryHeader>> {
        let bytes = files::read(&self.path(key, "token"))?;
        Ok(bytes.and_then(|bytes| entry::header(&bytes, key.request())))
    }

    /// Returns true if a lease is in force and its holder is alive.
    fn is_leased(&self, key: &StoreKey, record: Record) -> io::Result<bool> {
        // Read after the record: by an earlier reading, a lease that began since would lie in the future.
        let now = self.clock.wall();
        Ok(record.in_force(now) && files::is_locked(&self.path(key, "held"))?)
    }

    /// Locks the file that marks this process as the holder of the lease.
    fn lock_holder_file(&self, key: &StoreKey) -> io::Result<FileLock> {
        let path = self.path(key, "held");
        if let Some(locked) = FileLock::try_new(files::open_lock(&path)?)? {
            return Ok(locked);
        }
        // The holder hangs: its file is moved away, and a new one takes its name.
        files::move_away(&path)?;
        let locked = FileLock::try_new(files::open_lock(&path)?)?;
        locked.ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }
}

// The files are local, or as close as this user's other files. Calls stay on this thread: moving them to another one
// would cost a cache hit more than its two reads.
#[async_trait]
impl TokenStore for FileTokenStore {
    async fn look_up(&self, key: &StoreKey) -> Result<Option<StoreEntry>, StoreError> {
        let inner = &self.0;
        if !files::is_private_directory(&inner.directory).map_err(store_error)? {
            return Ok(None);
        }
        let Some(bytes) = files::read(&inner.path(key, "token")).map_err(store_error)? else {
            return Ok(None);
        };
        Ok(entry::decode(&bytes, key.request(), inner.clock.wall()))
    }

    async fn put(
        &self,
        key: &StoreKey,
        entry: &[u8],
        ttl: Duration,
        lease: Option<&Lease>,
    ) -> Result<(), StoreError> {
        let inner = &self.0;
        files::make_private_directory(&inner.directory).map_err(store_error)?;
        let guard = inner.lock_record(key).await?;
        let now = inner.clock.wall();
        let record = guard.read().map_err(store_error)?;
        let there = inner.header(key).map_err(store_error)?;
        let there = there.filter(|header| header.left(now).is_some());
        let fence = if let Some(lease) = lease {
            let fence = lease.fence();
            let newer = there.is_some_and(|header| header.fence > fence);
            if newer || record.lease > fence && record.in_force(now) {
                return Ok(());
            }
            fence
        } else {
            if there.is_some_and(|header| header.left(now) >= Some(ttl)) {
                return Ok(());
            }
            let record = record.next_fence(now);
            guard.write(record).map_err(store_error)?;
            record.fence
        };
        let bytes = entry::encode(key.request(), &inner.label, entry, fence, ttl, now);
        files::replace(&inner.path(key, "token"), &bytes).map_err(store_error)?;
        drop(guard);
        list::sweep(&inner.directory, now);
        Ok(())
    }

    async fn remove(&self, key: &StoreKey, fence: u64) -> Result<(), StoreError> {
        let inner = &self.0;
        if !files::is_private_directory(&inner.directory).map_err(store_error)? {
            return Ok(());
        }
        let _guard = inner.lock_record(key).await?;
        match inner.header(key).map_err(store_error)? {
            Some(header) if header.fence == fence => {
                files::remove(&inner.path(key, "token")).map_err(store_error)
            }
            _ => Ok(()),
        }
    }

    async fn lease(&self, key: &StoreKey, ttl: Duration) -> Result<LeaseOutcome, StoreError> {
        let inner = &self.0;
        files::make_private_directory(&inner.directory).map_err(store_error)?;
        let path = inner.path(key, "lock");
        // Waiters poll and must not get in the holder's way.
        let record = Record::peek(&path).map_err(store_error)?;
        if inner.is_leased(key, record).map_err(store_error)? {
            return Ok(record.holder());
        }
        // Another process is about to decide the same.
        let Some(guard) = Guard::try_new(&path).map_err(store_error)? else {
            return Ok(LeaseOutcome::Held { fence: None });
        };
        let record = guard.read().map_err(store_error)?;
        if inner.is_leased(key, record).map_err(store_error)? {
            return Ok(record.holder());
        }
        let file = inner.lock_holder_file(key).map_err(store_error)?;
        let record = record.next_lease(inner.clock.wall(), ttl);
        guard.write(record).map_err(store_error)?;
        let lease = Lease::new(record.fence);
        inner.leases().insert(key.clone(), (lease.clone(), file));
        Ok(LeaseOutcome::Granted(lease))
    }

    async fn extend(
        &self,
        key: &StoreKey,
        lease: &Lease,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        let inner = &self.0;
        let guard = inner.lock_record(key).await?;
        let now = inner.clock.wall();
        let record = guard.read().map_err(store_error)?;
        if record.lease != lease.fence() || !record.in_force(now) {
            return Ok(false);
        }
        guard
            .write(record.extended(now, ttl))
            .map_err(store_error)?;
        Ok(true)
    }

    async fn release(&self, key: &StoreKey, lease: &Lease) -> Result<(), StoreError> {
        let inner = &self.0;
        let released = match inner.lock_record(key).await {
            Ok(guard) => guard.end(lease.fence()).map_err(store_error),
            Err(error) => Err(error),
        };
        let mut leases = inner.leases();
        if leases.get(key).is_some_and(|(known, _)| known == lease) {
            leases.remove(key);
        }
        drop(leases);
        released
    }
}

impl fmt::Debug for FileTokenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileTokenStore")
            .field("directory", &self.0.directory)
            .finish_non_exhaustive()
    }
}

/// Describes a failed file operation. The path reveals nothing that the user does not know.
#[allow(clippy::needless_pass_by_value)] // For `map_err`.
fn store_error(error: io::Error) -> StoreError {
    StoreError::new(format!("the token cache directory cannot be used: {error}"))
}

#[cfg(test)]
mod tests;
