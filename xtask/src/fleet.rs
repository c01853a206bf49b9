//! `cargo xtask fleet`: measures many processes that share a token store.

use xshell::{Shell, cmd};

/// Simulates the processes in virtual time.
pub(crate) fn simulate(shell: &Shell, processes: usize) -> anyhow::Result<()> {
    let processes = processes.to_string();
    let simulation = cmd!(
        shell,
        "cargo run --quiet --release --package hallpass-cache --example fleet -- --processes {processes}"
    );
    Ok(simulation.run()?)
}
