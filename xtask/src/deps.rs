//! Who depends on whom, and on how much.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, bail};
use cargo_metadata::{DependencyKind, MetadataCommand, Package};
use xshell::{Shell, cmd};

/// Which crates of ours a crate may name. Down, never up, never sideways; see docs/ARCHITECTURE.md.
const EDGES: [(&str, &[&str]); 5] = [
    ("hallpass-core", &[]),
    ("hallpass-endpoint", &["hallpass-core"]),
    ("hallpass-camall", &["hallpass-core", "hallpass-endpoint"]),
    ("hallpass-testkit", &["hallpass-core"]),
    (
        "hallpass",
        &["hallpass-core", "hallpass-endpoint", "hallpass-camall"],
    ),
];

/// Crates below core at most, itself included.
const CORE_CRATES: usize = 20;
/// None of these may be below core.
const NOT_BELOW_CORE: [&str; 5] = ["tokio", "reqwest", "hyper", "rustls", "tracing"];
/// The facade's crates over those of reqwest alone, with the same TLS.
const FACADE_RATIO: f64 = 1.45;

pub(crate) fn packages() -> anyhow::Result<Vec<Package>> {
    let metadata = MetadataCommand::new()
        .manifest_path(crate::root().join("Cargo.toml"))
        .no_deps()
        .exec()?;
    Ok(metadata.packages)
}

pub(crate) fn edges(packages: &[Package], faults: &mut Vec<String>) {
    for (name, allowed) in EDGES {
        let Some(package) = packages.iter().find(|package| *package.name == name) else {
            faults.push(format!(
                "the table of edges names `{name}`, which is no package"
            ));
            continue;
        };
        for dependency in &package.dependencies {
            let to = dependency.name.as_str();
            let ours = packages.iter().any(|package| *package.name == to);
            let for_tests =
                dependency.kind == DependencyKind::Development && to == "hallpass-testkit";
            if ours && !for_tests && !allowed.contains(&to) {
                faults.push(format!("`{name}` must not depend on `{to}`"));
            }
        }
    }
    for package in packages.iter().filter(|package| package.publish.is_none()) {
        if !EDGES.iter().any(|(name, _)| **name == **package.name) {
            faults.push(format!(
                "`{}` is missing in the table of edges",
                package.name
            ));
        }
    }
}

pub(crate) fn counts(shell: &Shell, faults: &mut Vec<String>) -> anyhow::Result<()> {
    let core = tree(shell, &["--package", "hallpass-core"])?;
    println!(
        "hallpass-core: {} crates, at most {CORE_CRATES}",
        core.len()
    );
    if core.len() > CORE_CRATES {
        faults.push(format!(
            "hallpass-core has {} crates, more than {CORE_CRATES}",
            core.len()
        ));
    }
    for name in NOT_BELOW_CORE.iter().filter(|name| core.contains(**name)) {
        faults.push(format!("`{name}` is below hallpass-core"));
    }

    let facade = tree(shell, &["--package", "hallpass"])?;
    let reqwest = reqwest_alone(shell)?;
    #[allow(clippy::cast_precision_loss)] // A few hundred.
    let ratio = facade.len() as f64 / reqwest.len() as f64;
    println!(
        "hallpass: {} crates with default features, reqwest alone: {}; ratio {ratio:.2}, at most {FACADE_RATIO}",
        facade.len(),
        reqwest.len()
    );
    if ratio > FACADE_RATIO {
        faults.push(format!(
            "the facade's crates are {ratio:.2} of reqwest's, more than {FACADE_RATIO}"
        ));
    }
    Ok(())
}

/// The crates, by name and version, that a build for this machine links, procedural macros included.
fn tree(shell: &Shell, args: &[&str]) -> anyhow::Result<BTreeSet<String>> {
    let tree = cmd!(shell, "cargo tree --edges normal --prefix none {args...}");
    let lines = tree.quiet().read()?;
    let name = |line: &str| {
        line.split_whitespace()
            .take(2)
            .collect::<Vec<_>>()
            .join(" ")
    };
    Ok(lines.lines().map(name).collect())
}

/// A package that depends on reqwest and nothing else, with its default features and our lock file.
fn reqwest_alone(shell: &Shell) -> anyhow::Result<BTreeSet<String>> {
    let folder = crate::root().join("target/tidy/reqwest-alone");
    let manifest = "[package]\nname = \"reqwest-alone\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\nreqwest = \"0.13\"\n";
    fs::create_dir_all(folder.join("src"))?;
    fs::write(folder.join("src/lib.rs"), "")?;
    fs::write(folder.join("Cargo.toml"), manifest)?;
    fs::copy(crate::root().join("Cargo.lock"), folder.join("Cargo.lock"))
        .context("Cargo.lock is missing")?;
    let manifest = folder.join("Cargo.toml").display().to_string();
    let mut crates = tree(shell, &["--manifest-path", &manifest])?;
    crates.retain(|name| !name.starts_with("reqwest-alone "));
    if crates.is_empty() {
        bail!("reqwest's crates could not be counted");
    }
    Ok(crates)
}
