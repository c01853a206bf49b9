//! `hallpass exec`.

use std::{
    io,
    path::Path,
    process::{Command, ExitCode},
};

use super::token::check_name;
use crate::{
    args::{Common, Exec},
    config::{self, SecretReference},
    failure::{Exit, Failure},
    tokens::{self, Tokens},
};

/// Where a client's secret may be by its name; a command that gets a token has no business with it.
const SECRETS: [&str; 5] = [
    "HALLPASS_CLIENT_SECRET",
    "CAMALL_CLIENT_SECRET",
    "HALLPASS_PRIVATE_KEY",
    // The key may stand in one text with it.
    "HALLPASS_CERTIFICATE",
    "HALLPASS_ASSERTION",
];

pub(crate) fn run(common: &Common, args: &Exec) -> Result<ExitCode, Failure> {
    check_name(&args.name)?;
    let Some((program, arguments)) = args.command.split_first() else {
        return Err(Failure::usage("there is no command to run"));
    };
    let tokens = Tokens::new(config::read(common, &args.client)?, common);
    let token = tokens::block_on(async { Ok(tokens.token().await?) })?;
    let mut command = Command::new(program);
    command.args(arguments);
    for name in SECRETS {
        command.env_remove(name);
    }
    for name in tokens.settings.proof.references().filter_map(variable) {
        command.env_remove(name);
    }
    command.env(&args.name, token.expose());
    drop((token, tokens));
    replace(command, &program.to_string_lossy())
}

/// The variable that the secret was read from, if it was.
fn variable(reference: &SecretReference) -> Option<String> {
    let shown = reference.to_string();
    shown.strip_prefix("env:").map(str::to_owned)
}

/// The command takes this process's place: signals, terminal and exit code are its own.
#[cfg(unix)]
fn replace(mut command: Command, program: &str) -> Result<ExitCode, Failure> {
    use std::os::unix::process::CommandExt as _;

    Err(not_started(&command.exec(), program))
}

/// Windows replaces no process: this one waits, and passes the exit code on. Of Ctrl-C and Ctrl-Break, which the console
/// tells both, the command makes what it will.
#[cfg(windows)]
fn replace(mut command: Command, program: &str) -> Result<ExitCode, Failure> {
    use tokio::signal::windows::{ctrl_break, ctrl_c};

    // As long as someone listens, they do not end this process. Without a console there are none.
    let _heard = (ctrl_c(), ctrl_break());
    let status = command
        .status()
        .map_err(|error| not_started(&error, program))?;
    match status.code() {
        Some(code) => std::process::exit(code),
        None => Err(Failure::new(
            Exit::Output,
            format!("`{program}` ended without an exit code"),
        )),
    }
}

fn not_started(error: &io::Error, program: &str) -> Failure {
    let failure = Failure::new(
        Exit::Output,
        format!("`{program}` could not be started: {}", error.kind()),
    );
    let bare = Path::new(program).extension().is_none();
    if cfg!(windows) && bare && error.kind() == io::ErrorKind::NotFound {
        return failure.with_remedy(
            "name a script with its ending, as in `npm.cmd`, and run what the shell itself does by `cmd /c`",
        );
    }
    failure
}
