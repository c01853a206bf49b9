use std::{
    fmt,
    fs::{File, Metadata, OpenOptions},
    io::{self, Read as _},
    path::{Path, PathBuf},
};
#[cfg(feature = "vault")]
use std::{sync::mpsc, thread, time::Duration};

use tokio::runtime::Handle;

use crate::lock_retry::retry_while_locked;

/// Reads a file at a user-supplied path, on a blocking thread: see [`RegularFile`] for the files that are refused.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let error = hallpass_secrets::read_file("/no/such/ca.pem", 1 << 20).await.unwrap_err();
/// assert!(error.is_missing());
/// assert_eq!(format!("`ca_file` {error}"), "`ca_file` is missing; check the path and the mount");
/// # }
/// ```
///
/// # Errors
///
/// The errors of [`RegularFile::open`] and [`RegularFile::read`].
///
/// # Cancellation
///
/// Dropping the future returns at once, so that a timeout around it holds. If the file system does not respond, the
/// thread keeps running until it does. Outside of a tokio runtime the file is read on the caller's thread.
pub async fn read_file(
    path: impl Into<PathBuf>,
    max_bytes: usize,
) -> Result<Vec<u8>, UnreadableFile> {
    let path = path.into();
    let work = move || RegularFile::open(path)?.read(max_bytes);
    match Handle::try_current() {
        // Fails only if the work panicked, which it does not, or the runtime shuts down.
        Ok(runtime) => runtime.spawn_blocking(work).await.unwrap_or_else(|_| {
            Err(UnreadableFile(ReadErrorKind::Failed(
                "the runtime is shutting down".to_owned(),
            )))
        }),
        Err(_) => work(),
    }
}

/// Reads a file for a caller that is not async, and blocks for at most `timeout`.
#[cfg(feature = "vault")]
pub(crate) fn read_file_within(
    timeout: Duration,
    path: PathBuf,
    max_bytes: usize,
) -> Result<Vec<u8>, UnreadableFile> {
    within(timeout, move || RegularFile::open(path)?.read(max_bytes))
}

/// Runs `work` with a timeout, and leaves the thread running on timeout: a blocked system call cannot be cancelled.
#[cfg(feature = "vault")]
fn within<T: Send + 'static>(
    timeout: Duration,
    work: impl FnOnce() -> Result<T, UnreadableFile> + Send + 'static,
) -> Result<T, UnreadableFile> {
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new().spawn(move || {
        // Fails only if the caller no longer waits.
        let _ = sender.send(work());
    })?;
    receiver.recv_timeout(timeout).unwrap_or_else(|_| {
        Err(UnreadableFile(ReadErrorKind::Failed(format!(
            "the file system did not respond within {timeout:?}"
        ))))
    })
}

/// An open file that is neither a directory, a FIFO, a socket nor a device.
///
/// For files whose paths users set: configuration, certificates, keys. [`FileSecret`](crate::FileSecret) opens its
/// file this way. [`metadata`](Self::metadata) describes the open file, even if its path leads elsewhere by now.
///
/// ```
/// use hallpass_secrets::RegularFile;
///
/// let error = RegularFile::open(std::env::temp_dir()).unwrap_err();
/// assert!(error.to_string().contains("not a regular file"));
/// ```
#[derive(Debug)]
pub struct RegularFile {
    file: File,
    metadata: Metadata,
}

impl RegularFile {
    /// Opens a file for reading.
    ///
    /// A FIFO without a writer is refused at once. A missing file is retried once at once, since Kubernetes replaces
    /// the directory that a link leads to; on Windows, a file that another program has locked is retried for 300 ms.
    /// The call blocks if the file system does: use a blocking thread, or [`read_file`].
    ///
    /// # Errors
    ///
    /// An [`UnreadableFile`] if the file is missing, may not be read, or is not a regular file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, UnreadableFile> {
        let file = retry_while_locked(|| open(path.as_ref()))?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(UnreadableFile(ReadErrorKind::NotRegular));
        }
        Ok(Self { file, metadata })
    }

    /// Returns the metadata of the open file.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Reads the whole file.
    ///
    /// # Errors
    ///
    /// An [`UnreadableFile`] if the file is longer than `max_bytes` or reading fails.
    pub fn read(self, max_bytes: usize) -> Result<Vec<u8>, UnreadableFile> {
        let mut bytes = Vec::new();
        let limit = u64::try_from(max_bytes).map_or(u64::MAX, |max| max.saturating_add(1));
        self.read_up_to(limit, &mut bytes)?;
        if bytes.len() > max_bytes {
            return Err(UnreadableFile(ReadErrorKind::TooLong(max_bytes)));
        }
        Ok(bytes)
    }

    /// Appends at most `limit` bytes to the buffer.
    pub(crate) fn read_up_to(self, limit: u64, bytes: &mut Vec<u8>) -> Result<(), UnreadableFile> {
        self.file.take(limit).read_to_end(bytes)?;
        Ok(())
    }
}

/// The reason why a file was not read, written to follow the file's name: "is missing; check the path and the mount".
///
/// It holds nothing of the file's content.
#[derive(Clone, Debug)]
pub struct UnreadableFile(ReadErrorKind);

#[derive(Clone, Debug)]
enum ReadErrorKind {
    Missing,
    NotRegular,
    AccessDenied,
    TooLong(usize),
    Failed(String),
}

impl UnreadableFile {
    /// Returns true if there is no such file.
    pub fn is_missing(&self) -> bool {
        matches!(self.0, ReadErrorKind::Missing)
    }

    pub(crate) fn not_regular() -> Self {
        Self(ReadErrorKind::NotRegular)
    }
}

impl From<io::Error> for UnreadableFile {
    fn from(error: io::Error) -> Self {
        Self(match error.kind() {
            io::ErrorKind::NotFound => ReadErrorKind::Missing,
            io::ErrorKind::IsADirectory => ReadErrorKind::NotRegular,
            io::ErrorKind::PermissionDenied => ReadErrorKind::AccessDenied,
            _ => ReadErrorKind::Failed(error.to_string()),
        })
    }
}

impl fmt::Display for UnreadableFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            ReadErrorKind::Missing => f.write_str("is missing; check the path and the mount"),
            ReadErrorKind::NotRegular => f.write_str(
                "is not a regular file but a directory, a FIFO or a device; give the path of a file",
            ),
            ReadErrorKind::AccessDenied => {
                f.write_str("cannot be read by this user; check its owner and its permissions")
            }
            ReadErrorKind::TooLong(max) => {
                write!(
                    f,
                    "is longer than {max} bytes; check that it is the right file"
                )
            }
            ReadErrorKind::Failed(why) => write!(f, "cannot be read: {why}"),
        }
    }
}

impl std::error::Error for UnreadableFile {}

/// Opens without blocking: a FIFO would wait for its writer.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;

        use rustix::fs::OFlags;

        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
        options.custom_flags(flags.cast_signed());
    }
    match options.open(path) {
        // The link was resolved to a directory that Kubernetes has just replaced.
        Err(error) if error.kind() == io::ErrorKind::NotFound => options.open(path),
        // Windows opens no directory, and reports a lack of permission.
        Err(_) if path.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        // A socket cannot be opened.
        #[cfg(unix)]
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {
            Err(io::ErrorKind::IsADirectory.into())
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Folder;

    #[tokio::test]
    async fn a_file_is_read_up_to_the_maximum() {
        let folder = Folder::new();
        let path = folder.write("ca.pem", "12345");
        assert_eq!(read_file(&path, 5).await.unwrap(), b"12345");
        let error = read_file(&path, 4).await.unwrap_err();
        assert!(!error.is_missing());
        let error = error.to_string();
        assert!(error.starts_with("is longer than 4 bytes"), "{error}");
        assert_eq!(RegularFile::open(&path).unwrap().metadata().len(), 5);
        let missing = read_file(folder.path().join("missing"), 5).await;
        assert!(missing.unwrap_err().is_missing());
    }

    #[cfg(feature = "vault")]
    #[test]
    fn a_file_system_that_does_not_respond_has_a_deadline() {
        let folder = Folder::new();
        let path = folder.write("ca.pem", "12345");
        let read = read_file_within(Duration::from_secs(60), path, 5);
        assert_eq!(read.unwrap(), b"12345");
        let (open, gate) = mpsc::channel::<()>();
        let late = within(Duration::ZERO, move || {
            let _ = gate.recv();
            Ok(())
        });
        let error = late.unwrap_err().to_string();
        assert!(error.contains("did not respond within 0ns"), "{error}");
        drop(open);
    }

    /// Nothing here blocks: the FIFO has no writer, and the device no end.
    #[cfg(unix)]
    #[tokio::test]
    async fn anything_but_a_file_is_refused_without_blocking() {
        let folder = Folder::new();
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let fifo = folder.fifo("fifo");
        for path in [folder.path(), &fifo, &socket, Path::new("/dev/zero")] {
            let error = read_file(path, usize::MAX).await.unwrap_err().to_string();
            assert!(
                error.starts_with("is not a regular file"),
                "{path:?}: {error}"
            );
        }
    }
}
