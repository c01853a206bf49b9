//! The allowed dependencies between crates, and the number of dependencies.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, bail};
use cargo_metadata::{DependencyKind, MetadataCommand, Package};
use xshell::{Shell, cmd};

/// The workspace crates that a crate may depend on. Down, never up or sideways; see docs/ARCHITECTURE.md.
const EDGES: [(&str, &[&str]); 22] = [
    ("hallpass-core", &[]),
    ("hallpass-endpoint", &["hallpass-core"]),
    (
        "hallpass-camall",
        &["hallpass-core", "hallpass-endpoint", "hallpass-secrets"],
    ),
    ("hallpass-jwt", &["hallpass-core", "hallpass-endpoint"]),
    ("hallpass-jwt-none", &["hallpass-core", "hallpass-endpoint"]),
    ("hallpass-jwt-ring", &["hallpass-core", "hallpass-endpoint"]),
    ("hallpass-cache", &["hallpass-core"]),
    ("hallpass-secrets", &["hallpass-core"]),
    ("hallpass-redis", &["hallpass-core", "hallpass-cache"]),
    (
        "hallpass-profiles",
        &[
            "hallpass-core",
            "hallpass-endpoint",
            "hallpass-camall",
            "hallpass-cache",
            "hallpass-jwt",
            "hallpass-redis",
            "hallpass-secrets",
        ],
    ),
    ("hallpass-reqwest", &["hallpass-core"]),
    ("hallpass-tower", &["hallpass-core"]),
    // Its documentation has a cache in its examples, as its users do.
    ("hallpass-blocking", &["hallpass-core", "hallpass-cache"]),
    ("hallpass-testkit", &["hallpass-core"]),
    (
        "hallpass",
        &[
            "hallpass-blocking",
            "hallpass-core",
            "hallpass-endpoint",
            "hallpass-camall",
            "hallpass-cache",
            "hallpass-jwt",
            "hallpass-profiles",
            "hallpass-redis",
            "hallpass-reqwest",
            "hallpass-secrets",
            "hallpass-tower",
            "hallpass-testkit",
        ],
    ),
    ("hallpass-cli", &["hallpass"]),
    (
        "hallpass-tests",
        &["hallpass", "hallpass-core", "hallpass-testkit"],
    ),
    (
        "hallpass-fuzz",
        &[
            "hallpass-cache",
            "hallpass-core",
            "hallpass-endpoint",
            "hallpass-jwt",
            "hallpass-profiles",
            "hallpass-redis",
            "hallpass-secrets",
            "hallpass-testkit",
        ],
    ),
    // Examples depend on the facade only, as users do.
    ("observed-service", &["hallpass"]),
    ("uses", &["hallpass"]),
    // The guide's result, as another party writes it.
    ("agent-file", &["hallpass-core"]),
    ("xtask", &["hallpass-testkit"]),
];
/// Every workspace crate may use this one in tests.
const TESTKIT: &str = "hallpass-testkit";

/// The maximum number of crates in core's dependency tree, including itself.
const CORE_CRATES: usize = 20;
/// Crates that core must not depend on.
const NOT_BELOW_CORE: [&str; 5] = ["tokio", "reqwest", "hyper", "rustls", "tracing"];
/// The maximum number of crates of the facade with default features, including itself, on Linux.
const FACADE_CRATES: usize = 129;
/// Crates of optional features, which must not be below the facade with default features.
const NOT_BELOW_FACADE: [&str; 5] = [
    "hallpass-blocking",
    "hallpass-jwt",
    "hallpass-redis",
    "hallpass-testkit",
    "redis",
];
/// The maximum ratio of the facade's crates to those of reqwest alone, with the same TLS.
const FACADE_RATIO: f64 = 1.45;

pub(crate) fn packages() -> anyhow::Result<Vec<Package>> {
    let metadata = MetadataCommand::new()
        .manifest_path(crate::files::root().join("Cargo.toml"))
        .no_deps()
        .exec()?;
    Ok(metadata.packages)
}

pub(crate) fn edges(packages: &[Package], faults: &mut Vec<String>) {
    for package in packages {
        let name = package.name.as_str();
        if !EDGES.iter().any(|(known, _)| *known == name) {
            faults.push(format!("`{name}` is missing in the table of edges"));
        }
        for dependency in &package.dependencies {
            let to = dependency.name.as_str();
            let ours = packages.iter().any(|package| *package.name == to);
            if ours && !allowed(name, to, dependency.kind) {
                faults.push(format!("`{name}` must not depend on `{to}`"));
            }
        }
    }
}

fn allowed(from: &str, to: &str, kind: DependencyKind) -> bool {
    let for_tests = kind == DependencyKind::Development && to == TESTKIT;
    for_tests
        || EDGES
            .iter()
            .any(|(name, below)| *name == from && below.contains(&to))
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
    for name in unwanted(&core, &NOT_BELOW_CORE) {
        faults.push(format!("`{name}` is below hallpass-core"));
    }

    let facade = tree(shell, &["--package", "hallpass"])?;
    if cfg!(target_os = "linux") && facade.len() > FACADE_CRATES {
        faults.push(format!(
            "hallpass has {} crates with default features, more than {FACADE_CRATES}",
            facade.len()
        ));
    }
    for name in unwanted(&facade, &NOT_BELOW_FACADE) {
        faults.push(format!("`{name}` is below hallpass with default features"));
    }
    let reqwest = reqwest_alone(shell, &facade)?;
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

/// Returns the listed crates that are among these, each a name and a version.
fn unwanted(crates: &BTreeSet<String>, list: &[&'static str]) -> Vec<&'static str> {
    let found = |unwanted: &str| crates.iter().any(|known| name(known) == unwanted);
    let listed = list.iter().copied();
    listed.filter(|unwanted| found(unwanted)).collect()
}

fn name(crate_and_version: &str) -> &str {
    crate_and_version.split(' ').next().unwrap_or_default()
}

/// Returns the crates, by name and version, that a build for this machine links, including procedural macros.
fn tree(shell: &Shell, args: &[&str]) -> anyhow::Result<BTreeSet<String>> {
    let tree = cmd!(shell, "cargo tree --edges normal --prefix none {args...}");
    let output = tree.quiet().ignore_status().output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    let name_and_version = |line: &str| {
        let mut words = line.split_whitespace();
        Some(format!("{} {}", words.next()?, words.next()?))
    };
    let lines = String::from_utf8(output.stdout)?;
    Ok(lines.lines().filter_map(name_and_version).collect())
}

/// Returns the crates of a package that depends only on the facade's reqwest, with default features and our lock file.
/// These features add crates that the lock file may not name, so the network is used if the cache is insufficient.
fn reqwest_alone(shell: &Shell, facade: &BTreeSet<String>) -> anyhow::Result<BTreeSet<String>> {
    let version = facade
        .iter()
        .find_map(|known| known.strip_prefix("reqwest v"));
    let version = version.context("the facade does not depend on reqwest")?;
    let folder = crate::files::root().join("target/tidy/reqwest-alone");
    let manifest = format!(
        "[package]\nname = \"reqwest-alone\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\nreqwest = \"={version}\"\n"
    );
    let lock =
        fs::read(crate::files::root().join("Cargo.lock")).context("Cargo.lock is missing")?;
    fs::create_dir_all(folder.join("src"))?;
    fs::write(folder.join("src/lib.rs"), "")?;
    fs::write(folder.join("Cargo.toml"), manifest)?;
    fs::write(folder.join("Cargo.lock"), lock)?;
    let manifest = folder.join("Cargo.toml").display().to_string();
    let count = |more: &[&str]| tree(shell, &[&["--manifest-path", &manifest], more].concat());
    let (mut crates, from) = if let Ok(crates) = count(&["--offline"]) {
        (crates, "the cache")
    } else {
        let crates = count(&[]).context("reqwest's crates could not be counted")?;
        (crates, "the network")
    };
    println!("reqwest {version} alone: resolved from {from}, with our lock file");
    crates.retain(|known| name(known) != "reqwest-alone");
    Ok(crates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unwanted_crate_is_found_in_any_version() {
        let core = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let bad = core(&["http v1.3.1", "hyper v1.7.0", "tokio v1.50.0"]);
        assert_eq!(unwanted(&bad, &NOT_BELOW_CORE), ["tokio", "hyper"]);
        let good = core(&["http v1.3.1", "tokio-like v1.0.0"]);
        assert!(unwanted(&good, &NOT_BELOW_CORE).is_empty());
    }

    #[test]
    fn edges_point_down() {
        use DependencyKind::{Development, Normal};
        assert!(allowed("hallpass-camall", "hallpass-endpoint", Normal));
        assert!(allowed("hallpass-endpoint", TESTKIT, Development));
        assert!(!allowed("hallpass-endpoint", TESTKIT, Normal));
        assert!(!allowed("hallpass-core", "hallpass-endpoint", Normal));
        assert!(!allowed("hallpass-cache", "hallpass-endpoint", Development));
        assert!(!allowed("hallpass-cli", "hallpass-core", Normal));
    }
}
