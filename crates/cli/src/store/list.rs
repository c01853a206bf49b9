//! What is kept, as a person may see it; and its end.

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

/// One token that is kept: what is known of it without reading it.
pub(crate) struct Kept {
    pub(crate) key: String,
    /// Nothing where the entry cannot be read.
    pub(crate) label: Option<Label>,
    pub(crate) expires: Option<SystemTime>,
    path: PathBuf,
}

/// Lists the tokens that are kept in this folder, and changes nothing; an empty list where there is no folder.
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

/// Removes those that `which` names, and tells how many. The records of leases stay, which tell nothing: whoever is
/// fetching at this moment goes by them.
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

/// Removes what has expired, for keys that nobody may ask for again. Whatever fails is left for the next time.
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
        // Under its lock, and read again: it may just have been replaced.
        let guard = Guard::try_new(&kept.path.with_extension("lock"));
        if matches!(guard, Ok(Some(_))) && expired(&kept.path) {
            let _ = files::remove(&kept.path);
        }
    }
    left_overs(folder);
}

/// Removes what processes that died were writing.
fn left_overs(folder: &Path) {
    /// Nobody who lives takes longer to write a token.
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
