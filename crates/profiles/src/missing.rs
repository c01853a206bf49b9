//! The error about a required setting that is not set.

use std::path::PathBuf;

use crate::error::ProfileError;

pub(crate) fn missing_setting(
    what: &str,
    key: &str,
    variables: &str,
    file: Option<&PathBuf>,
) -> ProfileError {
    let file = file
        .map(|file| format!(" of {}", file.display()))
        .unwrap_or_default();
    ProfileError::new(format!("{what} is not set")).with_hint(format!(
        "set {key} in a profile{file}, or {variables} in the environment"
    ))
}
