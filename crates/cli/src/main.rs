//! The `hallpass` command: OAuth 2.0 access tokens for shells, cron jobs, timers and kubectl.
//!
//! `docs/command.md` describes its behaviour. `args` defines the command line, `config` combines profile, environment
//! and flags, `tokens` gets a token through the cache and the file `store`, and each subcommand has a file in
//! `command`.

mod args;
mod command;
mod config;
mod doctor;
mod explain;
mod failure;
mod http;
mod jwt;
mod out;
mod store;
mod tokens;
mod usage;
mod verbose;

use std::process::ExitCode;

use clap::Parser as _;

use args::Args;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return usage::print_error(&error),
    };
    verbose::start(args.common.verbose);
    let verbose = args.common.verbose > 0;
    match command::run(args) {
        Ok(code) => code,
        Err(failure) => {
            failure.print(verbose);
            failure.exit().into()
        }
    }
}
