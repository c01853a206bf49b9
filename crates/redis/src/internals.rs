//! For this repository's fuzz targets, without stability guarantees.

use crate::{
    envelope::{self, EntryDefect},
    store::{digits, split_fence},
};

/// The protection of entries: with keys, or in clear.
pub struct Entries(Option<envelope::Keys>);

impl std::fmt::Debug for Entries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Entries").field(&self.0.is_some()).finish()
    }
}

impl Entries {
    /// Encrypts with these keys.
    ///
    /// # Errors
    ///
    /// A text that says why they are not keys.
    pub fn encrypted(keys: &str) -> Result<Self, &'static str> {
        Ok(Self(Some(envelope::Keys::parse(keys)?)))
    }

    /// Does not encrypt.
    pub fn clear() -> Self {
        Self(None)
    }

    /// Returns an entry in its form in Redis; `None` if the system has no random bytes.
    pub fn seal(&self, name: &str, fence: u64, plain: &[u8]) -> Option<Vec<u8>> {
        let mut value = digits(fence).into_bytes();
        value.extend(match &self.0 {
            Some(keys) => keys.seal(name, plain)?,
            None => envelope::clear(plain),
        });
        Some(value)
    }

    /// Returns the fence and the content of an entry in its form in Redis.
    ///
    /// # Errors
    ///
    /// A text that says why it cannot be used.
    pub fn open(&self, name: &str, value: &[u8]) -> Result<(u64, Vec<u8>), String> {
        let split = split_fence(value).ok_or(EntryDefect::UnknownFormat);
        let opened = split.and_then(|(fence, sealed)| {
            let plain = match &self.0 {
                Some(keys) => keys.open(name, sealed)?,
                None => envelope::open_clear(sealed)?,
            };
            Ok((fence, plain.to_vec()))
        });
        opened.map_err(|defect| defect.to_string())
    }
}
