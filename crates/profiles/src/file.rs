//! The configuration file.

use std::{fmt, fs::Metadata, path::Path, time::SystemTime};

use hallpass_secrets::RegularFile;

use crate::{
    document::{Document, ProfileLayers},
    error::ProfileError,
    layer::Layer,
    paths::ConfigFile,
    values::{self, quoted_name},
};

/// The longest accepted file: about 40,000 profiles, which a program may write.
const MAX_BYTES: usize = 8 << 20;
/// The profile that is used when none is named.
const DEFAULT_PROFILE: &str = "default";

/// Returns the profile of this name, or the default one if there is one.
pub(crate) fn profile(
    file: &ConfigFile,
    contents: Option<&FileContents>,
    chosen: Option<Choice<'_>>,
) -> Result<Option<(String, Layer)>, ProfileError> {
    let Some((path, contents)) = file.path.as_deref().zip(contents) else {
        return match (chosen, &file.path) {
            (None, _) => Ok(None),
            (Some(choice), Some(path)) => Err(ProfileError::new(format!(
                "{choice} does not exist: there is no file {}",
                path.display()
            ))
            .with_hint("create it, or set `HALLPASS_CONFIG` to the path of another file")),
            (Some(choice), None) => Err(ProfileError::new(format!(
                "{choice} does not exist: without a home directory there is no configuration file"
            ))
            .with_hint("set `HALLPASS_CONFIG`")),
        };
    };
    contents.profile(path, chosen)
}

/// The name of a chosen profile, and the variable that it comes from, if it does.
#[derive(Clone, Copy)]
pub(crate) struct Choice<'a> {
    pub(crate) name: &'a str,
    pub(crate) variable: Option<&'a str>,
}

impl fmt::Display for Choice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the profile {}", quoted_name(self.name))?;
        match self.variable {
            Some(variable) => write!(f, " set by `{variable}`"),
            None => Ok(()),
        }
    }
}

/// The contents of a configuration file.
pub(crate) struct FileContents {
    profiles: ProfileLayers,
    pub(crate) warnings: Vec<String>,
    pub(crate) stamp: Option<FileStamp>,
}

/// The metadata by which a change of a file is recognized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileStamp {
    modified: SystemTime,
    length: u64,
    /// The state of the file system's entry.
    entry: Entry,
}

impl FileStamp {
    /// Returns the stamp of a file with this metadata, if the system has a time for it.
    pub(crate) fn new(metadata: &Metadata) -> Option<Self> {
        Some(Self {
            modified: metadata.modified().ok()?,
            length: metadata.len(),
            entry: entry(metadata),
        })
    }
}

#[cfg(unix)]
type Entry = (u64, i64, i64);
#[cfg(not(unix))]
type Entry = ();

/// Returns the number of the file, which is another one after a rename, and the time of its last change, which may be one
/// of its permissions only.
#[cfg(unix)]
fn entry(metadata: &Metadata) -> Entry {
    use std::os::unix::fs::MetadataExt as _;

    (metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
}

#[cfg(not(unix))]
fn entry(_: &Metadata) -> Entry {}

impl FileContents {
    /// Reads the profiles of a text that no other user has written.
    #[cfg(feature = "internals")]
    pub(crate) fn of_text(path: &Path, text: &str) -> Result<Self, ProfileError> {
        let document = Document {
            path,
            text,
            is_of_others: false,
        };
        Ok(Self {
            profiles: document.profiles()?,
            warnings: Vec::new(),
            stamp: None,
        })
    }

    /// Returns the names of all profiles, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.profiles.keys().map(String::as_str)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.profiles.contains_key(name)
    }

    fn profile(
        &self,
        path: &Path,
        chosen: Option<Choice<'_>>,
    ) -> Result<Option<(String, Layer)>, ProfileError> {
        let name = chosen.map_or(DEFAULT_PROFILE, |choice| choice.name);
        match (self.profiles.get(name), chosen) {
            (Some(layer), _) => Ok(Some((name.to_owned(), layer.clone()?))),
            (None, None) => Ok(None),
            (None, Some(choice)) => Err(self.no_profile(path, choice)),
        }
    }

    fn no_profile(&self, path: &Path, choice: Choice<'_>) -> ProfileError {
        let error = ProfileError::new(format!("{choice} does not exist in {}", path.display()));
        match values::nearest_name(choice.name, self.names()) {
            Some(nearest) => error.with_hint(format!("a similar name exists: `{nearest}`")),
            None if self.profiles.is_empty() => error.with_hint("the file has no profiles"),
            None => {
                let names: Vec<_> = self.names().collect();
                error.with_hint(format!("available profiles: `{}`", names.join("`, `")))
            }
        }
    }
}

/// Reads the file; `None` if it is the user's default file and does not exist.
pub(crate) fn read_file(
    path: &Path,
    named_by: Option<&str>,
) -> Result<Option<FileContents>, ProfileError> {
    let failed = |why: &str| {
        let by = named_by
            .map(|by| format!(", set by `{by}`,"))
            .unwrap_or_default();
        ProfileError::new(format!(
            "the configuration file {}{by} {why}",
            path.display()
        ))
    };
    let file = match RegularFile::open(path) {
        Err(error) if error.is_missing() && named_by.is_none() => return Ok(None),
        file => file.map_err(|error| failed(&error.to_string()))?,
    };
    let mut warnings = Vec::new();
    let stamp = FileStamp::new(file.metadata());
    let is_of_others = is_writable_by_others(path, file.metadata(), &mut warnings);
    let text = file.read(MAX_BYTES);
    let text = text.map_err(|error| failed(&error.to_string()))?;
    let text = String::from_utf8(text).map_err(|error| {
        let utf16 = matches!(error.as_bytes(), [0xff, 0xfe, ..] | [0xfe, 0xff, ..]);
        failed(if utf16 {
            "is UTF-16, which Windows PowerShell's `>` writes; save it as UTF-8"
        } else {
            "is not UTF-8"
        })
    })?;
    // Some editors write a byte order mark.
    let text = text
        .strip_prefix('\u{feff}')
        .map(str::to_owned)
        .unwrap_or(text);
    let document = Document {
        path,
        text: &text,
        is_of_others,
    };
    Ok(Some(FileContents {
        profiles: document.profiles()?,
        warnings,
        stamp,
    }))
}

/// Warns about a file that another user can write, and returns true then: they choose where credentials are sent.
#[cfg(unix)]
fn is_writable_by_others(path: &Path, file: &Metadata, warnings: &mut Vec<String>) -> bool {
    use std::os::unix::fs::MetadataExt as _;

    let me = rustix::process::geteuid().as_raw();
    let (write_of_others, owner) = (file.mode() & 0o022 != 0, file.uid());
    if write_of_others {
        warnings.push(format!(
            "other users can write to {} and change where credentials are sent; run `chmod go-w` on it",
            path.display()
        ));
    } else if owner != me && owner != 0 {
        warnings.push(format!(
            "{} belongs to another user, who can change where credentials are sent",
            path.display()
        ));
    }
    write_of_others || (owner != me && owner != 0)
}

/// Returns false: on other systems a user's directories are private unless shared on purpose.
#[cfg(not(unix))]
fn is_writable_by_others(_: &Path, _: &Metadata, _: &mut Vec<String>) -> bool {
    false
}

#[cfg(test)]
mod tests;
