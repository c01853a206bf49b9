//! The error about a required setting that is not set.

use std::path::PathBuf;

use crate::failure::Failure;

pub(super) fn missing_setting(
    what: &str,
    key: &str,
    variables: &str,
    file: Option<&PathBuf>,
) -> Failure {
    let file = file
        .map(|file| format!(" of {}", file.display()))
        .unwrap_or_default();
    Failure::configuration(format!("{what} is not set")).with_remedy(format!(
        "set {key} in a profile{file}, or {variables} in the environment"
    ))
}
