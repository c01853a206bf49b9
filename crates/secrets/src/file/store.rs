//! Puts another secret into the file's place: wholly or not at all.

use std::{
    ffi::OsString,
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use async_trait::async_trait;
use hallpass_core::{Secret, SecretError, SecretStore};
use zeroize::Zeroizing;

use super::{FileSecret, Inner, Reading};
use crate::{UnreadableFile, blocking, content, patience::patiently};

#[async_trait]
impl SecretStore for FileSecret {
    async fn save(&self, secret: &Secret) -> Result<(), SecretError> {
        let (inner, secret) = (self.0.clone(), secret.clone());
        blocking::run(move || inner.save(&secret)).await
    }
}

impl Inner {
    fn save(&self, secret: &Secret) -> Result<(), SecretError> {
        let path = &self.settings.path;
        let place = format!("the secret file {}", content::shown(path));
        // One line end is taken off when it is read, so that one is put there.
        let line = Zeroizing::new(format!("{}\n", secret.expose()));
        let same = content::secret(line.as_bytes(), &place)?.matches(secret);
        if !same {
            return Err(SecretError::new(format!(
                "{place} cannot hold the secret: it begins with a byte order mark or ends in a carriage return"
            )));
        }
        let beside = write(path, line.as_bytes(), &place)?;
        patiently(|| {
            // A reading in between must not take this for someone else's change.
            let mut last = self.last();
            fs::rename(&beside.0, path)?;
            last.reading = Reading::Read(secret.clone());
            last.at = self.settings.clock.now();
            Ok(())
        })
        .map_err(|error| cannot(&place, &error))?;
        beside.has_the_name();
        sync_folder(path);
        Ok(())
    }
}

/// Writes what is to take the path's place, and brings it to the disk.
fn write(path: &Path, content: &[u8], place: &str) -> Result<Beside, SecretError> {
    let failed = |error: io::Error| cannot(place, &error);
    let before = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => {
            return Err(SecretError::new(format!(
                "{place} is a symbolic link, which would be replaced and not what it leads to; give the path of the file itself"
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
    let (mut file, beside) = Beside::create(path).map_err(failed)?;
    file.write_all(content).map_err(failed)?;
    if let Some(before) = before {
        take_over(&file, &before).map_err(failed)?;
    }
    file.sync_all().map_err(failed)?;
    Ok(beside)
}

/// A new file in the same folder, which is taken away again unless it gets the name.
struct Beside(PathBuf);

impl Beside {
    /// One that its owner alone may read, whatever the umask.
    fn create(path: &Path) -> io::Result<(File, Self)> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        // Another process of the same number, in another container, may have taken one.
        let mut tries = 100;
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let mut name = OsString::from(".");
            name.push(path.file_name().unwrap_or_default());
            name.push(format!(".{}-{number}.new", std::process::id()));
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

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Gives the new file the old one's owner, group and mode, but for what everyone might do. A group that cannot be given
/// to it gets nothing: it would be another one's.
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

/// The new name too must outlive a crash. Where the folder cannot be opened, the file system knows no such thing.
fn sync_folder(path: &Path) {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if let Ok(folder) = File::open(folder.unwrap_or(Path::new("."))) {
        let _ = folder.sync_all();
    }
}

fn cannot(place: &str, error: &io::Error) -> SecretError {
    SecretError::new(match error.kind() {
        io::ErrorKind::NotFound => format!("{place} cannot be written: its folder is missing"),
        io::ErrorKind::PermissionDenied if cfg!(windows) => format!(
            "{place} cannot be replaced by this user; close what has it open, or let this user write in the folder, where a new file is put in its place"
        ),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => format!(
            "{place} cannot be replaced by this user; let it write in the folder, where a new file is put in its place"
        ),
        _ => format!("{place} cannot be written: {error}"),
    })
}

#[cfg(test)]
mod tests;
