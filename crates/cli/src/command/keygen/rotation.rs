//! `hallpass keygen --rotate`: a new key is published first, and used later; the old key stays published for a while.
//!
//! The files after a crash between any two writes lead to the same result in the next run: a key is published before it
//! is used, and removed after its last use.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::ValueEnum as _;
use fs4::FileExt;
use hallpass::jwt::{Algorithm, Signer as _, SigningKey};
use serde_json::Value;

use super::{
    file::{KeyFile, not_written, read_key, with_key_id, write_new_key},
    published::{PublishedKeys, directory, sync_directory},
};
use crate::{
    args::{KeyAlgorithm, Keygen},
    failure::Failure,
    out,
};

const DAY: Duration = Duration::from_secs(86_400);
/// The minimum time from the last use of a key to its removal: twice the maximum lifetime of an assertion, as clocks
/// differ.
const MIN_RETENTION: Duration = Duration::from_secs(600);
/// The first second of 2025. An earlier time is that of a machine whose clock is not set yet. A key that is published at
/// such a time would be used as soon as the clock is set, without its overlap.
const MIN_TIME: u64 = 1_735_689_600;

/// The files of a rotation, and its times.
pub(super) struct Rotation<'a> {
    /// The private key in use.
    key: &'a Path,
    /// The private key that is published, but not used yet.
    next: PathBuf,
    /// The public keys.
    published: &'a Path,
    overlap: Duration,
    /// The age from which a key is replaced.
    every: Duration,
    algorithm: Option<Algorithm>,
    bits: Option<u16>,
}

impl<'a> Rotation<'a> {
    pub(super) fn new(key: &'a Path, published: &'a Path, args: &Keygen) -> Self {
        let every = args.every.unwrap_or(90 * DAY);
        Self {
            key,
            next: with_suffix(key, ".next"),
            published,
            overlap: args.overlap.unwrap_or(DAY),
            every: if args.now { Duration::ZERO } else { every },
            algorithm: args.algorithm.map(Into::into),
            bits: args.bits,
        }
    }

    /// Does what is due, and returns the published set. Concurrent runs wait for each other.
    pub(super) fn run(&self, now: SystemTime) -> Result<Value, Failure> {
        if resolve(self.key) == resolve(self.published) {
            return Err(Failure::usage(
                "the private key and the published keys are in the same file",
            )
            .with_remedy("set another file with `--jwks`"));
        }
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if now < MIN_TIME {
            return Err(Failure::configuration(
                "this machine's clock is set before 2025, and a rotation records its times",
            )
            .with_remedy(
                "set this machine's clock, or start the rotation after it is synchronized",
            ));
        }
        // Rotations of other keys may have the same set; each takes the lock of its own key first.
        let _locks = (lock(self.key)?, lock(self.published)?);
        let after = |time: Duration| now.saturating_add(time.as_secs());
        // A link is refused: a rename would replace the link.
        let exists = |path| KeyFile::check(path, true).map(|file| file.replaces);
        exists(self.published)?;
        let mut set = PublishedKeys::read(self.published)?;

        let is_first = !exists(self.key)?;
        let key = if is_first {
            let file = KeyFile::atomic(self.key);
            let key = write_new_key(&file, self.algorithm.unwrap_or(Algorithm::Es256), self.bits)?;
            with_key_id(key)
        } else {
            self.read(self.key, &set)?
        };
        // An earlier run may have been interrupted after it retired the key, and before it replaced it.
        let is_new = set.publish(&key, now, None);
        let save = |set: &PublishedKeys| {
            set.write(self.published)?;
            if is_new {
                note(&key, "is published");
            }
            Ok::<_, Failure>(())
        };

        let mut has_next = exists(&self.next)?;
        if !has_next {
            let age = now.saturating_sub(set.published(&key).unwrap_or(now));
            if !is_first && age >= self.every.as_secs() {
                let algorithm = self.algorithm.unwrap_or(key.algorithm());
                write_new_key(&KeyFile::atomic(&self.next), algorithm, self.bits)?;
                has_next = true;
            }
        }
        if !has_next {
            set.prune(now);
            save(&set)?;
            return Ok(set.to_json());
        }
        let next = self.read(&self.next, &set)?;

        let start = set.used_from(&next);
        let was_published = set.published(&next).is_some();
        if was_published && start.is_none_or(|start| start <= now) {
            set.publish(&next, now, None);
            set.retire(&key, after(self.overlap.max(MIN_RETENTION)));
            set.prune(now);
            save(&set)?;
            fs::rename(&self.next, self.key)
                .and_then(|()| sync_directory(self.key))
                .map_err(|error| not_written(self.key, &error))?;
            note(&next, "is used from now on");
        } else {
            set.publish(&next, now, Some(after(self.overlap)));
            set.prune(now);
            save(&set)?;
            if !was_published {
                let overlap = humantime::format_duration(self.overlap);
                note(
                    &next,
                    &format!("is published; the first run after {overlap} uses it"),
                );
            }
        }
        Ok(set.to_json())
    }

    /// Reads a private key with the algorithm that it is published with, or else the requested one, if it supports that.
    fn read(&self, path: &Path, set: &PublishedKeys) -> Result<SigningKey, Failure> {
        let key = with_key_id(read_key(None, path)?);
        let algorithm = set.algorithm(&key);
        let algorithm = algorithm.and_then(|name| KeyAlgorithm::from_str(name, true).ok());
        match algorithm.map(Into::into).or(self.algorithm) {
            Some(algorithm) if algorithm != key.algorithm() => {
                Ok(read_key(Some(algorithm), path).map_or(key, with_key_id))
            }
            _ => Ok(key),
        }
    }
}

/// Waits for the lock of a file, which the system releases when the process ends. The lock's own file stays: another
/// process may have opened it.
fn lock(path: &Path) -> Result<fs::File, Failure> {
    let path = with_suffix(path, ".lock");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&path);
    let file = file.map_err(|error| not_written(&path, &error))?;
    FileExt::lock(&file).map_err(|error| not_written(&path, &error))?;
    Ok(file)
}

/// Returns the path without links and dots in its directory.
fn resolve(path: &Path) -> PathBuf {
    let parent = fs::canonicalize(directory(path)).unwrap_or_default();
    parent.join(path.file_name().unwrap_or_default())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

fn note(key: &SigningKey, what: &str) {
    out::note(&format!(
        "key `{}` {what}",
        key.key_id().unwrap_or_default()
    ));
}

#[cfg(test)]
mod tests;
