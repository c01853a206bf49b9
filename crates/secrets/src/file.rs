#[cfg(unix)]
use std::sync::atomic::{AtomicBool, Ordering};
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use hallpass_core::{Clock, Secret, SecretError, SecretSource, SystemClock, Timestamp};
use tokio::runtime::Handle;

use crate::{RegularFile, UnreadableFile, blocking::Turn, content};

mod store;

/// Timeout for the file system, for reading and for saving.
const FILE_TIMEOUT: Duration = Duration::from_secs(10);

/// A secret in a file: mounted by Kubernetes or Docker, written by an agent, or replaced by an operator.
///
/// The file is read at each call, that is once for each token request, so a rotated secret is used from the next
/// request on. It is read whole, from one open handle, on a single blocking thread and with a timeout of 10 s, so that
/// an unresponsive network file system blocks nothing else. A byte order mark and one trailing line end are removed.
/// An empty file, one of more than 64 KiB, one that is not UTF-8 and anything but a regular file are errors. A missing
/// file is retried once at once, since Kubernetes may be swapping a symbolic link.
///
/// Replace the file by renaming another one over it: a file written in place may be read half written.
///
/// On Unix a file that everyone may read or write is used, with one warning; see [`strict`](Self::strict). On Windows
/// permissions are not checked, and a file that another program has locked is retried for a third of a second.
///
/// It is also a [`SecretStore`](hallpass_core::SecretStore), for refresh tokens that rotate: see [below](Self#saving).
///
/// ```
/// use hallpass_core::SecretSource;
/// use hallpass_secrets::FileSecret;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let path = std::env::temp_dir().join(format!("hallpass-doc-{}", std::process::id()));
/// std::fs::write(&path, "first\n")?;
/// let source = FileSecret::new(&path);
/// assert_eq!(source.secret().await?.expose(), "first");
/// std::fs::write(&path, "second\n")?;
/// assert_eq!(source.secret().await?.expose(), "second");
/// # std::fs::remove_file(&path)?;
/// # Ok(())
/// # }
/// ```
///
/// # The epoch
///
/// The epoch rises when a reading differs from the previous one. A cache that repeats a refusal reads no secret, so a
/// call to `epoch` triggers a read in the background, at most once per interval (see
/// [`check_interval`](Self::check_interval)), and the next call returns the result.
///
/// # Saving
///
/// The secret is written to a new file in the same directory, synced to disk, and renamed over the old one, so that a
/// crash leaves either the old or the new one. Only the owner may read and write the new file (0600). If it replaces
/// another one, it keeps that one's owner, group and mode, without the permissions for others. On Windows it gets the
/// default permissions of its directory. The directory must be writable. A path that is a symbolic link is refused:
/// Kubernetes mounts are symbolic links, and read-only.
#[derive(Clone)]
pub struct FileSecret(Arc<Inner>);

#[derive(Clone)]
struct Settings {
    path: PathBuf,
    strict: bool,
    check_interval: Duration,
    clock: Arc<dyn Clock>,
    open: Arc<OpenFile>,
}

type OpenFile = dyn Fn(&Path) -> Result<RegularFile, UnreadableFile> + Send + Sync;

struct Inner {
    settings: Settings,
    turn: Turn,
    last: Mutex<LastReading>,
    /// Whether the warning about permissions was logged.
    #[cfg(unix)]
    warned: AtomicBool,
}

#[derive(Default)]
struct LastReading {
    reading: Reading,
    at: Timestamp,
    epoch: u64,
}

#[derive(Default)]
enum Reading {
    #[default]
    None,
    Failed,
    Read(Secret),
}

impl FileSecret {
    /// Creates a source for the file at this path. Nothing is read yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::with(Settings {
            path: path.into(),
            strict: false,
            check_interval: Duration::from_secs(1),
            clock: Arc::new(SystemClock),
            open: Arc::new(|path| RegularFile::open(path)),
        })
    }

    /// Refuses a file that everyone may read or write instead of logging a warning. Has no effect on systems without
    /// Unix permissions.
    #[must_use]
    pub fn strict(self) -> Self {
        self.change(|settings| settings.strict = true)
    }

    /// Sets the minimum interval between two readings for the [epoch](Self#the-epoch). Default: 1 s.
    #[must_use]
    pub fn check_interval(self, interval: Duration) -> Self {
        self.change(|settings| settings.check_interval = interval)
    }

    /// Sets the clock, for tests.
    #[must_use]
    pub fn clock(self, clock: impl Clock + 'static) -> Self {
        self.change(|settings| settings.clock = Arc::new(clock))
    }

    /// Returns the file's path.
    pub fn path(&self) -> &Path {
        &self.0.settings.path
    }

    fn with(settings: Settings) -> Self {
        Self(Arc::new(Inner {
            settings,
            turn: Turn::default(),
            last: Mutex::default(),
            #[cfg(unix)]
            warned: AtomicBool::new(false),
        }))
    }

    fn change(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.0.settings.clone();
        change(&mut settings);
        Self::with(settings)
    }
}

#[async_trait]
impl SecretSource for FileSecret {
    async fn secret(&self) -> Result<Secret, SecretError> {
        let inner = self.0.clone();
        let work = move || inner.reread();
        self.0.turn.run(FILE_TIMEOUT, &self.0.place(), work).await
    }

    fn epoch(&self) -> u64 {
        let inner = &self.0;
        // Returns the epoch as of this call, however fast the read is.
        let epoch = inner.last().epoch;
        if inner.is_due()
            && let Ok(runtime) = Handle::try_current()
            && let Some(turn) = inner.turn.try_take()
        {
            let inner = inner.clone();
            runtime.spawn_blocking(move || {
                // An error is reported by the next call for the secret.
                let _ = inner.reread();
                drop(turn);
            });
        }
        epoch
    }
}

impl fmt::Debug for FileSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSecret")
            .field("path", &self.path())
            .field("strict", &self.0.settings.strict)
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// Returns true if the file was read before, and not within the interval. A file that was never read has no epoch
    /// to raise.
    fn is_due(&self) -> bool {
        let last = self.last();
        let age = self.settings.clock.now().saturating_since(last.at);
        !matches!(last.reading, Reading::None) && age >= self.settings.check_interval
    }

    /// Reads the file and raises the epoch if it changed.
    fn reread(&self) -> Result<Secret, SecretError> {
        let result = self.read();
        let reading = match &result {
            Ok(secret) => Reading::Read(secret.clone()),
            Err(_) => Reading::Failed,
        };
        let mut last = self.last();
        let changed = match (&last.reading, &reading) {
            (Reading::Read(before), Reading::Read(now)) => !before.matches(now),
            // A secret that appears also ends a cached failure.
            (Reading::Failed, Reading::Read(_)) => true,
            _ => false,
        };
        if changed {
            last.epoch += 1;
            tracing::info!(path = ?self.settings.path, epoch = last.epoch, "secret file changed");
        }
        last.at = self.settings.clock.now();
        last.reading = reading;
        result
    }

    fn read(&self) -> Result<Secret, SecretError> {
        let place = self.place();
        let failed = |why: UnreadableFile| SecretError::new(format!("{place} {why}"));
        let file = (self.settings.open)(&self.settings.path).map_err(failed)?;
        self.check_permissions(file.metadata(), &place)?;
        let mut bytes = content::buffer();
        file.read_up_to(content::READ_BYTES, &mut bytes)
            .map_err(failed)?;
        content::secret(&bytes, &place)
    }

    #[cfg(unix)]
    fn check_permissions(
        &self,
        metadata: &std::fs::Metadata,
        place: &str,
    ) -> Result<(), SecretError> {
        use std::os::unix::fs::MetadataExt as _;

        const EVERYONE: u32 = 0o006;
        let mode = metadata.mode() & 0o7777;
        if mode & EVERYONE == 0 {
            return Ok(());
        }
        if self.settings.strict {
            return Err(SecretError::new(format!(
                "{place} has mode {mode:04o}, so that every user may read or write it; run `chmod o-rw` on it"
            )));
        }
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                path = ?self.settings.path,
                mode = format_args!("{mode:04o}"),
                "secret file accessible to every user"
            );
        }
        Ok(())
    }

    #[cfg(not(unix))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps)] // Only Unix has such permissions.
    fn check_permissions(&self, _: &std::fs::Metadata, _: &str) -> Result<(), SecretError> {
        Ok(())
    }

    fn place(&self) -> String {
        format!("the secret file {}", content::shown(&self.settings.path))
    }

    fn last(&self) -> MutexGuard<'_, LastReading> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
