//! Watching the configuration file by its metadata.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{runtime::Handle, task, time};

use super::registry::Registry;
use crate::{file::FileStamp, lazy::run_blocking};

/// The stamps of files; none of a file that cannot be read.
type Stamps = HashMap<PathBuf, Option<FileStamp>>;

/// Starts the task that reloads after each change, until the registry is dropped.
pub(crate) fn start(registry: &Arc<Registry>, runtime: &Handle, interval: Duration) {
    let profiles = registry.read().profiles.clone();
    let file = profiles.iter().filter_map(|profiles| {
        let path = profiles.path()?.to_owned();
        Some((path, profiles.stamp()))
    });
    let watched = Watched {
        read: file.collect(),
        seen: Stamps::new(),
    };
    let task = runtime.spawn(watch(Arc::downgrade(registry), watched, interval));
    registry.end_with_it(task.abort_handle());
}

async fn watch(registry: Weak<Registry>, mut watched: Watched, interval: Duration) {
    loop {
        time::sleep(interval).await;
        let Some(registry) = registry.upgrade() else {
            return;
        };
        let polled = registry.clone();
        let Ok(now) = run_blocking(move || stamps(&polled)).await else {
            return;
        };
        if watched.has_changed(now) {
            // As a task, so that a panic of the program's code does not end the watch.
            let reload = task::spawn(async move { registry.reload().await });
            // The error is traced, and is the registry's state.
            if matches!(reload.await, Ok(Ok(_))) {
                watched.apply();
            }
        }
    }
}

/// Returns the stamps of the configuration file, and of the certificate authorities of the tenants in use.
fn stamps(registry: &Registry) -> Stamps {
    let state = registry.read();
    let profiles = state.profiles.clone();
    let sources: Vec<_> = state.tenants.values().cloned().collect();
    drop(state);
    let profiles = profiles.as_ref().and_then(|profiles| profiles.path());
    let mut paths: BTreeSet<PathBuf> = profiles.map(Path::to_owned).into_iter().collect();
    for source in sources {
        let tenant = source.current();
        let profile = tenant.as_ref().and_then(|tenant| tenant.profile.as_ref());
        paths.extend(profile.and_then(|profile| profile.settings().ca_file.clone()));
    }
    let stamped = paths.into_iter().map(|path| {
        let metadata = fs::metadata(&path).ok();
        let stamp = metadata.and_then(|metadata| FileStamp::new(&metadata));
        (path, stamp)
    });
    stamped.collect()
}

struct Watched {
    /// The files as they were when they were applied last.
    read: Stamps,
    /// The changes that the last poll saw.
    seen: Stamps,
}

impl Watched {
    /// Returns true if a file has changed, and not since the last poll: it may have been in the middle of a write.
    fn has_changed(&mut self, now: Stamps) -> bool {
        let mut changed = Stamps::new();
        for (path, stamp) in now {
            // A file that was not known belongs to a tenant that came into use.
            let read = *self.read.entry(path.clone()).or_insert(stamp);
            if read != stamp {
                changed.insert(path, stamp);
            }
        }
        let settled = !changed.is_empty() && changed == self.seen;
        self.seen = changed;
        settled
    }

    /// Marks the changes as applied. Those of a failed reload are not: the next poll tries again, since the reason, such
    /// as a file that cannot be read, may pass without a change.
    fn apply(&mut self) {
        self.read.extend(self.seen.drain());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_applied_once_two_polls_have_seen_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        let stamp = |text: &str| {
            fs::write(&path, text).unwrap();
            let stamp = FileStamp::new(&fs::metadata(&path).unwrap());
            Stamps::from([(path.clone(), stamp)])
        };
        let mut watched = Watched {
            read: stamp(""),
            seen: Stamps::new(),
        };
        assert!(!watched.has_changed(stamp("")) || cfg!(not(unix)));
        let (half, whole) = (stamp("ab"), stamp("abcd"));
        let polls = [&half, &whole, &whole, &whole];
        let mut applied = polls.map(|stamps| {
            let changed = watched.has_changed(stamps.clone());
            if changed {
                watched.apply();
            }
            changed
        });
        assert_eq!(applied, [false, false, true, false]);
        // It disappears, which is a change too, and is tried again until it is applied.
        let none = Stamps::from([(path.clone(), None)]);
        applied = [&none; 4].map(|stamps| watched.has_changed(stamps.clone()));
        assert_eq!(applied, [false, true, true, true]);
    }
}
