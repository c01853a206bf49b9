//! Tokens that are kept between runs: a second level of the cache on the files of one user.
//!
//! A folder that only its user may enter holds, for each key, the entry (`KEY.token`), the record of its leases
//! (`KEY.lock`) and a file that a lease's holder keeps locked (`KEY.held`). Entries are replaced by renaming, so that
//! a reader sees one or the other, and never a part. Decisions about a key are taken under a lock on its record; no
//! lock is ever waited for without an end. A holder that dies gives its lease up at once, since the system drops its
//! locks; one that stands still loses it when its time has passed.
//!
//! Tokens lie in clear, as a login's session does in other tools' caches: whoever can read this user's files can read
//! the client's secret too. A name that others chose, a link, another user's file or a readable one is passed over.

mod entry;
mod files;
mod list;
mod record;

use std::{
    collections::HashMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use hallpass::{
    cache::{Lease, LeaseOutcome, StoreEntry, StoreError, StoreKey, TokenStore},
    core::{Clock, SystemClock, async_trait},
};

use entry::Head;
pub(crate) use entry::Label;
use files::Locked;
pub(crate) use list::{Kept, clear, list};
use record::{Guard, Record};

/// How long the lock on a record is waited for: well within what the cache gives a store.
const PATIENCE: Duration = Duration::from_millis(80);
const LOOK: Duration = Duration::from_millis(1);

/// A store on the files of one user. Clones share their leases.
#[derive(Clone)]
pub(crate) struct FileTokenStore(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    label: Label,
    clock: Arc<dyn Clock>,
    /// The leases of this process, each with its locked file.
    held: Mutex<HashMap<StoreKey, (Lease, Locked)>>,
}

impl FileTokenStore {
    /// A store in this folder, which is made when something is put. `label` is what a listing tells of its entries.
    pub(crate) fn new(folder: PathBuf, label: Label) -> Self {
        Self::with_clock(folder, label, SystemClock)
    }

    pub(crate) fn with_clock(folder: PathBuf, label: Label, clock: impl Clock + 'static) -> Self {
        Self(Arc::new(Inner {
            folder,
            label,
            clock: Arc::new(clock),
            held: Mutex::default(),
        }))
    }
}

impl Inner {
    fn held(&self) -> MutexGuard<'_, HashMap<StoreKey, (Lease, Locked)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, key: &StoreKey, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", key.request()))
    }

    /// The record of this key, once its lock is had.
    async fn guard(&self, key: &StoreKey) -> Result<Guard, StoreError> {
        let path = self.path(key, "lock");
        let mut waited = Duration::ZERO;
        loop {
            match Guard::try_new(&path).map_err(failed)? {
                Some(guard) => return Ok(guard),
                None if waited < PATIENCE => tokio::time::sleep(LOOK).await,
                None => return Err(StoreError::new("the record of a token's leases is in use")),
            }
            waited += LOOK;
        }
    }

    /// The head of the entry that is there.
    fn head(&self, key: &StoreKey) -> io::Result<Option<Head>> {
        let bytes = files::read(&self.path(key, "token"))?;
        Ok(bytes.and_then(|bytes| entry::head(&bytes, key.request())))
    }

    /// Does someone who lives have a lease in force?
    fn is_leased(&self, key: &StoreKey, record: Record, now: SystemTime) -> io::Result<bool> {
        Ok(record.in_force(now) && files::is_locked(&self.path(key, "held"))?)
    }

    /// The file that the holder of the lease keeps locked, locked by us.
    fn hold(&self, key: &StoreKey) -> io::Result<Locked> {
        let path = self.path(key, "held");
        if let Some(locked) = Locked::try_new(files::open_lock(&path)?)? {
            return Ok(locked);
        }
        // By one who stands still: its file goes, and a new one takes the name.
        files::set_aside(&path)?;
        let locked = Locked::try_new(files::open_lock(&path)?)?;
        locked.ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }
}

// A folder or file of this user's is on this machine, or as near as any other file of this user's: nothing here is
// sent to another thread, which would cost a hit more than its two reads.
#[async_trait]
impl TokenStore for FileTokenStore {
    async fn look_up(&self, key: &StoreKey) -> Result<Option<StoreEntry>, StoreError> {
        let inner = &self.0;
        if !files::is_private_folder(&inner.folder).map_err(failed)? {
            return Ok(None);
        }
        let Some(bytes) = files::read(&inner.path(key, "token")).map_err(failed)? else {
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
        files::make_private_folder(&inner.folder).map_err(failed)?;
        let guard = inner.guard(key).await?;
        let now = inner.clock.wall();
        let record = guard.read().map_err(failed)?;
        let there = inner.head(key).map_err(failed)?;
        let there = there.filter(|head| head.left(now).is_some());
        let fence = if let Some(lease) = lease {
            let fence = lease.fence();
            let newer = there.is_some_and(|head| head.fence > fence);
            if newer || record.lease > fence && record.in_force(now) {
                return Ok(());
            }
            fence
        } else {
            if there.is_some_and(|head| head.left(now) >= Some(ttl)) {
                return Ok(());
            }
            let record = record.draw(now);
            guard.write(record).map_err(failed)?;
            record.fence
        };
        let bytes = entry::encode(key.request(), &inner.label, entry, fence, ttl, now);
        files::replace(&inner.path(key, "token"), &bytes).map_err(failed)?;
        drop(guard);
        list::sweep(&inner.folder, now);
        Ok(())
    }

    async fn remove(&self, key: &StoreKey, fence: u64) -> Result<(), StoreError> {
        let inner = &self.0;
        if !files::is_private_folder(&inner.folder).map_err(failed)? {
            return Ok(());
        }
        let _guard = inner.guard(key).await?;
        match inner.head(key).map_err(failed)? {
            Some(head) if head.fence == fence => {
                files::remove(&inner.path(key, "token")).map_err(failed)
            }
            _ => Ok(()),
        }
    }

    async fn lease(&self, key: &StoreKey, ttl: Duration) -> Result<LeaseOutcome, StoreError> {
        let inner = &self.0;
        files::make_private_folder(&inner.folder).map_err(failed)?;
        let now = inner.clock.wall();
        let path = inner.path(key, "lock");
        // Those who wait ask again and again: they must not be in the holder's way.
        let record = Record::peek(&path).map_err(failed)?;
        if inner.is_leased(key, record, now).map_err(failed)? {
            return Ok(record.holder());
        }
        // Someone else is about to decide the same.
        let Some(guard) = Guard::try_new(&path).map_err(failed)? else {
            return Ok(LeaseOutcome::Held { fence: None });
        };
        let record = guard.read().map_err(failed)?;
        if inner.is_leased(key, record, now).map_err(failed)? {
            return Ok(record.holder());
        }
        let file = inner.hold(key).map_err(failed)?;
        let record = record.next(now, ttl);
        guard.write(record).map_err(failed)?;
        let lease = Lease::new(record.fence);
        inner.held().insert(key.clone(), (lease.clone(), file));
        Ok(LeaseOutcome::Granted(lease))
    }

    async fn extend(
        &self,
        key: &StoreKey,
        lease: &Lease,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        let inner = &self.0;
        let guard = inner.guard(key).await?;
        let now = inner.clock.wall();
        let record = guard.read().map_err(failed)?;
        if record.lease != lease.fence() || !record.in_force(now) {
            return Ok(false);
        }
        guard.write(record.extended(now, ttl)).map_err(failed)?;
        Ok(true)
    }

    async fn release(&self, key: &StoreKey, lease: &Lease) -> Result<(), StoreError> {
        let inner = &self.0;
        let released = match inner.guard(key).await {
            Ok(guard) => guard.end(lease.fence()).map_err(failed),
            Err(error) => Err(error),
        };
        let mut held = inner.held();
        if held.get(key).is_some_and(|(known, _)| known == lease) {
            held.remove(key);
        }
        drop(held);
        released
    }
}

impl fmt::Debug for FileTokenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileTokenStore")
            .field("folder", &self.0.folder)
            .finish_non_exhaustive()
    }
}

/// What went wrong with a file; its path tells nothing that its user does not know.
#[allow(clippy::needless_pass_by_value)] // For `map_err`.
fn failed(error: io::Error) -> StoreError {
    StoreError::new(format!("the folder of kept tokens cannot be used: {error}"))
}

/// Is this the name of an entry? Then the key's.
fn key_of(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?.strip_suffix(".token")?;
    files::is_key(name).then_some(name)
}

#[cfg(test)]
mod tests;
