//! The `hallpass` command: OAuth 2.0 access tokens for shells, cron jobs, timers and kubectl.
//!
//! `docs/command.md` tells what it does. Here: `args` is what a user may write, `config` what a profile, the
//! environment and flags make of it, `tokens` gets a token through the cache and the file `store`, and each subcommand
//! has a file in `command`.

mod args;
mod command;
mod config;
mod doctor;
mod failure;
mod http;
mod out;
mod source;
mod store;
mod tokens;
mod usage;
mod verbose;

use std::{env, process::ExitCode};

use clap::Parser as _;

use args::Args;
use failure::Exit;

fn main() -> ExitCode {
    let plain = Args::of_a_plain_token(env::args_os());
    let args = match plain.map_or_else(Args::try_parse, Ok) {
        Ok(args) => args,
        Err(error) => return usage::explain(&error),
    };
    verbose::start(args.common.verbose);
    let verbose = args.common.verbose > 0;
    match command::run(args) {
        Ok(code) => code,
        // Whoever read the output has gone: `hallpass cache list | head` is no error.
        Err(failure) if failure.is_broken_pipe() => Exit::Ok.into(),
        Err(failure) => {
            failure.print(verbose);
            failure.exit().into()
        }
    }
}
