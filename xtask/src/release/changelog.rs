//! The changelog: `## Unreleased` becomes the section of a version.

use std::{fs, path::Path};

use anyhow::Context as _;
use semver::Version;

const FILE: &str = "CHANGELOG.md";
const UNRELEASED: &str = "## Unreleased\n";

/// Returns the entries for the next release; empty if there are none.
pub(super) fn unreleased(root: &Path) -> anyhow::Result<String> {
    let text = read(root)?;
    let Some((_, after)) = text.split_once(UNRELEASED) else {
        return Ok(String::new());
    };
    let section = after.split("\n## ").next().unwrap_or_default();
    Ok(section.trim().to_owned())
}

pub(super) fn cut(root: &Path, version: &Version, today: &str) -> anyhow::Result<()> {
    let text = read(root)?;
    let cut = text.replacen(
        UNRELEASED,
        &format!("{UNRELEASED}\n## {version} ({today})\n"),
        1,
    );
    Ok(fs::write(root.join(FILE), cut)?)
}

/// Adds an entry for the next release.
pub(super) fn add(root: &Path, entry: &str) -> anyhow::Result<()> {
    let text = read(root)?;
    let added = text.replacen(UNRELEASED, &format!("{UNRELEASED}\n{entry}\n"), 1);
    Ok(fs::write(root.join(FILE), added)?)
}

fn read(root: &Path) -> anyhow::Result<String> {
    fs::read_to_string(root.join(FILE)).with_context(|| format!("{FILE} cannot be read"))
}
