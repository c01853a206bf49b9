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

pub(crate) fn missing_client_id(file: Option<&PathBuf>) -> ProfileError {
    missing_setting(
        "the client identifier",
        "`client_id`",
        "`HALLPASS_CLIENT_ID`",
        file,
    )
}
