//! Files and directories that are private to the user.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use fs4::{FileExt, TryLockError};
use zeroize::Zeroizing;

/// The longest accepted file: a token may have 32 KiB.
const MAX_BYTES: u64 = 256 << 10;

/// Returns true if the directory exists and is private to this user. Changes nothing.
///
/// # Errors
///
/// Fails for a link, another user's directory, and one that others can write, because it is not ours to change.
pub(super) fn is_private_directory(directory: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(directory) {
        Ok(found) => private_directory(&found).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Creates the directory and its parents if they do not exist.
pub(super) fn make_private_directory(directory: &Path) -> io::Result<()> {
    if is_private_directory(directory)? {
        return Ok(());
    }
    let builder = |recursive| {
        let mut builder = DirBuilder::new();
        builder.recursive(recursive);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder
    };
    if let Some(parent) = directory.parent() {
        builder(true).create(parent)?;
    }
    match builder(false).create(directory) {
        // Another run was first, or something else was created there meanwhile.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            is_private_directory(directory).map(|_| ())
        }
        outcome => outcome,
    }
}

#[cfg(unix)]
fn private_directory(found: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;

    is_directory(found)?;
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("it belongs to another user"));
    }
    // The files in it are private to this user regardless of the directory's mode, so only write access matters.
    if found.mode() & 0o022 != 0 {
        return Err(io::Error::other(
            "other users can write to it; run `chmod go-w` on it, or remove it",
        ));
    }
    Ok(())
}

/// Checks only the type: on other systems a user's directories are private unless shared on purpose.
#[cfg(not(unix))]
fn private_directory(found: &Metadata) -> io::Result<()> {
    is_directory(found)
}

fn is_directory(found: &Metadata) -> io::Result<()> {
    if found.is_symlink() {
        return Err(io::Error::other("it is a symbolic link"));
    }
    if found.is_dir() {
        Ok(())
    } else {
        Err(io::ErrorKind::NotADirectory.into())
    }
}

/// Reads the file; `None` if it does not exist or was not written by us: a link, a pipe, another user's file, one that
/// others can access, or one that is too long.
pub(super) fn read(path: &Path) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    read_if(path, is_mine_alone)
}

/// Does the same as [`read`], and reads a file that others can access too.
pub(super) fn read_exposed(path: &Path) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    read_if(path, is_mine)
}

fn read_if(
    path: &Path,
    is_accepted: fn(&Metadata) -> bool,
) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut options = OpenOptions::new();
    options.read(true);
    let file = match open_no_link(path, &mut options) {
        Ok(file) => file,
        Err(error) if is_unfit(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let found = file.metadata()?;
    if !found.is_file() || found.len() > MAX_BYTES || !is_accepted(&found) {
        return Ok(None);
    }
    // Read with the full capacity: a growing buffer would leave copies of the token behind.
    let length = usize::try_from(found.len()).unwrap_or_default();
    let mut bytes = Zeroizing::new(Vec::with_capacity(length + 1));
    file.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Replaces the file atomically. Anything of that name is replaced, including a link.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = temporary_path(path)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    let mut file = open_no_link(&new, &mut options)?;
    let written = file.write_all(bytes);
    drop(file);
    let replaced = written.and_then(|()| rename(&new, path));
    if replaced.is_err() {
        // The disk may be full: no partial file is left. The first error is the one to report.
        let _ = remove(&new);
    }
    replaced
}

/// Renames a file that may be open elsewhere, and removes it. On Windows an open file keeps its name until it is
/// closed, so the original name must be freed first.
pub(super) fn move_away(path: &Path) -> io::Result<()> {
    let aside = temporary_path(path)?;
    rename(path, &aside)?;
    // If this fails, a later sweep removes it.
    let _ = remove(&aside);
    Ok(())
}

/// Returns an unused name in the same directory. Files left under it are removed later (see [`is_temporary`]).
fn temporary_path(path: &Path) -> io::Result<PathBuf> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = path.with_extension(format!("{}-{number}.new", std::process::id()));
    // Left by a process with the same id that died.
    remove(&name)?;
    Ok(name)
}

/// Returns true if [`temporary_path`] created this name: `KEY.PID-N.new`.
pub(super) fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let mut parts = name.unwrap_or_default().split('.');
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_ours = |numbers: &str| {
        let numbers = numbers.split_once('-');
        numbers.is_some_and(|(pid, count)| number(pid) && number(count))
    };
    parts.next().is_some_and(is_key)
        && parts.next().is_some_and(is_ours)
        && parts.next() == Some("new")
        && parts.next().is_none()
}

/// Returns true if this is a key as used in file names: 64 hexadecimal digits.
pub(super) fn is_key(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns the key if this is the name of an entry.
pub(super) fn entry_key(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?.strip_suffix(".token")?;
    is_key(name).then_some(name)
}

/// Renames a file, with retries. Windows does not replace a file that a virus scanner has open, nor on some file
/// systems one that another run is reading. Both last only a moment, less than what the cache allows a store.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    const MAX_ATTEMPTS: u32 = 10;
    const RETRY_INTERVAL: Duration = Duration::from_millis(5);
    for _ in 1..MAX_ATTEMPTS {
        match fs::rename(from, to) {
            Err(error) if is_in_use(&error) => thread::sleep(RETRY_INTERVAL),
            outcome => return outcome,
        }
    }
    fs::rename(from, to)
}

fn is_in_use(error: &io::Error) -> bool {
    const ERROR_ACCESS_DENIED: i32 = 5;
    const ERROR_SHARING_VIOLATION: i32 = 32;
    let code = error.raw_os_error();
    cfg!(windows) && matches!(code, Some(ERROR_ACCESS_DENIED | ERROR_SHARING_VIOLATION))
}

/// Removes the file if it exists.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Opens a lock file; creates it if it does not exist.
pub(super) fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    open_no_link(path, &mut options)
}

/// A file that is locked until this is dropped.
pub(super) struct FileLock(pub(super) File);

impl FileLock {
    /// Takes the lock; `None` if another process holds it.
    pub(super) fn try_new(file: File) -> io::Result<Option<Self>> {
        let is_acquired = is_acquired(FileExt::try_lock(&file))?;
        Ok(is_acquired.then(|| Self(file)))
    }
}

/// Closing a file releases its locks on every system, but Windows does not say when.
impl Drop for FileLock {
    fn drop(&mut self) {
        let _ = FileExt::unlock(&self.0);
    }
}

/// Returns true if a process holds the lock on this file.
pub(super) fn is_locked(path: &Path) -> io::Result<bool> {
    let mut options = OpenOptions::new();
    options.read(true);
    match open_no_link(path, &mut options) {
        // Shared, as several processes may check at once.
        Ok(file) => {
            let free = is_acquired(FileExt::try_lock_shared(&file))?;
            drop(free.then(|| FileLock(file)));
            Ok(!free)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_acquired(outcome: Result<(), TryLockError>) -> io::Result<bool> {
    match outcome {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Returns true if a read failed because of another process's lock, which happens only on Windows.
pub(super) fn is_lock_violation(error: &io::Error) -> bool {
    const ERROR_LOCK_VIOLATION: i32 = 33;
    cfg!(windows) && error.raw_os_error() == Some(ERROR_LOCK_VIOLATION)
}

/// Opens a file without following a link in its name and without waiting for a pipe. A created file is private to this
/// user.
#[cfg(unix)]
fn open_no_link(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;

    use rustix::fs::OFlags;

    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    #[allow(clippy::cast_possible_wrap)] // The flags are bits of any integer type.
    options
        .mode(0o600)
        .custom_flags(flags.bits() as i32)
        .open(path)
}

#[cfg(not(unix))]
fn open_no_link(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) {
        return Err(io::ErrorKind::NotFound.into());
    }
    options.open(path)
}

/// Returns true if the file does not exist or is not one of ours.
fn is_unfit(error: &io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
        return true;
    }
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::IsADirectory
    )
}

#[cfg(unix)]
fn is_mine_alone(found: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;

    let open_to_others = found.mode() & 0o077;
    is_mine(found) && open_to_others == 0
}

#[cfg(not(unix))]
fn is_mine_alone(_: &Metadata) -> bool {
    true
}

#[cfg(unix)]
fn is_mine(found: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;

    found.uid() == rustix::process::geteuid().as_raw()
}

#[cfg(not(unix))]
fn is_mine(_: &Metadata) -> bool {
    true
}
