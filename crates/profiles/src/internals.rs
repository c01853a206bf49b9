//! For this repository's fuzz targets, without stability guarantees.

use std::ffi::OsString;

use crate::{ProfileError, Profiles, environment::Variables};

/// Reads the text of a configuration file, if there is one, and uses these variables in place of the process's.
///
/// # Errors
///
/// Those of [`Profiles::load`].
pub fn load(
    text: Option<&str>,
    variable: impl Fn(&str) -> Option<OsString> + Send + Sync + 'static,
) -> Result<Profiles, ProfileError> {
    Profiles::of_text(text, Variables::new(variable))
}
