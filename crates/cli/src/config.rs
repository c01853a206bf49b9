//! The settings of a run: flags over the environment and a profile.

use std::{env, path::PathBuf};

use etcetera::BaseStrategy as _;
use hallpass::profiles::{Profiles, Selection};
pub(crate) use hallpass::{
    profiles::{AuthenticationSettings, SecretEncoding, SettingSource, Settings, parse_duration},
    secrets::SecretReference,
};

use crate::{
    args::{Client, Common},
    failure::Failure,
};

/// The place where tokens are cached between runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenCache {
    None,
    /// This directory.
    Files(PathBuf),
    /// The profile's Redis store.
    Redis,
}

/// Reads the profile and the environment, and combines them with the flags.
pub(crate) fn read(common: &Common, flags: &Client) -> Result<(Settings, TokenCache), Failure> {
    let profiles = load(common)?;
    for warning in profiles.warnings() {
        warn(warning);
    }
    let settings = profiles.settings(&selection(common, flags)?)?;
    let is_cached = !common.no_cache && settings.cache.unwrap_or(true);
    let cache = match &settings.redis {
        _ if !is_cached => TokenCache::None,
        Some(_) => TokenCache::Redis,
        None => cache_directory()?.map_or(TokenCache::None, TokenCache::Files),
    };
    Ok((settings, cache))
}

fn load(common: &Common) -> Result<Profiles, Failure> {
    let profiles = Profiles::builder().file_set_by("--config");
    let profiles = match &common.config {
        Some(path) => profiles.file(path),
        None => profiles,
    };
    Ok(profiles.load()?)
}

fn warn(text: &str) {
    use std::io::Write as _;

    // If standard error is closed, there is nowhere left to report to.
    let _ = writeln!(std::io::stderr(), "hallpass: warning: {text}");
}

/// Returns the profile and the settings of the command line.
fn selection(common: &Common, flags: &Client) -> Result<Selection, Failure> {
    let mut selection = Selection::new();
    if let Some(profile) = &common.profile {
        selection = selection.profile(profile);
    }
    if let Some(provider) = &flags.provider {
        selection = selection.provider(provider);
    }
    if let Some(url) = &flags.token_endpoint {
        selection = selection.token_endpoint(url);
    }
    if let Some(issuer) = &flags.issuer {
        selection = selection.issuer(issuer);
    }
    if let Some(id) = &flags.client_id {
        selection = selection.client_id(id);
    }
    if let Some(method) = flags.authentication {
        selection = selection.authentication(method);
    }
    if let Some(reference) = &flags.dpop {
        // The argument is not repeated: it may be a secret.
        let reference = reference.parse::<SecretReference>();
        let reference = reference.map_err(|why| Failure::usage(format!("`--dpop`: {why}")))?;
        selection = selection.dpop(reference);
    }
    if let Some(profile) = flags.security_profile {
        selection = selection.security_profile(profile);
    }
    if let Some(scope) = &flags.scope {
        selection = selection.scope(scope);
    }
    for audience in &flags.audience {
        selection = selection.audience(audience);
    }
    for resource in &flags.resource {
        selection = selection.resource(resource);
    }
    for pair in &flags.parameter {
        // The argument is not repeated: it may be a secret.
        let Some((name, value)) = pair.split_once('=') else {
            return Err(Failure::usage(
                "`--parameter` must have the form `NAME=VALUE`",
            ));
        };
        selection = selection.parameter(name, value);
    }
    if let Some(timeout) = &flags.timeout {
        let timeout = parse_duration(timeout);
        selection = selection
            .timeout(timeout.map_err(|why| Failure::usage(format!("`--timeout`: {why}")))?);
    }
    if flags.danger_allow_http_on_loopback {
        selection = selection.danger_allow_http_on_loopback();
    }
    if flags.danger_allow_mixed_settings {
        selection = selection.danger_allow_mixed_settings();
    }
    Ok(selection)
}

/// Returns the name of this run's profile if its tokens are in Redis.
///
/// A profile that cannot be read has none: its files are listed and removed nevertheless.
pub(crate) fn profile_with_redis(common: &Common) -> Option<String> {
    let settings = load(common)
        .ok()?
        .settings(&selection(common, &Client::default()).ok()?);
    let settings = settings.ok()?;
    settings.redis.and(settings.profile)
}

/// Returns the directory of the token cache: `hallpass` in the configured cache directory, or in the user's.
///
/// # Errors
///
/// Fails for a relative path in `HALLPASS_CACHE_DIR`: each working directory would have a separate cache.
pub(crate) fn cache_directory() -> Result<Option<PathBuf>, Failure> {
    let named = env::var_os("HALLPASS_CACHE_DIR").filter(|named| !named.is_empty());
    let parent = match named.map(PathBuf::from) {
        Some(named) if named.is_relative() => {
            return Err(Failure::configuration(
                "the variable `HALLPASS_CACHE_DIR` contains a relative path",
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

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{self, Args, Command};

    /// Returns the flags of a token request, each with a value if it takes one.
    fn flags() -> Vec<Vec<String>> {
        let command = args::command();
        let token = command.find_subcommand("token").unwrap();
        let of_client = token.get_arguments().filter(|argument| {
            let heading = argument.get_help_heading();
            heading.is_some_and(|heading| {
                ["Token request", "Authorization server and client"].contains(&heading)
            })
        });
        let flags = of_client.map(|argument| {
            let name = argument.get_long().unwrap();
            let value = match name {
                "authentication" => "client_secret_post",
                "dpop" => "file:/run/secrets/dpop.pem",
                "parameter" => "tenant=blue",
                "security-profile" => "fapi2",
                "timeout" => "7s",
                _ => "https://value.example/",
            };
            let value = argument
                .get_action()
                .takes_values()
                .then(|| value.to_owned());
            std::iter::once(format!("--{name}")).chain(value).collect()
        });
        flags.collect()
    }

    fn selected(flags: &[&[String]]) -> String {
        let line = ["hallpass", "token"].map(str::to_owned);
        let line = line.into_iter().chain(flags.concat());
        let args = Args::try_parse_from(line).unwrap();
        let Command::Token(token) = args.command else {
            panic!("another subcommand");
        };
        format!("{:?}", selection(&args.common, &token.client).unwrap())
    }

    #[test]
    fn each_flag_is_a_setting_beside_every_other_one() {
        let flags = flags();
        let none = selected(&[]);
        for (at, one) in flags.iter().enumerate() {
            let alone = selected(&[one]);
            assert_ne!(alone, none, "{one:?}");
            for other in &flags[at + 1..] {
                let both = selected(&[one, other]);
                assert_ne!(both, alone, "{one:?} {other:?}");
                assert_ne!(both, selected(&[other]), "{one:?} {other:?}");
            }
        }
        assert_eq!(flags.len(), 14);
    }
}
