//! The encrypted form of an entry.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

use crate::crypto::{self, AeadKey, KEY_BYTES};

/// The first byte of an entry: its form. Part of the associated data.
const ENCRYPTED: u8 = 1;
const UNENCRYPTED: u8 = 2;

/// The length of a key's identifier in bytes.
const ID_BYTES: usize = 8;

type KeyId = [u8; ID_BYTES];

/// The encryption keys: the first encrypts, all decrypt.
pub(crate) struct Keys(Vec<(KeyId, AeadKey)>);

/// The reason why an entry cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryDefect {
    /// It was encrypted with a key that is not among these.
    UnknownKey,
    /// It was altered, or moved from another key's name.
    NotAuthentic,
    /// It is not an entry of this version.
    UnknownFormat,
    /// It is not encrypted.
    Clear,
}

impl fmt::Display for EntryDefect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownKey => "it was encrypted with an unknown key",
            Self::NotAuthentic => "it was altered, or copied from another key's name",
            Self::UnknownFormat => "its format is unknown",
            Self::Clear => "it is not encrypted",
        })
    }
}

impl Keys {
    /// Parses keys in base64, 32 bytes each, separated by white space or commas.
    ///
    /// # Errors
    ///
    /// A text that says what is wrong, without a part of a key.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let words = text.split(|c: char| c.is_whitespace() || c == ',');
        let keys = words.filter(|word| !word.is_empty()).map(key);
        let keys: Vec<_> = keys.collect::<Result<_, _>>()?;
        if keys.is_empty() {
            return Err("there is no key");
        }
        Ok(Self(keys))
    }

    /// Returns the entry's encrypted form; `None` if the system has no random bytes.
    pub(crate) fn seal(&self, name: &str, plain: &[u8]) -> Option<Vec<u8>> {
        let (id, key) = &self.0[0];
        let mut out = Vec::with_capacity(1 + ID_BYTES + 12 + plain.len() + 16);
        out.push(ENCRYPTED);
        out.extend_from_slice(id);
        key.seal(&mut out, &associated(*id, name), plain)?;
        Some(out)
    }

    /// Returns the entry.
    ///
    /// # Errors
    ///
    /// The reason why it cannot be used.
    pub(crate) fn open(
        &self,
        name: &str,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, EntryDefect> {
        match sealed.split_first() {
            Some((&ENCRYPTED, rest)) => {
                let (id, sealed) = rest
                    .split_first_chunk::<ID_BYTES>()
                    .ok_or(EntryDefect::UnknownFormat)?;
                let known = self.0.iter().find(|(known, _)| known == id);
                let (_, key) = known.ok_or(EntryDefect::UnknownKey)?;
                key.open(&associated(*id, name), sealed)
                    .ok_or(EntryDefect::NotAuthentic)
            }
            Some((&UNENCRYPTED, _)) => Err(EntryDefect::Clear),
            _ => Err(EntryDefect::UnknownFormat),
        }
    }
}

/// The fields have fixed lengths, except the last one: no two inputs collide.
fn associated(id: KeyId, name: &str) -> Vec<u8> {
    let mut data = Vec::with_capacity(1 + ID_BYTES + name.len());
    data.push(ENCRYPTED);
    data.extend_from_slice(&id);
    data.extend_from_slice(name.as_bytes());
    data
}

/// Its identifier is derived from the key, so that nobody has to invent one, and none can be given twice.
fn key(word: &str) -> Result<(KeyId, AeadKey), &'static str> {
    const WRONG: &str =
        "a key is not the base64 form of 32 bytes: `openssl rand -base64 32` makes one";
    let mut bytes = Zeroizing::new([0; KEY_BYTES + 3]);
    let length = BASE64_STANDARD
        .decode_slice(word, &mut *bytes)
        .map_err(|_| WRONG)?;
    let bytes = bytes[..length].first_chunk::<KEY_BYTES>();
    let bytes = bytes.filter(|_| length == KEY_BYTES).ok_or(WRONG)?;
    let digest = crypto::sha256(&[b"hallpass token store key id\0", bytes]);
    let mut id = KeyId::default();
    id.copy_from_slice(&digest[..ID_BYTES]);
    Ok((id, AeadKey::new(bytes).ok_or(WRONG)?))
}

/// Returns the entry in its form without encryption.
pub(crate) fn clear(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + plain.len());
    out.push(UNENCRYPTED);
    out.extend_from_slice(plain);
    out
}

/// Returns an entry that is not encrypted.
///
/// # Errors
///
/// The reason why it cannot be used.
pub(crate) fn open_clear(entry: &[u8]) -> Result<Zeroizing<Vec<u8>>, EntryDefect> {
    match entry.split_first() {
        Some((&UNENCRYPTED, plain)) => Ok(Zeroizing::new(plain.to_vec())),
        Some((&ENCRYPTED, _)) => Err(EntryDefect::UnknownKey),
        _ => Err(EntryDefect::UnknownFormat),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    const SECOND: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

    fn keys(text: &str) -> Keys {
        Keys::parse(text).unwrap()
    }

    // covers: F-93
    #[test]
    fn the_first_key_encrypts_and_all_decrypt() {
        let (old, both) = (keys(FIRST), keys(&format!("{SECOND}\n{FIRST}\n")));
        let sealed = old.seal("name", b"token").unwrap();
        assert_eq!(**both.open("name", &sealed).unwrap(), *b"token");
        let sealed = both.seal("name", b"token").unwrap();
        assert_eq!(
            old.open("name", &sealed).err(),
            Some(EntryDefect::UnknownKey)
        );
        assert_eq!(**keys(SECOND).open("name", &sealed).unwrap(), *b"token");
    }

    // covers: F-94
    #[test]
    fn an_entry_under_another_name_does_not_decrypt() {
        let keys = keys(FIRST);
        let sealed = keys.seal("name", b"token").unwrap();
        let moved = keys.open("other", &sealed);
        assert_eq!(moved.err(), Some(EntryDefect::NotAuthentic));
    }

    #[test]
    fn the_identifier_of_the_key_is_authenticated() {
        const OTHER: KeyId = [7; ID_BYTES];
        let Keys(mut renamed) = keys(FIRST);
        let mut sealed = keys(FIRST).seal("name", b"token").unwrap();
        renamed[0].0 = OTHER;
        sealed[1..=ID_BYTES].copy_from_slice(&OTHER);
        let opened = Keys(renamed).open("name", &sealed);
        assert_eq!(opened.err(), Some(EntryDefect::NotAuthentic));
    }

    // covers: F-92
    #[test]
    fn no_altered_or_cut_entry_decrypts() {
        let keys = keys(FIRST);
        let sealed = keys.seal("name", b"token").unwrap();
        assert!(!sealed.windows(5).any(|window| window == b"token"));
        for end in 0..sealed.len() {
            assert!(keys.open("name", &sealed[..end]).is_err(), "{end}");
            let mut altered = sealed.clone();
            altered[end] ^= 1;
            assert!(keys.open("name", &altered).is_err(), "{end}");
        }
    }

    #[test]
    fn two_encryptions_of_one_entry_differ() {
        let keys = keys(FIRST);
        let sealed = || keys.seal("name", b"token").unwrap();
        assert_ne!(sealed(), sealed());
    }

    #[test]
    fn clear_and_encrypted_entries_are_not_mistaken() {
        let clear = clear(b"token");
        assert_eq!(**open_clear(&clear).unwrap(), *b"token");
        assert_eq!(
            keys(FIRST).open("name", &clear).err(),
            Some(EntryDefect::Clear)
        );
        let sealed = keys(FIRST).seal("name", b"token").unwrap();
        assert_eq!(open_clear(&sealed).err(), Some(EntryDefect::UnknownKey));
        assert_eq!(open_clear(b"").err(), Some(EntryDefect::UnknownFormat));
    }

    #[test]
    fn keys_of_another_length_are_refused_without_quoting_them() {
        let long = format!("{FIRST}AAAA");
        for text in ["", " ,\n", "AAAA", "not base64 CANARY", &FIRST[1..], &long] {
            let error = Keys::parse(text).err().expect(text);
            assert!(!error.contains("CANARY"));
        }
    }
}
