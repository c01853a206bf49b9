//! `cargo xtask ci`: runs every check, each with its name and its time.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use xshell::{Shell, cmd};

use crate::{
    peers,
    workspace::{self, LINTS},
};

pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    let mut times = Vec::new();
    let outcome = steps(shell, &mut times);
    println!();
    for (name, time) in times {
        println!("{:>6.1} s  {name}", time.as_secs_f64());
    }
    outcome
}

fn steps(shell: &Shell, times: &mut Vec<(&'static str, Duration)>) -> anyhow::Result<()> {
    let mut step = |name: &'static str, check: &dyn Fn() -> anyhow::Result<()>| {
        println!("\n=== {name}");
        let began = Instant::now();
        let outcome = check().with_context(|| format!("the step `{name}` failed"));
        times.push((name, began.elapsed()));
        outcome
    };
    step("format", &|| {
        Ok(cmd!(shell, "cargo fmt --all --check").run()?)
    })?;
    // All that follows is compiled with lints, and once.
    for (name, value) in LINTS {
        shell.set_var(name, value);
    }
    step("lints, while the tests are compiled", &|| {
        thread::scope(|scope| {
            // Downloads use the network, and no processor.
            let servers = scope.spawn(|| peers::set_up(&Shell::new()?));
            let selection = &workspace::selection()?;
            cmd!(shell, "cargo build --quiet {selection...} --benches").run()?;
            cmd!(shell, "cargo nextest run {selection...} --no-run").run()?;
            let outcome = servers.join();
            outcome.map_err(|_| anyhow::anyhow!("the installation of the servers panicked"))?
        })
    })?;
    step("bans, licences, sources", &|| {
        denied(shell, &["bans", "licenses", "sources"])
    })?;
    step("advisories", &|| crate::advisories::run(shell))?;
    step("documentation and repository rules", &|| {
        crate::tidy::run(shell)
    })?;
    step("adapters to other crates", &|| crate::bridges::run(shell))?;
    step("fuzzing, 20 seconds a target", &|| {
        Ok(cmd!(shell, "cargo xtask fuzz --seconds 20").run()?)
    })?;
    // Exactly the command from the README.
    step("tests", &|| Ok(cmd!(shell, "cargo xtask test").run()?))
}

/// Runs cargo-deny's checks on the workspaces that are released.
fn denied(shell: &Shell, checks: &[&str]) -> anyhow::Result<()> {
    for manifest in ["Cargo.toml", "crates/bridges/Cargo.toml"] {
        cmd!(
            shell,
            "cargo deny --log-level error --manifest-path {manifest} --config deny.toml check {checks...}"
        )
        .run()?;
    }
    Ok(())
}
