//! `cargo xtask bench`: runs the benchmarks, and prints figures and ratios of rows from the same run.

mod targets;

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, bail};
use serde_json::Value;
use xshell::{Shell, cmd};

use targets::{PROGRAMS, TARGETS, Target};

pub(crate) fn run(shell: &Shell, only: Option<&str>) -> anyhow::Result<()> {
    let chosen: Vec<_> = PROGRAMS
        .iter()
        .filter(|(name, package)| {
            only.is_none_or(|only| only == *name || package.strip_prefix("hallpass-") == Some(only))
        })
        .collect();
    if chosen.is_empty() {
        let names: Vec<_> = PROGRAMS.iter().map(|(name, _)| *name).collect();
        bail!(
            "there is no such benchmark; there are `endpoint`, `cache`, `cli`, `jwt`, `profiles`, `redis`, and one by one {}",
            names.join(", ")
        );
    }
    // One directory for all rows, even if `CARGO_TARGET_DIR` builds elsewhere.
    let rows = crate::files::root().join("target/criterion");
    for (name, package) in &chosen {
        // With the features of this crate only.
        let features: &[&str] = match *name {
            "parse" => &["--features", "internals"],
            "integrations" => &["--features", "reqwest-middleware,tower"],
            _ => &[],
        };
        cmd!(
            shell,
            "cargo bench --package {package} {features...} --bench {name}"
        )
        .env("CRITERION_HOME", &rows)
        .run()?;
    }
    let mut report =
        "| measurement | hallpass | baseline | ratio | at most | |\n|---|---|---|---|---|---|\n"
            .to_owned();
    for target in TARGETS {
        let program = target.row.split('/').next();
        if chosen.iter().any(|(name, _)| Some(*name) == program) {
            // Writing to a String cannot fail.
            let _ = writeln!(report, "{}", line(target, &rows)?);
        }
    }
    println!("\n{report}");
    let path = crate::files::root().join("target/bench/report.md");
    fs::create_dir_all(path.with_file_name(""))?;
    fs::write(path, report)?;
    Ok(())
}

/// Formats a target's line in the report.
fn line(target: &Target, rows: &Path) -> anyhow::Result<String> {
    let result = row(rows, target.row)?;
    let baseline = match target.baseline {
        Some(baseline) => Some(row(rows, baseline)?),
        None => None,
    };
    let quotient = baseline
        .as_ref()
        .map(|baseline| result.value / baseline.value);
    let ratio = paired(rows, target)?.or(quotient);
    let (most, verdict) = match target.most {
        Some(most) if ratio.unwrap_or(result.value) <= most => (most.to_string(), "meets"),
        Some(most) => (most.to_string(), "misses"),
        None => (String::new(), ""),
    };
    Ok(format!(
        "| {} | {result} | {} | {} | {most} | {verdict} |",
        target.what,
        baseline
            .map(|baseline| baseline.to_string())
            .unwrap_or_default(),
        ratio
            .map(|ratio| shown(ratio, target.most))
            .unwrap_or_default(),
    ))
}

/// Formats two digits, and one more if the value would look equal to its target.
fn shown(ratio: f64, most: Option<f64>) -> String {
    let digits = match most {
        Some(most) if (ratio - most).abs() < 0.01 => 3,
        _ => 2,
    };
    format!("{ratio:.digits$}")
}

/// Returns the ratio that the benchmark measured itself, turn by turn, if it did: it is less noisy than a ratio of
/// medians.
fn paired(rows: &Path, target: &Target) -> anyhow::Result<Option<f64>> {
    let Some(baseline) = target.baseline else {
        return Ok(None);
    };
    let name = format!("{}/over/{baseline}", target.row);
    if !rows.join(&name).exists() {
        return Ok(None);
    }
    Ok(Some(row(rows, &name)?.value))
}

/// A figure of the last run.
struct Row {
    value: f64,
    unit: String,
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { value, unit } = self;
        match &**unit {
            "ns" if *value >= 1_000.0 => write!(f, "{:.2} µs", value / 1_000.0),
            "requests" | "calls" | "bytes" => write!(f, "{value:.0} {unit}"),
            "latencies" => write!(f, "{value:.2}"),
            _ => write!(f, "{value:.1} {unit}"),
        }
    }
}

/// Reads the median of a row's last run; criterion's is in nanoseconds, others name their unit.
fn row(rows: &Path, row: &str) -> anyhow::Result<Row> {
    let path = rows.join(row).join("new/estimates.json");
    let text =
        fs::read_to_string(&path).with_context(|| format!("the row `{row}` was not measured"))?;
    let estimates: Value = serde_json::from_str(&text)?;
    let median = estimates["median"]["point_estimate"].as_f64();
    Ok(Row {
        value: median.with_context(|| format!("the row `{row}` has no median"))?,
        unit: estimates["unit"].as_str().unwrap_or("ns").to_owned(),
    })
}
