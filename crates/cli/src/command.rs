//! The subcommands, one file each.

mod cache;
mod credential;
mod exec;
mod inspect;
mod keygen;
mod proof;
mod request;
mod scripts;
mod time;
mod token;

use std::process::ExitCode;

use crate::{
    args::{Args, Command},
    doctor,
    failure::{Exit, Failure},
};

pub(crate) fn run(args: Args) -> Result<ExitCode, Failure> {
    args.check_effects()?;
    let common = &args.common;
    match args.command {
        Command::Token(token) => token::run(common, &token)?,
        Command::Exec(exec) => return exec::run(common, &exec),
        Command::Request(request) => return request::run(common, &request),
        Command::Inspect(inspect) => inspect::run(&inspect)?,
        Command::Doctor(doctor) => return doctor::run(common, &doctor),
        Command::Cache(cache) => cache::run(common, &cache.action)?,
        Command::Keygen(keygen) => keygen::run(&keygen)?,
        Command::Completions(completions) => scripts::completions(completions.shell)?,
        Command::Man(man) => scripts::man(man.dir.as_deref())?,
    }
    Ok(Exit::Ok.into())
}
