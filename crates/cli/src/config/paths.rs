//! The locations of the configuration file and of the token cache.

use std::path::{Path, PathBuf};

use etcetera::BaseStrategy as _;

use super::environment::Variables;
use crate::failure::Failure;

/// The location of the configuration file.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    pub(crate) path: Option<PathBuf>,
    /// The flag or variable that named it; `None` for the user's default file, which need not exist.
    pub(crate) named_by: Option<&'static str>,
}

pub(crate) fn config_file(flag: Option<&Path>, variables: &Variables) -> ConfigFile {
    let named = |path: PathBuf, by| ConfigFile {
        path: Some(path),
        named_by: Some(by),
    };
    if let Some(path) = flag {
        return named(path.to_owned(), "--config");
    }
    if let Some(path) = variables.os("HALLPASS_CONFIG") {
        return named(path.into(), "HALLPASS_CONFIG");
    }
    // Without a home directory there is no file; the environment may be sufficient.
    let user = etcetera::choose_base_strategy().ok();
    ConfigFile {
        path: user.map(|user| user.config_dir().join("hallpass").join("config.toml")),
        named_by: None,
    }
}

/// Returns the directory of the token cache: `hallpass` in the configured cache directory, or in the user's.
///
/// # Errors
///
/// Fails for a relative path in `HALLPASS_CACHE_DIR`: each working directory would have a separate cache.
pub(crate) fn cache_directory() -> Result<Option<PathBuf>, Failure> {
    let variables = Variables::of_this_process();
    let parent = match variables.os("HALLPASS_CACHE_DIR").map(PathBuf::from) {
        Some(named) if named.is_relative() => {
            return Err(Failure::configuration(
                "the variable `HALLPASS_CACHE_DIR` holds a relative path",
            )
            .with_remedy("set it to an absolute path"));
        }
        Some(named) => Some(named),
        // Relative paths in the variables of the XDG specification are ignored, as it requires.
        None => etcetera::choose_base_strategy()
            .ok()
            .map(|user| user.cache_dir()),
    };
    Ok(parent.map(|parent| parent.join("hallpass")))
}
