//! `cargo xtask ci`: runs every check, each with its name and its time.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use xshell::{Shell, cmd};

use crate::{
    fuzz, missing, peers,
    workspace::{self, LINTS, Variants},
};

pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    if !workspace::is_ci() {
        return Ok(cmd!(shell, "cargo xtask ci").env("CI", "true").run()?);
    }
    workspace::lint_in_ci(shell);
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
    step("lints, while the tests are compiled", &|| {
        thread::scope(|scope| {
            // Downloads use the network, and no processor.
            let beside = shell.clone();
            let servers = scope.spawn(move || peers::set_up(&beside));
            let selection = &workspace::selection(Variants::InCi)?;
            cmd!(shell, "cargo build --quiet {selection...} --benches").run()?;
            cmd!(shell, "cargo nextest run {selection...} --no-run").run()?;
            let outcome = servers.join();
            let missing = outcome
                .map_err(|_| anyhow::anyhow!("the installation of the servers panicked"))??;
            missing::report(&missing, workspace::is_ci())
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
        let time = Duration::from_secs(20);
        fuzz::run(
            shell,
            &fuzz::Options {
                time,
                // A change fails by its own faults, and not by chance.
                seed: Some(1),
                ..fuzz::Options::default()
            },
        )
    })?;
    // The command of the README.
    step("tests", &|| {
        let mut tests = cmd!(shell, "cargo xtask test");
        // This program is there already, and sets them for what it compiles.
        for (name, _) in LINTS {
            tests = tests.env_remove(name);
        }
        Ok(tests.run()?)
    })
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
