//! The documentation as docs.rs builds it: from the packages, with `--cfg docsrs`, all features, and no network.

use std::{fs, path::Path};

use anyhow::ensure;
use xshell::cmd;

use super::stage::{Rehearsal, unpack};
use crate::release::versions;

/// Files that each package has.
const FILES: [&str; 3] = ["LICENSE-APACHE", "LICENSE-MIT", "README.md"];

/// Builds the documentation of the last version.
pub(super) fn build(rehearsal: &Rehearsal<'_>) -> anyhow::Result<()> {
    let version = versions::current(&rehearsal.repository)?.to_string();
    for workspace in versions::workspaces(&rehearsal.repository) {
        let names = versions::published(&workspace)?;
        let names: Vec<_> = names.into_iter().map(|krate| krate.name).collect();
        build_workspace(rehearsal, &workspace, &names, &version)?;
    }
    Ok(())
}

/// Builds the packages as members of one workspace, so that a crate below several of them is checked once.
fn build_workspace(
    rehearsal: &Rehearsal<'_>,
    origin: &Path,
    names: &[String],
    version: &str,
) -> anyhow::Result<()> {
    let Rehearsal {
        shell,
        registry,
        folder,
        ..
    } = rehearsal;
    let folder = folder.join("documentation").join(&names[0]);
    for published in registry.published() {
        if published.version != version || !names.contains(&published.name) {
            continue;
        }
        let name = format!("{}-{version}", published.name);
        let package = unpack(shell, &published.package, &name, &folder)?;
        for file in FILES {
            ensure!(package.join(file).exists(), "{name} has no {file}");
        }
    }
    fs::write(
        folder.join("Cargo.toml"),
        "[workspace]\nresolver = \"3\"\nmembers = [\"*\"]\n",
    )?;
    // Crates of others have the versions that are built already.
    fs::copy(origin.join("Cargo.lock"), folder.join("Cargo.lock"))?;
    let _there = shell.push_dir(&folder);
    cmd!(shell, "cargo fetch --quiet").quiet().run()?;
    let document = cmd!(
        shell,
        "cargo doc --quiet --offline --workspace --all-features --no-deps"
    );
    let flags = "--cfg docsrs -D warnings";
    let document = document.envs([
        ("DOCS_RS", "1"),
        ("RUSTC_BOOTSTRAP", "1"),
        ("RUSTDOCFLAGS", flags),
    ]);
    Ok(document.run()?)
}
