//! `cargo xtask fleet`: measures many processes that share a token store.

use anyhow::bail;
use xshell::{Shell, cmd};

use crate::flags::{Minutes, Processes};

/// Simulates the processes in virtual time.
pub(crate) fn simulate(shell: &Shell, processes: Processes) -> anyhow::Result<()> {
    let processes = processes.to_string();
    let simulation = cmd!(
        shell,
        "cargo run --quiet --release --package hallpass-cache --example fleet -- --processes {processes}"
    );
    Ok(simulation.run()?)
}

/// Measures the targets of a fleet with real processes on a real Redis.
pub(crate) fn targets(shell: &Shell, processes: Processes) -> anyhow::Result<()> {
    require_redis(shell)?;
    let processes = processes.to_string();
    let fleet = cmd!(
        shell,
        "cargo run --quiet --release --package hallpass-tests --example processes -- {processes} --targets"
    );
    Ok(fleet.run()?)
}

/// Runs real processes on a real Redis, behind a proxy that injects faults.
pub(crate) fn run(
    shell: &Shell,
    processes: Processes,
    minutes: Minutes,
    without_faults: bool,
) -> anyhow::Result<()> {
    require_redis(shell)?;
    let (processes, minutes) = (processes.to_string(), minutes.to_string());
    let flag = without_faults.then_some("--without-faults");
    let fleet = cmd!(
        shell,
        "cargo run --quiet --release --package hallpass-tests --example processes -- {processes} {minutes} {flag...}"
    );
    Ok(fleet.run()?)
}

fn require_redis(shell: &Shell) -> anyhow::Result<()> {
    let redis = cmd!(shell, "redis-server --version")
        .quiet()
        .ignore_stderr();
    if redis.read().is_err() {
        bail!(
            "redis-server is missing: install Debian's package `redis-server`, or run `cargo xtask fleet --simulate`"
        );
    }
    Ok(())
}
