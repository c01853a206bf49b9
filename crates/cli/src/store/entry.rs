//! The file format of an entry: a line of JSON with its description, followed by the cache's own bytes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hallpass::cache::StoreEntry;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::files;

/// The format version, raised when the meaning of the line changes. Readers ignore entries of other versions.
const VERSION: u64 = 2;

/// The first bytes of every entry.
const ENTRY_START: &[u8] = b"{\"bytes\":";

/// The largest lead over the clock at which an entry may have been written. An entry from further ahead is ignored: the
/// clock was set back since, and the remaining lifetime is unknown. Runs share a clock, except with a home directory
/// shared by machines.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(60);

/// The description of an entry in listings: never a client id, never the token.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Label {
    /// The profile's name; empty if there is none.
    pub(crate) profile: String,
    pub(crate) host: String,
    /// The requested scopes.
    pub(crate) scope: String,
}

/// The line before an entry's bytes.
pub(super) struct EntryHeader {
    pub(super) label: Label,
    pub(super) fence: u64,
    pub(super) written: SystemTime,
    pub(super) expires: SystemTime,
}

pub(super) fn encode(
    key: &str,
    label: &Label,
    entry: &[u8],
    fence: u64,
    ttl: Duration,
    now: SystemTime,
) -> Zeroizing<Vec<u8>> {
    let written = since_1970(now);
    let header = json!({
        "version": VERSION,
        // An entry copied to another key's file is ignored there.
        "key": key,
        "profile": label.profile,
        "host": label.host,
        "scope": label.scope,
        "written_ms": written,
        "expires_ms": written.saturating_add(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
        "fence": fence,
        "bytes": entry.len(),
    });
    let header = header.to_string();
    let mut bytes = Zeroizing::new(Vec::with_capacity(header.len() + 1 + entry.len()));
    bytes.extend_from_slice(header.as_bytes());
    bytes.push(b'\n');
    bytes.extend_from_slice(entry);
    bytes
}

/// Decodes an entry; `None` if it is damaged, for another key, or expired.
pub(super) fn decode(bytes: &[u8], key: &str, now: SystemTime) -> Option<StoreEntry> {
    let (header, entry) = split_header(bytes, key)?;
    let left = header.left(now)?;
    Some(StoreEntry::new(entry.to_vec(), header.fence, Some(left)))
}

impl EntryHeader {
    /// Returns the remaining lifetime; `None` if the entry has expired or was written in the future.
    pub(super) fn left(&self, now: SystemTime) -> Option<Duration> {
        let ahead = self.written.duration_since(now).unwrap_or_default();
        let left = self.expires.duration_since(now).ok()?;
        let left = left.min(self.expires.duration_since(self.written).ok()?);
        (!left.is_zero() && ahead <= MAX_CLOCK_SKEW).then_some(left)
    }
}

/// Decodes the header; `None` if the entry is damaged or for another key.
pub(super) fn header(bytes: &[u8], key: &str) -> Option<EntryHeader> {
    split_header(bytes, key).map(|(header, _)| header)
}

fn split_header<'a>(bytes: &'a [u8], key: &str) -> Option<(EntryHeader, &'a [u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let entry = &bytes[end + 1..];
    let header: Value = serde_json::from_slice(&bytes[..end]).ok()?;
    let whole = header["bytes"].as_u64() == u64::try_from(entry.len()).ok();
    if !whole || header["version"].as_u64() != Some(VERSION) || header["key"].as_str() != Some(key)
    {
        return None;
    }
    let text = |name: &str| header[name].as_str().map(str::to_owned);
    let time = |name: &str| UNIX_EPOCH.checked_add(Duration::from_millis(header[name].as_u64()?));
    let header = EntryHeader {
        label: Label {
            profile: text("profile")?,
            host: text("host")?,
            scope: text("scope")?,
        },
        fence: header["fence"].as_u64()?,
        written: time("written_ms")?,
        expires: time("expires_ms")?,
    };
    Some((header, entry))
}

/// Returns true if this is the content of an entry of any version and key, even if it is cut off after its header.
pub(super) fn is_entry(bytes: &[u8]) -> bool {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        return false;
    };
    let header = serde_json::from_slice(&bytes[..end]).unwrap_or(Value::Null);
    let key = header["key"].as_str();
    header["version"].is_u64() && header["bytes"].is_u64() && key.is_some_and(files::is_key)
}

/// Returns true if this may be the start of an entry, from a process that died while it wrote.
pub(super) fn is_partial_entry(bytes: &[u8]) -> bool {
    let length = bytes.len().min(ENTRY_START.len());
    bytes[..length] == ENTRY_START[..length]
}

fn since_1970(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn encoded(now: SystemTime) -> Zeroizing<Vec<u8>> {
        encode("k", &Label::default(), b"entry", 7, 60 * SECOND, now)
    }

    // covers: F-94, F-95, F-96
    #[test]
    fn an_entry_is_valid_for_its_ttl_under_its_key() {
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let bytes = encoded(now);
        assert!(bytes.starts_with(ENTRY_START));
        let left = |at| decode(&bytes, "k", at).map(|entry| entry.ttl().unwrap());
        assert_eq!(left(now), Some(60 * SECOND));
        assert_eq!(left(now + 59 * SECOND), Some(SECOND));
        assert_eq!(left(now + 60 * SECOND), None);
        assert_eq!(left(now - MAX_CLOCK_SKEW), Some(60 * SECOND));
        // Written in the future: the clock was set back since, and an expired token would become valid again.
        assert_eq!(left(now - MAX_CLOCK_SKEW - SECOND), None);
        assert_eq!(left(now - 3_600 * SECOND), None);
        assert_eq!(decode(&bytes, "k", now).unwrap().bytes(), b"entry");
        assert_eq!(decode(&bytes, "k", now).unwrap().fence(), 7);
        assert!(decode(&bytes, "other", now).is_none());
        let eternal = encode("k", &Label::default(), b"", 7, Duration::MAX, now);
        assert!(decode(&eternal, "k", now).is_none_or(|entry| entry.ttl().is_some()));
    }

    // covers: F-92
    #[test]
    fn truncated_and_other_versions_are_ignored() {
        let now = SystemTime::now();
        let bytes = encoded(now);
        assert!(decode(&bytes, "k", now).is_some());
        for end in 0..bytes.len() {
            assert!(decode(&bytes[..end], "k", now).is_none(), "{end}");
        }
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        for (from, to) in [
            ("\"version\":2", "\"version\":3"),
            ("\"fence\":7", "\"fence\":-7"),
            ("\"bytes\":5", "\"bytes\":4"),
            ("\"host\":\"\"", "\"host\":7"),
            ("_ms\":", "_ms\":-"),
        ] {
            let bad = text.replace(from, to);
            assert_ne!(bad, text);
            assert!(decode(bad.as_bytes(), "k", now).is_none(), "{to}");
        }
    }

    proptest! {
        // covers: F-92, F-94
        #[test]
        fn any_entry_is_valid_within_its_own_times(
            bytes in vec(any::<u8>(), 0..4),
            length in 0..4_usize,
            times in prop_oneof![any::<[u64; 3]>(), [0..200_000_u64, 0..200_000, 0..200_000]],
        ) {
            let [written, expires, now] = times;
            let header = json!({
                "version": VERSION, "key": "k", "profile": "", "host": "", "scope": "",
                "written_ms": written, "expires_ms": expires, "fence": 7, "bytes": length,
            });
            let file = [header.to_string().as_bytes(), b"\n", &bytes].concat();
            let now = now.min(1 << 60);
            let decoded = decode(&file, "k", UNIX_EPOCH + Duration::from_millis(now));
            let skew = u64::try_from(MAX_CLOCK_SKEW.as_millis()).unwrap();
            let left = expires.saturating_sub(now.max(written));
            let is_valid = length == bytes.len() && left > 0 && written.saturating_sub(now) <= skew;
            let expected = is_valid.then(|| (bytes, Some(Duration::from_millis(left))));
            prop_assert_eq!(decoded.map(|entry| (entry.bytes().to_vec(), entry.ttl())), expected);
        }

        // covers: F-92
        #[test]
        fn any_bytes_are_an_entry_or_ignored(bytes in vec(any::<u8>(), 0..64), key in "[a-z0-9-]{0,8}") {
            let decoded = decode(&bytes, &key, UNIX_EPOCH);
            prop_assert!(decoded.is_none());
            prop_assert!(!is_entry(&bytes));
        }
    }
}
