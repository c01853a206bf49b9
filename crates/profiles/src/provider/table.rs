//! The table `provider_settings` of a profile.

use std::{collections::BTreeMap, fmt};

use hallpass_secrets::SecretReference;

/// A provider's own settings, which only the provider understands.
#[derive(Clone, Default)]
pub(crate) struct Table {
    /// The file and the line of the table; empty without one.
    pub(crate) location: String,
    pub(crate) entries: BTreeMap<String, Entry>,
}

/// A setting with its file and line.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) location: String,
    pub(crate) value: Value,
    /// The text's meaning if the provider reads it as a reference to a secret.
    pub(crate) reference: Option<SecretReference>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Texts(Vec<String>),
    Boolean(bool),
    Number(i64),
}

impl Table {
    pub(crate) fn is_set(&self) -> bool {
        !self.location.is_empty()
    }

    pub(crate) fn add(&mut self, name: &str, location: String, value: Value) {
        let reference = match &value {
            Value::Text(text) => text.parse().ok(),
            _ => None,
        };
        let entry = Entry {
            location,
            value,
            reference,
        };
        self.entries.insert(name.to_owned(), entry);
    }

    /// Returns the texts that are references to secrets.
    pub(crate) fn references(&self) -> impl Iterator<Item = &SecretReference> {
        self.entries
            .values()
            .filter_map(|entry| entry.reference.as_ref())
    }

    /// Returns all settings as texts that differ if a setting differs.
    pub(crate) fn canonical(&self) -> impl Iterator<Item = String> {
        let entries = self.entries.iter();
        entries.map(|(name, entry)| format!("{name:?} = {:?}", entry.value))
    }
}

/// Two tables with the same settings are equal, wherever they are.
impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.entries.iter(), other.entries.iter());
        let ours = ours.map(|(name, entry)| (name, &entry.value));
        self.is_set() == other.is_set() && ours.eq(theirs.map(|(name, entry)| (name, &entry.value)))
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An operator may have written a secret instead of a reference.
        f.debug_set().entries(self.entries.keys()).finish()
    }
}
