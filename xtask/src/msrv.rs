//! `cargo xtask msrv`: builds the published crates with the Rust version that they declare.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};
use cargo_metadata::MetadataCommand;
use semver::Version;
use xshell::{Shell, cmd};

use crate::workspace;

/// The workspaces with published crates.
const MANIFESTS: [&str; 2] = ["Cargo.toml", "crates/bridges/Cargo.toml"];

/// An installed toolchain whose name is a version.
struct Toolchain {
    name: String,
    version: Version,
}

impl Toolchain {
    /// Reads a line of rustup's list; those that move, such as `stable`, have no version.
    fn parse(line: &str) -> Option<Self> {
        let name = line.split('-').next()?;
        let missing = if name.matches('.').count() == 1 {
            ".0"
        } else {
            ""
        };
        let version = format!("{name}{missing}").parse().ok()?;
        Some(Self {
            name: name.to_owned(),
            version,
        })
    }
}

pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    let installed = cmd!(shell, "rustup toolchain list").quiet().read();
    let installed = installed.context("rustup, which runs other versions of Rust, is missing")?;
    let installed: Vec<Toolchain> = installed.lines().filter_map(Toolchain::parse).collect();
    for manifest in MANIFESTS {
        for (declared, packages) in declared(manifest)? {
            build(shell, manifest, &declared, &packages, &installed)?;
        }
    }
    Ok(())
}

/// Returns the published crates of a workspace by the version that they declare.
fn declared(manifest: &str) -> anyhow::Result<BTreeMap<Version, Vec<String>>> {
    let path = crate::files::root().join(manifest);
    let metadata = MetadataCommand::new()
        .manifest_path(path)
        .no_deps()
        .exec()?;
    let mut declared: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for package in metadata.packages {
        if package.publish.is_some() {
            continue;
        }
        let Some(version) = package.rust_version else {
            bail!("`{}` has no rust-version", package.name);
        };
        let packages = declared.entry(version).or_default();
        packages.extend(["--package".to_owned(), package.name.to_string()]);
    }
    Ok(declared)
}

/// Builds crates with the version that they declare.
fn build(
    shell: &Shell,
    manifest: &str,
    declared: &Version,
    packages: &[String],
    installed: &[Toolchain],
) -> anyhow::Result<()> {
    let toolchain =
        choose(declared, installed, workspace::is_ci()).with_context(|| manifest.to_owned())?;
    let Some(Toolchain { name, version }) = toolchain else {
        return Ok(());
    };
    // Cargo refuses a dependency that declares a newer version than the compiler's. Some errors appear only when code is
    // generated, which `cargo check` does not do.
    cmd!(
        shell,
        "rustup run {name} cargo build --quiet --locked --manifest-path {manifest} --all-features --target-dir target {packages...}"
    )
    .run()
    .with_context(|| format!("the crates of {manifest} do not build with Rust {version}"))?;
    println!("{manifest}: builds with Rust {version}");
    Ok(())
}

/// Returns the toolchain of a declared version. Where it is not installed, prints that, and returns the next one; in CI
/// that is an error.
fn choose<'a>(
    declared: &Version,
    installed: &'a [Toolchain],
    is_ci: bool,
) -> anyhow::Result<Option<&'a Toolchain>> {
    let Version { major, minor, .. } = declared;
    let toolchain = lowest(declared, installed);
    let instead = match toolchain {
        Some(Toolchain { version, .. }) if (version.major, version.minor) == (*major, *minor) => {
            return Ok(toolchain);
        }
        Some(Toolchain { version, .. }) => format!("only with {version}"),
        None => "nor with a newer one".to_owned(),
    };
    let missing = format!(
        "NOT BUILT with Rust {major}.{minor}, {instead}; `rustup toolchain install {major}.{minor} --profile minimal` \
        adds it"
    );
    ensure!(!is_ci, "{missing}");
    println!("{missing}");
    Ok(toolchain)
}

/// Returns the lowest installed version that is not below the declared one.
fn lowest<'a>(declared: &Version, installed: &'a [Toolchain]) -> Option<&'a Toolchain> {
    let enough = installed.iter().filter(|one| one.version >= *declared);
    enough.min_by_key(|one| &one.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_declared_version_is_used_or_outside_of_ci_the_next() {
        let installed: Vec<_> = [
            "stable-x86_64-unknown-linux-gnu (active, default)",
            "nightly-x86_64-unknown-linux-gnu",
            "1.95.0-x86_64-unknown-linux-gnu",
            "1.88-x86_64-unknown-linux-gnu",
            "1.85.1-x86_64-unknown-linux-gnu",
        ]
        .into_iter()
        .filter_map(Toolchain::parse)
        .collect();
        let used = |declared: &str| {
            let found = lowest(&declared.parse().unwrap(), &installed);
            found.map(|toolchain| toolchain.name.as_str())
        };
        assert_eq!(used("1.88.0"), Some("1.88"));
        assert_eq!(used("1.86.0"), Some("1.88"));
        assert_eq!(used("1.89.0"), Some("1.95.0"));
        assert_eq!(used("1.96.0"), None);
        let chosen = |declared: &str, is_ci| {
            let chosen = choose(&declared.parse().unwrap(), &installed, is_ci);
            chosen.map(|toolchain| toolchain.map(|toolchain| toolchain.name.as_str()))
        };
        assert_eq!(chosen("1.88.0", true).unwrap(), Some("1.88"));
        assert_eq!(chosen("1.89.0", false).unwrap(), Some("1.95.0"));
        assert_eq!(chosen("1.96.0", false).unwrap(), None);
        for declared in ["1.89.0", "1.96.0"] {
            let error = chosen(declared, true).unwrap_err().to_string();
            assert!(error.contains("rustup toolchain install"), "{error}");
        }
    }

    #[test]
    fn every_published_crate_declares_a_version() {
        for manifest in MANIFESTS {
            assert!(!declared(manifest).unwrap().is_empty(), "{manifest}");
        }
    }
}
