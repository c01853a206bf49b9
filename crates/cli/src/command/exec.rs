//! `hallpass exec`.

use std::{
    io,
    path::Path,
    process::{Command, ExitCode},
};

use super::token::check_name;
use crate::{
    args::{Common, Exec},
    config,
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
    let token = tokens::block_on(tokens.token())?;
    let mut command = Command::new(program);
    command.args(arguments);
    for name in SECRETS {
        command.env_remove(name);
    }
    for reference in tokens.settings.proof.references() {
        let reference = reference.to_string();
        if let Some(name) = reference.strip_prefix("env:") {
            command.env_remove(name);
        }
        // Whoever has it reads the secret in Vault.
        if reference.starts_with("vault:") {
            command.env_remove("VAULT_TOKEN");
        }
    }
    command.env(&args.name, token.expose());
    drop((token, tokens));
    let error = match replace(command) {
        Ok(code) => return Ok(code),
        Err(error) => error,
    };
    not_started(&error, &program.to_string_lossy()).print(common.verbose > 0);
    // As shells have it.
    Ok(if error.kind() == io::ErrorKind::NotFound {
        ExitCode::from(127)
    } else {
        ExitCode::from(126)
    })
}

/// The command takes this process's place: signals, terminal and exit code are its own.
#[cfg(unix)]
fn replace(mut command: Command) -> io::Result<ExitCode> {
    use std::os::unix::process::CommandExt as _;

    Err(command.exec())
}

/// Windows replaces no process: this one waits, and passes the exit code on. Of Ctrl-C and Ctrl-Break, which the console
/// tells both, the command makes what it will.
#[cfg(windows)]
fn replace(mut command: Command) -> io::Result<ExitCode> {
    use tokio::signal::windows::{ctrl_break, ctrl_c};

    // As long as someone listens, they do not end this process. Without a console there are none.
    let _heard = (ctrl_c(), ctrl_break());
    match command.status()?.code() {
        Some(code) => std::process::exit(code),
        None => Err(io::Error::other("it ended without an exit code")),
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
