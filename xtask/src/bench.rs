//! `cargo xtask bench`: runs the benchmarks, and prints ratios of rows that ran together.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, bail};
use serde_json::Value;
use xshell::{Shell, cmd};

/// A benchmark program: its name and its package.
const PROGRAMS: [(&str, &str); 2] = [
    ("fetch", "hallpass-endpoint"),
    ("parse", "hallpass-endpoint"),
];

/// A row over another row of the same run, and the most that the ratio may be.
struct Target {
    what: &'static str,
    row: &'static str,
    baseline: &'static str,
    most: f64,
}

const TARGETS: [Target; 2] = [
    Target {
        what: "a cold fetch over a bare reqwest POST with a serde_json parse",
        row: "fetch/hallpass",
        baseline: "fetch/reqwest",
        most: 1.10,
    },
    Target {
        what: "a response of 64 KiB over one of 16 KiB (linear: 4)",
        row: "parse/64KiB",
        baseline: "parse/16KiB",
        most: 4.4,
    },
];

pub(crate) fn run(shell: &Shell, only: Option<&str>) -> anyhow::Result<()> {
    let chosen: Vec<_> = PROGRAMS
        .iter()
        .filter(|(name, _)| only.is_none_or(|only| only == *name))
        .collect();
    if chosen.is_empty() {
        let names: Vec<_> = PROGRAMS.iter().map(|(name, _)| *name).collect();
        bail!(
            "there is no such benchmark; there are: {}",
            names.join(", ")
        );
    }
    // One folder for all rows, also where `CARGO_TARGET_DIR` builds elsewhere.
    let rows = crate::root().join("target/criterion");
    for (name, package) in &chosen {
        cmd!(
            shell,
            "cargo bench --package {package} --all-features --bench {name}"
        )
        .env("CRITERION_HOME", &rows)
        .run()?;
    }
    let mut report =
        "| what | ours | baseline | ratio | at most | |\n|---|---|---|---|---|---|\n".to_owned();
    for target in &TARGETS {
        let program = target.row.split('/').next();
        if !chosen.iter().any(|(name, _)| Some(*name) == program) {
            continue;
        }
        let ours = median(&rows, target.row)?;
        let baseline = median(&rows, target.baseline)?;
        let ratio = ours / baseline;
        let verdict = if ratio <= target.most {
            "meets"
        } else {
            "misses"
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            report,
            "| {} | {} | {} | {ratio:.2} | {:.2} | {verdict} |",
            target.what,
            time(ours),
            time(baseline),
            target.most
        );
    }
    println!("\n{report}");
    let path = crate::root().join("target/bench/report.md");
    fs::create_dir_all(path.with_file_name(""))?;
    fs::write(path, report)?;
    Ok(())
}

fn time(nanoseconds: f64) -> String {
    if nanoseconds < 1_000.0 {
        format!("{nanoseconds:.1} ns")
    } else {
        format!("{:.2} µs", nanoseconds / 1_000.0)
    }
}

/// The median of a row's last run, in nanoseconds.
fn median(rows: &Path, row: &str) -> anyhow::Result<f64> {
    let path = rows.join(row).join("new/estimates.json");
    let text =
        fs::read_to_string(&path).with_context(|| format!("the row `{row}` was not measured"))?;
    let estimates: Value = serde_json::from_str(&text)?;
    let median = estimates["median"]["point_estimate"].as_f64();
    median.with_context(|| format!("the row `{row}` has no median"))
}
