//! Flags without effect beside the others, which are errors. clap refuses those that its attributes can express.

use clap::ValueEnum;

use super::{Args, Command, Format, KeyAlgorithm, Keygen, Token};
use crate::failure::Failure;

impl Args {
    /// Refuses each flag that has no effect.
    ///
    /// # Errors
    ///
    /// Names the flag, and the subcommand or the other flag.
    pub(crate) fn check_effects(&self) -> Result<(), Failure> {
        let (subcommand, has_profile, has_cache) = match &self.command {
            Command::Token(_) => ("token", true, true),
            Command::Exec(_) => ("exec", true, true),
            Command::Request(_) => ("request", true, true),
            Command::Doctor(_) => ("doctor", true, false),
            // It is about the cache itself.
            Command::Cache(_) => ("cache", true, false),
            Command::Inspect(_) => ("inspect", false, false),
            Command::Keygen(_) => ("keygen", false, false),
            Command::Completions(_) => ("completions", false, false),
            Command::Man(_) => ("man", false, false),
        };
        let common = &self.common;
        for (flag, is_set, has_effect) in [
            ("--profile", common.profile.is_some(), has_profile),
            ("--config", common.config.is_some(), has_profile),
            ("--no-cache", common.no_cache, has_cache),
        ] {
            if is_set && !has_effect {
                let message = format!("`{flag}` has no effect in `hallpass {subcommand}`");
                return Err(Failure::usage(message).with_remedy("remove the flag"));
            }
        }
        match &self.command {
            Command::Token(token) => token.check_effects(),
            Command::Keygen(keygen) => keygen.check_effects(),
            _ => Ok(()),
        }
    }
}

impl Token {
    fn check_effects(&self) -> Result<(), Failure> {
        for (flag, is_set, format) in [
            ("--name", self.name.is_some(), Format::Env),
            ("--url", self.url.is_some(), Format::Dpop),
        ] {
            if is_set && self.format != format {
                let (format, other) = (written(&format), written(&self.format));
                let message = format!("`{flag}` requires `--format {format}`");
                let remedy = format!("it has no effect with `--format {other}`");
                return Err(Failure::usage(message).with_remedy(remedy));
            }
        }
        Ok(())
    }
}

impl Keygen {
    fn check_effects(&self) -> Result<(), Failure> {
        let is_rsa = |algorithm| matches!(algorithm, KeyAlgorithm::Rs256 | KeyAlgorithm::Ps256);
        match self.algorithm {
            Some(other) if self.bits.is_some() && !is_rsa(other) => {
                let message = "`--bits` requires `--algorithm rs256` or `ps256`";
                let remedy = format!("it has no effect with `--algorithm {}`", written(&other));
                Err(Failure::usage(message).with_remedy(remedy))
            }
            _ => Ok(()),
        }
    }
}

/// Returns the value as it is written on the command line.
fn written(value: &impl ValueEnum) -> String {
    let value = value.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

#[cfg(test)]
mod tests;
