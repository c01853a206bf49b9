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

/// The variables that may hold a client secret by convention. The command gets a token and does not need them.
const SECRET_VARIABLES: [&str; 6] = [
    "HALLPASS_CLIENT_SECRET",
    "CAMALL_CLIENT_SECRET",
    "HALLPASS_PRIVATE_KEY",
    // The key may be in the same text.
    "HALLPASS_CERTIFICATE",
    "HALLPASS_ASSERTION",
    "HALLPASS_DPOP",
];

pub(crate) fn run(common: &Common, args: &Exec) -> Result<ExitCode, Failure> {
    check_name(&args.name)?;
    let Some((program, arguments)) = args.command.split_first() else {
        return Err(Failure::usage("a command is required"));
    };
    let tokens = Tokens::new(config::read(common, &args.client)?)?;
    let token = tokens::block_on(tokens.token())?;
    let mut command = Command::new(program);
    command.args(arguments);
    for name in SECRET_VARIABLES {
        command.env_remove(name);
    }
    for reference in tokens.settings.references() {
        let reference = reference.to_string();
        if let Some(name) = reference.strip_prefix("env:") {
            command.env_remove(name);
        }
        // The Vault token gives access to the secret.
        if reference.starts_with("vault:") {
            command.env_remove("VAULT_TOKEN");
        }
    }
    command.env(&args.name, token.expose());
    drop((token, tokens));
    let error = match replace_process(command) {
        Ok(code) => return Ok(code),
        Err(error) => error,
    };
    not_started(&error, &program.to_string_lossy()).print(common.verbose > 0);
    // The exit codes that shells use.
    Ok(if error.kind() == io::ErrorKind::NotFound {
        ExitCode::from(127)
    } else {
        ExitCode::from(126)
    })
}

/// Replaces this process with the command, which then owns signals, terminal and exit code.
#[cfg(unix)]
fn replace_process(mut command: Command) -> io::Result<ExitCode> {
    use std::os::unix::process::CommandExt as _;

    Err(command.exec())
}

/// Runs the command, waits for it and returns its exit code: Windows cannot replace a process. The console sends Ctrl-C
/// and Ctrl-Break to both processes, and the command decides what to do with them.
#[cfg(windows)]
fn replace_process(mut command: Command) -> io::Result<ExitCode> {
    use tokio::signal::windows::{ctrl_break, ctrl_c};

    // While these listeners exist, the signals do not end this process. Without a console there are no signals.
    let _heard = (ctrl_c(), ctrl_break());
    match command.status()?.code() {
        Some(code) => std::process::exit(code),
        None => Err(io::Error::other("it ended without an exit code")),
    }
}

fn not_started(error: &io::Error, program: &str) -> Failure {
    let reason = match error.kind() {
        io::ErrorKind::NotFound => "no such file or command".to_owned(),
        kind => kind.to_string(),
    };
    let failure = Failure::new(
        Exit::Output,
        format!("`{program}` could not be started: {reason}"),
    );
    let bare = Path::new(program).extension().is_none();
    if cfg!(windows) && bare && error.kind() == io::ErrorKind::NotFound {
        return failure.with_remedy(
            "set the extension of a script, as in `npm.cmd`, and run shell built-ins with `cmd /c`",
        );
    }
    failure
}
