//! What is asked of whom: flags over the environment over a profile, checked once.

mod environment;
mod file;
mod layer;
mod place;
mod proof;
mod settings;
mod values;

pub(crate) use hallpass::secrets::SecretReference;
pub(crate) use place::cache_folder;
pub(crate) use proof::{Proof, Sent};
pub(crate) use settings::{Place, Server, Settings};
pub(crate) use values::duration;

use crate::{
    args::{Client, Common},
    failure::Failure,
};

/// Reads the profile and the environment, and puts the flags over them.
pub(crate) fn read(common: &Common, flags: &Client) -> Result<Settings, Failure> {
    let variables = environment::Variables::of_this_process();
    let file = place::config_file(common.config.as_deref(), &variables);
    let chosen = match &common.profile {
        Some(name) => Some((name.clone(), "--profile")),
        None => variables
            .text("HALLPASS_PROFILE")?
            .map(|name| (name, "HALLPASS_PROFILE")),
    };
    let profile = file::profile(
        &file,
        chosen.as_ref().map(|(name, by)| (name.as_str(), *by)),
    )?;
    let environment = environment::layer(&variables, profile.is_some())?;
    let (name, profile) = match profile {
        Some((name, layer)) => (Some(name), layer),
        None => (None, layer::Layer::default()),
    };
    let layer = layer::of_flags(flags)?.over(environment).over(profile);
    settings::Settings::new(name, file.path, layer)
}
