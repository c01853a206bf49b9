//! Listing and removal of cached tokens.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{
    entry::{self, Label},
    files,
    record::Guard,
};

/// A file with the name of an entry, described without its token.
pub(crate) struct EntryFile {
    pub(crate) key: String,
    /// `None` if the file holds no usable entry.
    pub(crate) label: Option<Label>,
    pub(crate) expires: Option<SystemTime>,
    /// False if the content is not that of an entry, so that another program may have written the file.
    pub(crate) is_entry: bool,
    path: PathBuf,
}

/// The outcome of removing entries.
#[derive(Default)]
pub(crate) struct Removal {
    pub(crate) removed: usize,
    /// The files with the name of an entry that hold something else, and stay.
    pub(crate) other_files: Vec<PathBuf>,
}

/// Lists the tokens cached in this directory without changing it. Returns an empty list if the directory does not
/// exist.
pub(crate) fn list(directory: &Path) -> io::Result<Vec<EntryFile>> {
    if !files::is_private_directory(directory)? {
        return Ok(Vec::new());
    }
    let mut all = Vec::new();
    for file in fs::read_dir(directory)? {
        let path = file?.path();
        let Some(key) = files::entry_key(&path).map(str::to_owned) else {
            continue;
        };
        let header = files::read(&path)?.and_then(|bytes| entry::header(&bytes, &key));
        let is_entry = header.is_some()
            || files::read_exposed(&path)?.is_some_and(|bytes| entry::is_entry(&bytes));
        let (label, expires) = header.map(|header| (header.label, header.expires)).unzip();
        all.push(EntryFile {
            key,
            label,
            expires,
            is_entry,
            path,
        });
    }
    all.sort_by(|one, other| (&one.label, &one.key).cmp(&(&other.label, &other.key)));
    Ok(all)
}

/// Removes the entries that `is_selected` selects. Records of leases stay: a fetch in flight depends on them, and they
/// hold no token.
pub(crate) fn clear(
    directory: &Path,
    is_selected: impl Fn(&EntryFile) -> bool,
) -> io::Result<Removal> {
    let mut removal = Removal::default();
    for file in list(directory)?.into_iter().filter(is_selected) {
        if file.is_entry {
            files::remove(&file.path)?;
            removal.removed += 1;
        } else {
            removal.other_files.push(file.path);
        }
    }
    remove_temporary_files(directory);
    Ok(removal)
}

/// Removes expired entries, whose keys may never be requested again. Errors are ignored: the next run tries again.
pub(super) fn sweep(directory: &Path, now: SystemTime) {
    let Ok(all) = list(directory) else {
        return;
    };
    for file in all {
        let expired = |path: &Path| {
            let bytes = files::read(path).ok().flatten();
            let header = bytes.and_then(|bytes| entry::header(&bytes, &file.key));
            header.is_some_and(|header| header.expires <= now)
        };
        if file.expires.is_none_or(|expires| expires > now) {
            continue;
        }
        // Read again under its lock: it may have just been replaced.
        let guard = Guard::try_new(&file.path.with_extension("lock"));
        if matches!(guard, Ok(Some(_))) && expired(&file.path) {
            let _ = files::remove(&file.path);
        }
    }
    remove_temporary_files(directory);
}

/// Removes partial files of processes that died.
fn remove_temporary_files(directory: &Path) {
    /// The age after which a temporary file is abandoned: no live process takes longer to write a token.
    const TEMPORARY_FILE_AGE: Duration = Duration::from_secs(60);
    for file in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = file.path();
        let written = file.metadata().and_then(|found| found.modified());
        let old = written.is_ok_and(|at| {
            at.elapsed()
                .is_ok_and(|elapsed| elapsed >= TEMPORARY_FILE_AGE)
        });
        if !old || !files::is_temporary(&path) {
            continue;
        }
        if let Ok(Some(bytes)) = files::read_exposed(&path)
            && entry::is_partial_entry(&bytes)
        {
            let _ = files::remove(&path);
        }
    }
}
