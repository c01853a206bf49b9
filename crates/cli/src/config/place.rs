//! The locations of the configuration file and of the token cache.

use std::path::{Path, PathBuf};

use etcetera::BaseStrategy as _;

use super::environment::Variables;

/// The location of the configuration file.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: Option<PathBuf>,
    /// The flag or variable that named it; `None` for the user's default file, which need not exist.
    pub(crate) named_by: Option<&'static str>,
}

pub(crate) fn config_file(flag: Option<&Path>, variables: &Variables) -> File {
    let named = |path: PathBuf, by| File {
        path: Some(path),
        named_by: Some(by),
    };
    if let Some(path) = flag {
        return named(path.to_owned(), "--config");
    }
    if let Some(path) = variables.os("HALLPASS_CONFIG") {
        return named(path.into(), "HALLPASS_CONFIG");
    }
    // Without a home folder there is no file; the environment may be sufficient.
    let user = etcetera::choose_base_strategy().ok();
    File {
        path: user.map(|user| user.config_dir().join("hallpass").join("config.toml")),
        named_by: None,
    }
}

/// Returns the folder of the token cache: always a subfolder of our own in the one that the user names.
pub(crate) fn cache_folder() -> Option<PathBuf> {
    let variables = Variables::of_this_process();
    if let Some(folder) = variables.os("HALLPASS_CACHE_DIR") {
        return Some(PathBuf::from(folder).join("hallpass"));
    }
    let user = etcetera::choose_base_strategy().ok()?;
    Some(user.cache_dir().join("hallpass"))
}
