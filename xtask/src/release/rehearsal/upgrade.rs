//! The next version, with a renamed method whose old name stays, deprecated.

use std::fs;

use anyhow::ensure;
use semver::Version;
use xshell::cmd;

use super::stage::Rehearsal;
use crate::release::{checks, versions};

/// A public method, its file, and another name for it.
const FILE: &str = "crates/core/src/request.rs";
const METHOD: &str = "    pub fn is_default(&self) -> bool {";
const RENAMED: &str = "    pub fn has_defaults(&self) -> bool {";
const KRATE: &str = "hallpass-core";

/// Checks that the comparison with the last release refuses the removal of the method and accepts the renaming, which
/// stays in the clone.
pub(super) fn rename(rehearsal: &Rehearsal<'_>, first: &Version) -> anyhow::Result<()> {
    let path = rehearsal.repository.join(FILE);
    let text = fs::read_to_string(&path)?;
    ensure!(
        text.contains(METHOD),
        "{FILE} lacks `{METHOD}`: choose another method"
    );
    let next = versions::next(first, "patch")?;
    let both = format!(
        "{RENAMED}\n        self.0.is_none()\n    }}\n\n    /// Renamed to `has_defaults`.\n    \
        #[deprecated(note = \"renamed to `has_defaults`\")]\n{METHOD}"
    );
    let both = text.replace(METHOD, &both);
    if !checks::can_compare(rehearsal.shell) {
        println!("NOT CHECKED: cargo-semver-checks is missing");
        return Ok(fs::write(&path, both)?);
    }
    let compatible = || checks::is_compatible(rehearsal.shell, &["--package", KRATE], first, &next);

    fs::write(&path, text.replace(METHOD, RENAMED))?;
    ensure!(!compatible()?, "a removed method was accepted");

    fs::write(&path, both)?;
    ensure!(compatible()?, "a renamed method was refused");
    Ok(())
}

/// Upgrades the service, whose code uses the old name.
pub(super) fn service(rehearsal: &Rehearsal<'_>, version: &Version) -> anyhow::Result<()> {
    let there = rehearsal.shell.push_dir(rehearsal.service());
    let packages = ["--package", "hallpass", "--package", "hallpass-testkit"];
    cmd!(rehearsal.shell, "cargo update --quiet {packages...}").run()?;
    let lock = fs::read_to_string(rehearsal.service().join("Cargo.lock"))?;
    let upgraded = format!("name = \"{KRATE}\"\nversion = \"{version}\"");
    ensure!(
        lock.contains(&upgraded),
        "{KRATE} is not upgraded to {version}"
    );
    drop(there);
    let warnings = rehearsal.build_service()?;
    ensure!(
        matches!(&warnings[..], [one] if one.contains("deprecated") && one.contains("has_defaults")),
        "expected one warning about the old name: {warnings:?}"
    );
    rehearsal.run_service()
}
