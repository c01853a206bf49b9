//! `cargo xtask soak`: a service, or the cache alone, under load and faults for any length of time.

use std::env::consts::EXE_SUFFIX;

use xshell::{Shell, cmd};

use crate::files;

/// Runs the cache alone.
pub(crate) fn cache(shell: &Shell, minutes: f64) -> anyhow::Result<()> {
    let minutes = minutes.to_string();
    let soak = cmd!(
        shell,
        "cargo run --quiet --package hallpass-cache --example soak -- --minutes {minutes}"
    );
    Ok(soak.run()?)
}

/// Options of a run of the service.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) seed: Option<u64>,
    pub(crate) rate: Option<u32>,
    /// A fault on purpose.
    pub(crate) fault: Option<String>,
}

/// Runs a service with an authorization server, an API, Redis and the command.
pub(crate) fn service(shell: &Shell, minutes: f64, options: Options) -> anyhow::Result<()> {
    // With the features that the tests are built with.
    cmd!(
        shell,
        "cargo build --quiet --workspace --all-features --example service-soak --bin hallpass"
    )
    .run()?;
    let minutes = minutes.to_string();
    let options = [
        ("--seed", options.seed.map(|seed| seed.to_string())),
        ("--rate", options.rate.map(|rate| rate.to_string())),
        ("--fault", options.fault),
    ];
    let options = options.into_iter();
    let options = options.filter_map(|(flag, value)| Some([flag.to_owned(), value?]));
    let options = options.flatten();
    let target = files::root().join("target");
    let soak = target.join(format!("debug/examples/service-soak{EXE_SUFFIX}"));
    let command = target.join(format!("debug/hallpass{EXE_SUFFIX}"));
    let report = target.join("soak/report.html");
    let soak = cmd!(
        shell,
        "{soak} --minutes {minutes} --command {command} --report {report} {options...}"
    );
    Ok(soak.run()?)
}
