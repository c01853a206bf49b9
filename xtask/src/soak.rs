//! `cargo xtask soak`: a service, or the cache alone, under load and faults for any length of time.

use std::env::consts::EXE_SUFFIX;

use xshell::{Cmd, Shell, cmd};

use crate::{
    files,
    flags::{Minutes, Rate},
    workspace,
};

/// Builds the program that runs the cache alone.
pub(crate) fn cache(shell: &Shell, minutes: Minutes) -> anyhow::Result<Cmd<'_>> {
    let minutes = minutes.to_string();
    let soak = workspace::example(shell, "soak")?;
    Ok(cmd!(shell, "{soak} --minutes {minutes}"))
}

/// Options of a run of the service.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) seed: Option<u64>,
    pub(crate) rate: Option<Rate>,
    /// A fault on purpose.
    pub(crate) fault: Option<String>,
}

/// Builds the program that runs a service with an authorization server, an API, Redis and the command.
pub(crate) fn service(
    shell: &Shell,
    minutes: Minutes,
    options: Options,
) -> anyhow::Result<Cmd<'_>> {
    let folder = workspace::build(shell, &["--example", "service-soak", "--bin", "hallpass"])?;
    let minutes = minutes.to_string();
    let options = [
        ("--seed", options.seed.map(|seed| seed.to_string())),
        ("--rate", options.rate.map(|rate| rate.to_string())),
        ("--fault", options.fault),
    ];
    let options = options.into_iter();
    let options = options.filter_map(|(flag, value)| Some([flag.to_owned(), value?]));
    let options = options.flatten();
    let soak = folder.join(format!("examples/service-soak{EXE_SUFFIX}"));
    let command = folder.join(format!("hallpass{EXE_SUFFIX}"));
    let report = files::root().join("target/soak/report.html");
    Ok(cmd!(
        shell,
        "{soak} --minutes {minutes} --command {command} --report {report} {options...}"
    ))
}
