//! The settings of a run: flags, the environment and a profile, combined and checked once.

mod authentication;
mod environment;
mod file;
mod layer;
mod missing;
mod paths;
mod server;
mod settings;
mod unit;
mod values;

pub(crate) use authentication::{AuthenticationSettings, SecretEncoding};
pub(crate) use hallpass::secrets::SecretReference;
pub(crate) use paths::cache_directory;
pub(crate) use server::{Server, ServerAddress};
pub(crate) use settings::{Audience, Settings};
pub(crate) use unit::SettingSource;
pub(crate) use values::parse_duration;

use crate::{
    args::{Client, Common},
    failure::Failure,
};

/// Reads the profile and the environment, and combines them with the flags.
pub(crate) fn read(common: &Common, flags: &Client) -> Result<Settings, Failure> {
    let variables = environment::Variables::of_this_process();
    let file = paths::config_file(common.config.as_deref(), &variables);
    let chosen = match &common.profile {
        Some(name) => Some((name.clone(), "--profile")),
        None => variables
            .text("HALLPASS_PROFILE")?
            .map(|name| (name, "HALLPASS_PROFILE")),
    };
    let profile = file::read_profile(
        &file,
        chosen.as_ref().map(|(name, by)| (name.as_str(), *by)),
    )?;
    let environment = environment::read_layer(&variables, profile.is_some())?;
    let (name, profile) = match profile {
        Some((name, layer)) => (Some(name), layer),
        None => (None, layer::Layer::default()),
    };
    // A variable set in the shell does not change a profile chosen on the command line.
    let (one, other) = if common.profile.is_some() {
        (profile, environment)
    } else {
        (environment, profile)
    };
    let layer = layer::from_flags(flags)?.over(one).over(other);
    if flags.danger_allow_mixed_settings {
        tracing::warn!("settings from different sources are allowed");
    } else {
        layer.client.check(&layer.server)?;
    }
    let is_cached = !common.no_cache && layer.cache.unwrap_or(true);
    let cache_directory = if is_cached {
        paths::cache_directory()?
    } else {
        None
    };
    settings::Settings::new(name, file.path, cache_directory, layer)
}
