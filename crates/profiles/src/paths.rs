//! The location of the configuration file, and the size of files that settings name.

use std::path::PathBuf;

use etcetera::BaseStrategy as _;

use crate::environment::Variables;

/// The longest accepted file of certificates: far more than all public authorities need.
pub(crate) const MAX_CERTIFICATE_BYTES: usize = 16 << 20;

/// The location of the configuration file.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    pub(crate) path: Option<PathBuf>,
    /// The flag or variable that named it; `None` for the user's default file, which need not exist.
    pub(crate) named_by: Option<&'static str>,
}

pub(crate) fn config_file(
    chosen: Option<(PathBuf, &'static str)>,
    variables: &Variables,
) -> ConfigFile {
    let named = |path: PathBuf, by| ConfigFile {
        path: Some(path),
        named_by: Some(by),
    };
    if let Some((path, by)) = chosen {
        return named(path, by);
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
