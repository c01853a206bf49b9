//! The settings of a run: flags, the environment and a profile, combined and checked once.

mod authentication;
mod environment;
mod file;
mod layer;
mod missing;
mod paths;
mod redis;
mod server;
mod settings;
mod unit;
mod values;

pub(crate) use authentication::{AuthenticationSettings, SecretEncoding};
pub(crate) use hallpass::secrets::SecretReference;
pub(crate) use paths::cache_directory;
pub(crate) use redis::RedisSettings;
pub(crate) use server::{Server, ServerAddress};
pub(crate) use settings::{Audience, Settings, TokenCache};
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
    let profile = read_profile(common, &variables, &file)?;
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
    let cache = match &layer.redis {
        _ if !is_cached => TokenCache::None,
        Some(_) => TokenCache::Redis,
        None => paths::cache_directory()?.map_or(TokenCache::None, TokenCache::Files),
    };
    settings::Settings::new(name, file.path, cache, layer)
}

/// Returns the profile that the command line or the environment names, or the default one if there is one.
fn read_profile(
    common: &Common,
    variables: &environment::Variables,
    file: &paths::ConfigFile,
) -> Result<Option<(String, layer::Layer)>, Failure> {
    let chosen = match &common.profile {
        Some(name) => Some((name.clone(), "--profile")),
        None => variables
            .text("HALLPASS_PROFILE")?
            .map(|name| (name, "HALLPASS_PROFILE")),
    };
    file::read_profile(file, chosen.as_ref().map(|(name, by)| (name.as_str(), *by)))
}

/// Returns the name of this run's profile if its tokens are in Redis.
///
/// A profile that cannot be read has none: its files are listed and removed nevertheless.
pub(crate) fn profile_with_redis(common: &Common) -> Option<String> {
    let variables = environment::Variables::of_this_process();
    let file = paths::config_file(common.config.as_deref(), &variables);
    let (name, layer) = read_profile(common, &variables, &file).ok()??;
    layer.redis.map(|_| name)
}
