//! Replaces the file with one that holds another secret, atomically.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use hallpass_core::{Secret, SecretError, SecretStore};
use zeroize::Zeroizing;

use super::{FILE_TIMEOUT, FileSecret, Inner, Reading};
use crate::{UnreadableFile, content, lock_retry::retry_while_locked};

#[async_trait]
impl SecretStore for FileSecret {
    async fn save(&self, secret: &Secret) -> Result<(), SecretError> {
        let (inner, secret) = (self.0.clone(), secret.clone());
        let work = move || inner.save(&secret);
        self.0.turn.run(FILE_TIMEOUT, &self.0.place(), work).await
    }
}

impl Inner {
    fn save(&self, secret: &Secret) -> Result<(), SecretError> {
        let path = &self.settings.path;
        let place = self.place();
        // Reading removes one line end, so one is written.
        let line = Zeroizing::new(format!("{}\n", secret.expose()));
        let same = content::secret(line.as_bytes(), &place)?.matches(secret);
        if !same {
            return Err(SecretError::new(format!(
                "{place} cannot hold the secret: it begins with a byte order mark or ends in a carriage return"
            )));
        }
        let beside = write(path, line.as_bytes(), &place)?;
        retry_while_locked(|| {
            // A reading in between must not mistake this for an external change.
            let mut last = self.last();
            fs::rename(&beside.0, path)?;
            last.reading = Reading::Read(secret.clone());
            last.at = self.settings.clock.now();
            Ok(())
        })
        .map_err(|error| cannot(&place, &error))?;
        beside.has_the_name();
        sync_directory(path);
        remove_leftovers(path);
        Ok(())
    }
}

/// Writes the replacement file and syncs it to disk.
fn write(path: &Path, content: &[u8], place: &str) -> Result<TemporaryFile, SecretError> {
    let failed = |error: io::Error| cannot(place, &error);
    let before = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => {
            return Err(SecretError::new(format!(
                "{place} is a symbolic link, which the write would replace; set the path of its target"
            )));
        }
        Ok(metadata) if !metadata.is_file() => {
            let why = UnreadableFile::not_regular();
            return Err(SecretError::new(format!("{place} {why}")));
        }
        Ok(metadata) => Some(metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    let (mut file, beside) = TemporaryFile::create(path).map_err(failed)?;
    file.write_all(content).map_err(failed)?;
    if let Some(before) = before {
        take_over(&file, &before).map_err(failed)?;
    }
    file.sync_all().map_err(failed)?;
    Ok(beside)
}

/// Returns the start of a new file's name, which is followed by the process id and a counter.
fn prefix(path: &Path) -> OsString {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".");
    name
}

const TEMPORARY_SUFFIX: &str = ".new";

/// Removes the new files of processes that were killed before the rename, since they hold a secret. A recent one may
/// belong to a running process that is about to rename it.
fn remove_leftovers(path: &Path) {
    const MIN_ABANDONED_AGE: Duration = Duration::from_secs(60);
    let prefix = prefix(path);
    let is_ours = |name: &OsStr| {
        let numbers = name
            .as_encoded_bytes()
            .strip_prefix(prefix.as_encoded_bytes())
            .and_then(|name| name.strip_suffix(TEMPORARY_SUFFIX.as_bytes()));
        let numbers =
            numbers.and_then(|numbers| std::str::from_utf8(numbers).ok()?.split_once('-'));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        numbers.is_some_and(|(process, number)| is_number(process) && is_number(number))
    };
    // Compared by the clock of the file system, which may be another machine's.
    let (Ok(saved), Ok(entries)) = (modified(path), fs::read_dir(directory_of(path))) else {
        return;
    };
    for entry in entries
        .flatten()
        .filter(|entry| is_ours(&entry.file_name()))
    {
        let left_over = entry.path();
        let age = modified(&left_over).map(|modified| saved.duration_since(modified));
        if matches!(age, Ok(Ok(age)) if age >= MIN_ABANDONED_AGE) {
            let _ = fs::remove_file(&left_over);
        }
    }
}

/// Returns the modification time of a regular file, without following links.
fn modified(path: &Path) -> io::Result<SystemTime> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    metadata.modified()
}

/// A new file in the same directory, removed on drop unless it was renamed.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    /// Creates a file that only its owner may read, independent of the umask.
    fn create(path: &Path) -> io::Result<(File, Self)> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        // A process with the same id, in another container, may have taken the name.
        let mut tries = 100;
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let mut name = prefix(path);
            name.push(format!("{}-{number}{TEMPORARY_SUFFIX}", std::process::id()));
            let beside = path.with_file_name(name);
            tries -= 1;
            match options.open(&beside) {
                Ok(file) => return Ok((file, Self(beside))),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries > 0 => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn has_the_name(self) {
        std::mem::forget(self);
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Copies owner, group and mode of the old file to the new one, without the permissions for others. If the group
/// cannot be set, the group gets no permissions, since it would be a different one.
#[cfg(unix)]
fn take_over(file: &File, before: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};

    const OWNER: u32 = 0o700;
    const GROUP: u32 = 0o070;
    let now = file.metadata()?;
    let same = (now.uid(), now.gid()) == (before.uid(), before.gid());
    let group = if same || fchown(file, Some(before.uid()), Some(before.gid())).is_ok() {
        before.mode() & GROUP
    } else {
        0
    };
    let mode = before.mode() & OWNER | group;
    file.set_permissions(fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
#[allow(clippy::unnecessary_wraps)] // Only Unix has such permissions.
fn take_over(_: &File, _: &Metadata) -> io::Result<()> {
    Ok(())
}

/// Syncs the directory, so that the rename survives a crash. Where it cannot be opened, the file system needs no sync.
fn sync_directory(path: &Path) {
    if let Ok(directory) = File::open(directory_of(path)) {
        let _ = directory.sync_all();
    }
}

fn directory_of(path: &Path) -> &Path {
    let directory = path
        .parent()
        .filter(|directory| !directory.as_os_str().is_empty());
    directory.unwrap_or(Path::new("."))
}

fn cannot(place: &str, error: &io::Error) -> SecretError {
    SecretError::new(match error.kind() {
        io::ErrorKind::NotFound => format!("{place} cannot be written: its directory is missing"),
        io::ErrorKind::PermissionDenied if cfg!(windows) => format!(
            "{place} cannot be replaced by this user; close the programs that have it open, or allow this user to write in its directory, where the new file is created"
        ),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => format!(
            "{place} cannot be replaced by this user; allow this user to write in its directory, where the new file is created"
        ),
        _ => format!("{place} cannot be written: {error}"),
    })
}

#[cfg(test)]
mod tests;
