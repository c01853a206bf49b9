//! The published JWK set, with the times of each key.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::Path,
};

use hallpass::{
    jwt::{Signer as _, SigningKey},
    secrets::RegularFile,
};
use serde_json::{Map, Value, json};

use super::file::{not_written, replace};
use crate::failure::Failure;

/// The maximum length of the file in bytes.
const MAX_BYTES: usize = 1 << 20;

/// The time of publication, in seconds since 1970.
const PUBLISHED: &str = "iat";
/// The time from which the key may be used.
const USED_FROM: &str = "nbf";
/// The time at which the key is removed.
const REMOVED_AT: &str = "exp";

/// A JWK set (RFC 7517 section 5). Keys of other programs stay as they are.
///
/// Members that a reader does not know are ignored (section 4); these three are those of OpenID Federation for keys.
#[derive(Default)]
pub(super) struct PublishedKeys {
    set: Map<String, Value>,
    keys: Vec<Value>,
    /// The content of the file; empty if it does not exist.
    read: Vec<u8>,
}

impl PublishedKeys {
    /// Reads the set; an empty one if the file does not exist.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let wrong = |why: &str| {
            Failure::configuration(format!("{} {why}", path.display()))
                .with_remedy("set a file with a JWK set, or one that does not exist yet")
        };
        let bytes = match RegularFile::open(path).and_then(|file| file.read(MAX_BYTES)) {
            Ok(bytes) => bytes,
            Err(error) if error.is_missing() => return Ok(Self::default()),
            Err(error) => return Err(wrong(&error.to_string())),
        };
        let set = serde_json::from_slice::<Map<String, Value>>(&bytes);
        let mut set = set.map_err(|_| wrong("is not a JSON object"))?;
        let Some(Value::Array(keys)) = set.remove("keys") else {
            return Err(wrong("is not a JWK set: its `keys` is not an array"));
        };
        // RFC 7518 sections 6.2.2, 6.3.2 and 6.4.1.
        if keys
            .iter()
            .any(|key| ["d", "k"].iter().any(|name| key.get(name).is_some()))
        {
            return Err(wrong(
                "has a private key or a secret, and is to be published",
            ));
        }
        let read = bytes;
        Ok(Self { set, keys, read })
    }

    pub(super) fn to_json(&self) -> Value {
        let mut set = self.set.clone();
        set.insert("keys".to_owned(), json!(self.keys));
        Value::Object(set)
    }

    /// Writes the file atomically, with the permissions that it had, unless nothing has changed.
    pub(super) fn write(&self, path: &Path) -> Result<(), Failure> {
        let text = format!("{:#}\n", self.to_json());
        if text.as_bytes() == self.read {
            return Ok(());
        }
        let written = replace(path, text.as_bytes(), |new| {
            let file = OpenOptions::new().write(true).create_new(true).open(new)?;
            if let Ok(before) = fs::metadata(path) {
                file.set_permissions(before.permissions())?;
            }
            Ok(file)
        });
        let written = written.and_then(|()| sync_directory(path));
        written.map_err(|error| not_written(path, &error))
    }

    /// Adds a key, or corrects its entry; returns true if it was not published before. A time that is too far ahead was
    /// written with another clock or a longer overlap.
    pub(super) fn publish(&mut self, key: &SigningKey, now: u64, used_from: Option<u64>) -> bool {
        let jwk = serde_json::from_str::<Value>(&key.public_jwk());
        let mut jwk = jwk.expect("a JWK is JSON");
        let known = self.entry(key).cloned();
        let published = known.as_ref().and_then(|known| seconds(known, PUBLISHED));
        let known_start = known.as_ref().and_then(|known| seconds(known, USED_FROM));
        jwk[PUBLISHED] = json!(published.map_or(now, |published| published.min(now)));
        if let Some(used_from) = used_from {
            jwk[USED_FROM] = json!(known_start.map_or(used_from, |start| start.min(used_from)));
        }
        let is_new = known.is_none();
        let position = self.position(key);
        match position {
            Some(at) => self.keys[at] = jwk,
            None => self.keys.push(jwk),
        }
        is_new
    }

    /// Removes the key at this time.
    pub(super) fn retire(&mut self, key: &SigningKey, at: u64) {
        if let Some(position) = self.position(key) {
            self.keys[position][REMOVED_AT] = json!(at);
        }
    }

    /// Removes the keys whose time has come, and returns their number.
    pub(super) fn prune(&mut self, now: u64) -> usize {
        let before = self.keys.len();
        self.keys
            .retain(|key| seconds(key, REMOVED_AT).is_none_or(|at| at > now));
        before - self.keys.len()
    }

    pub(super) fn published(&self, key: &SigningKey) -> Option<u64> {
        seconds(self.entry(key)?, PUBLISHED)
    }

    pub(super) fn used_from(&self, key: &SigningKey) -> Option<u64> {
        seconds(self.entry(key)?, USED_FROM)
    }

    /// Returns the `alg` of a key: PEM has none.
    pub(super) fn algorithm(&self, key: &SigningKey) -> Option<&str> {
        self.entry(key)?.get("alg")?.as_str()
    }

    fn entry(&self, key: &SigningKey) -> Option<&Value> {
        Some(&self.keys[self.position(key)?])
    }

    fn position(&self, key: &SigningKey) -> Option<usize> {
        let is_own = |entry: &Value| entry.get("kid").and_then(Value::as_str) == key.key_id();
        self.keys.iter().position(is_own)
    }
}

/// Returns a time; `None` for a value of another type, which another program may have written.
fn seconds(key: &Value, member: &str) -> Option<u64> {
    key.get(member)?.as_u64()
}

/// A renamed file survives a crash of the machine only once its directory is written.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(windows) {
        return Ok(());
    }
    File::open(directory(path))?.sync_all()
}

/// Returns the directory of a file.
pub(super) fn directory(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    parent.unwrap_or(Path::new("."))
}
