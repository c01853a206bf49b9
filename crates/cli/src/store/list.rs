//! Listing and removal of cached tokens.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{
    entry::{self, Label},
    files, key_of,
    record::Guard,
};

/// A cached token, described without reading the token itself.
pub(crate) struct Kept {
    pub(crate) key: String,
    /// `None` if the entry cannot be read.
    pub(crate) label: Option<Label>,
    pub(crate) expires: Option<SystemTime>,
    path: PathBuf,
}

/// Lists the tokens cached in this folder without changing it. Returns an empty list if the folder does not exist.
pub(crate) fn list(folder: &Path) -> io::Result<Vec<Kept>> {
    if !files::is_private_folder(folder)? {
        return Ok(Vec::new());
    }
    let mut all = Vec::new();
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        let Some(key) = key_of(&path).map(str::to_owned) else {
            continue;
        };
        let bytes = files::read(&path)?;
        let head = bytes.and_then(|bytes| entry::head(&bytes, &key));
        let (label, expires) = head.map(|head| (head.label, head.expires)).unzip();
        all.push(Kept {
            key,
            label,
            expires,
            path,
        });
    }
    all.sort_by(|one, other| (&one.label, &one.key).cmp(&(&other.label, &other.key)));
    Ok(all)
}

/// Removes the entries that `which` selects, and returns how many. Records of leases stay: a fetch in flight depends on
/// them, and they hold no token.
pub(crate) fn clear(folder: &Path, which: impl Fn(&Kept) -> bool) -> io::Result<usize> {
    let all = list(folder)?;
    let mut removed = 0;
    for kept in all.iter().filter(|kept| which(kept)) {
        files::remove(&kept.path)?;
        removed += 1;
    }
    left_overs(folder);
    Ok(removed)
}

/// Removes expired entries, whose keys may never be requested again. Errors are ignored: the next run tries again.
pub(super) fn sweep(folder: &Path, now: SystemTime) {
    let Ok(all) = list(folder) else {
        return;
    };
    for kept in all {
        let expired = |path: &Path| {
            let bytes = files::read(path).ok().flatten();
            let head = bytes.and_then(|bytes| entry::head(&bytes, &kept.key));
            head.is_some_and(|head| head.expires <= now)
        };
        if kept.expires.is_none_or(|expires| expires > now) {
            continue;
        }
        // Read again under its lock: it may have just been replaced.
        let guard = Guard::try_new(&kept.path.with_extension("lock"));
        if matches!(guard, Ok(Some(_))) && expired(&kept.path) {
            let _ = files::remove(&kept.path);
        }
    }
    left_overs(folder);
}

/// Removes partial files of processes that died.
fn left_overs(folder: &Path) {
    /// The age after which a temporary file is abandoned: no live process takes longer to write a token.
    const AGE: Duration = Duration::from_secs(60);
    for file in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = file.path();
        let written = file.metadata().and_then(|found| found.modified());
        let old = written.is_ok_and(|at| at.elapsed().is_ok_and(|elapsed| elapsed >= AGE));
        if files::is_temporary(&path) && old {
            let _ = files::remove(&path);
        }
    }
}
