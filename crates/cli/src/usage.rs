//! clap's errors about an invalid command line, without the values of arguments, which may be secrets.

use std::{error::Error as _, process::ExitCode};

use clap::{
    Error,
    error::{ContextKind, ContextValue, ErrorKind},
};
use hallpass::profiles::InvalidDuration;

use crate::{
    args,
    failure::{Exit, Failure},
};

/// Prints help, the version or the error, and returns the exit code.
pub(crate) fn print_error(error: &Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A closed output is not an error of this command.
            let _ = error.print();
            return Exit::Ok.into();
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            return Exit::Usage.into();
        }
        // `hallpass help --help`: clap expects a subcommand's name after `help`.
        ErrorKind::InvalidSubcommand if is_help_flag(error) => {
            let _ = args::command().print_long_help();
            return Exit::Ok.into();
        }
        _ => {}
    }
    failure(error).print(false);
    Exit::Usage.into()
}

/// Returns the failure for an error about the arguments.
pub(crate) fn failure(error: &Error) -> Failure {
    let remedy = suggestion(error).unwrap_or_else(|| "see `hallpass --help`".into());
    Failure::usage(message(error)).with_remedy(remedy)
}

fn message(error: &Error) -> String {
    let argument = text(error, ContextKind::InvalidArg);
    match error.kind() {
        ErrorKind::UnknownArgument => match argument.as_deref().and_then(flag_name) {
            Some(flag) if is_about_secrets(flag) => format!(
                "unexpected argument `{flag}`: no flag accepts a secret, since the process list shows it to other users"
            ),
            Some(flag) => format!("unexpected argument `{flag}`"),
            None => "unexpected argument (not shown, as it may be a secret)".to_owned(),
        },
        ErrorKind::InvalidSubcommand => {
            "unknown subcommand (not shown, as it may be a secret)".to_owned()
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let values = list(error, ContextKind::ValidValue);
            let argument = argument.unwrap_or_default();
            if text(error, ContextKind::InvalidValue).is_none_or(|value| value.is_empty()) {
                format!("`{argument}` requires a value")
            } else if let Some(why) = invalid_duration(error) {
                format!("`{argument}`: {why}")
            } else if values.is_empty() {
                format!("invalid value for `{argument}`")
            } else {
                format!("invalid value for `{argument}`; possible values: {values}")
            }
        }
        ErrorKind::MissingRequiredArgument => {
            let missing = list(error, ContextKind::InvalidArg);
            format!("missing arguments: {missing}")
        }
        ErrorKind::ArgumentConflict => format!(
            "`{}` cannot be used with `{}`",
            argument.unwrap_or_default(),
            text(error, ContextKind::PriorArg).unwrap_or_default()
        ),
        ErrorKind::InvalidUtf8 => "an argument is not valid Unicode".to_owned(),
        _ => match argument {
            Some(argument) if argument.starts_with("--") => {
                format!("invalid use of `{argument}`")
            }
            _ => "invalid command line".to_owned(),
        },
    }
}

/// Returns true if the unknown subcommand is a flag for help.
fn invalid_duration(error: &Error) -> Option<&InvalidDuration> {
    error.source()?.downcast_ref()
}

fn is_help_flag(error: &Error) -> bool {
    let name = text(error, ContextKind::InvalidSubcommand);
    matches!(name.as_deref(), Some("--help" | "-h"))
}

/// Returns the flag's name if the argument is a flag: without its value, and no other argument.
fn flag_name(argument: &str) -> Option<&str> {
    let name = argument.split('=').next().unwrap_or_default();
    let letters = name.strip_prefix("--")?;
    let fit = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
    (letters.len() <= 32 && letters.bytes().all(fit)).then_some(name)
}

fn is_about_secrets(flag: &str) -> bool {
    ["secret", "password", "access-token", "client-assertion"]
        .iter()
        .any(|word| flag.contains(word))
}

fn suggestion(error: &Error) -> Option<String> {
    let argument = text(error, ContextKind::InvalidArg);
    if argument.is_some_and(|argument| is_about_secrets(&argument)) {
        let remedy = "set a reference to it in a profile, or the variable `HALLPASS_CLIENT_SECRET`";
        return Some(remedy.to_owned());
    }
    if error.kind() == ErrorKind::MissingRequiredArgument {
        let usage = text(error, ContextKind::Usage)?;
        return Some(format!("write it as `{}`", usage.strip_prefix("Usage: ")?));
    }
    let known = text(error, ContextKind::SuggestedArg)
        .or_else(|| text(error, ContextKind::SuggestedSubcommand));
    known.map(|known| format!("a similar name exists: `{known}`"))
}

fn text(error: &Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        // The most similar name is the last one.
        ContextValue::Strings(texts) => texts.last().cloned(),
        ContextValue::StyledStr(text) => Some(text.to_string()),
        _ => None,
    }
}

fn list(error: &Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::Strings(values)) => {
            let quoted: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
            quoted.join(", ")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Args;

    // covers: I-14
    #[test]
    fn no_argument_is_printed_that_may_be_a_secret() {
        let mut repeated = 0;
        for (line, says) in [
            ("token s3cr3t-canary", "unexpected argument (not shown"),
            (
                "token --client-secret s3cr3t-canary",
                "no flag accepts a secret",
            ),
            (
                "token --client-secret=s3cr3t-canary",
                "no flag accepts a secret",
            ),
            ("token --s3cr3t-canary", "unexpected argument (not shown"),
            ("s3cr3t-canary", "unknown subcommand"),
            ("tken", "a similar name exists: `token`"),
            ("token --name", "`--name <NAME>` requires a value"),
            ("token --format s3cr3t-canary", "possible values: `text`"),
            ("token -s3cr3t-canary", "unexpected argument (not shown"),
            ("token --no-cache=s3cr3t-canary", "invalid use of"),
            (
                "keygen --rotate a --jwks b --overlap s3cr3t-canary",
                "`--overlap <DURATION>`: expected a duration",
            ),
            ("token --scop s3cr3t-canary", "unexpected argument `--scop`"),
            (
                "request --body s3cr3t-canary",
                "missing arguments: `<METHOD>`, `<URL>`",
            ),
            (
                "request --body s3cr3t-canary GET",
                "write it as `hallpass request",
            ),
            (
                "token --refresh --no-cache",
                "`--refresh` cannot be used with `--no-cache`",
            ),
        ] {
            let words = format!("hallpass {line}");
            let error = Args::try_parse_from(words.split(' ')).unwrap_err();
            let text = format!("{}; {:?}", message(&error), suggestion(&error));
            assert!(text.contains(says), "{line}: {text}");
            assert!(!text.contains("canary"), "{line}: {text}");
            repeated += usize::from(error.to_string().contains("s3cr3t-canary"));
        }
        // Positive control: clap itself repeats some of them.
        assert_eq!(repeated, 6);
    }
}
