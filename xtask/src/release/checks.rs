//! The preconditions of a release.

use std::path::Path;

use anyhow::Context as _;
use semver::Version;
use xshell::{Shell, cmd};

use super::{
    changelog, sbom,
    steps::{done, stop, tag},
    versions,
};

pub(super) fn before(shell: &Shell, root: &Path, version: &Version) -> anyhow::Result<()> {
    if sbom::lacks_tool(shell, root) {
        return stop(
            "cargo-cyclonedx, which lists the components, is missing",
            "`cargo install --locked cargo-cyclonedx`",
        );
    }
    let dirty = cmd!(shell, "git status --porcelain").quiet().read()?;
    if !dirty.is_empty() {
        return stop(
            &format!("there are changes that are not committed:\n{dirty}"),
            "commit them or put them away",
        );
    }
    done("the tree is clean");
    let tag = tag(version);
    let known = cmd!(shell, "git tag --list {tag}").quiet().read()?;
    if !known.is_empty() {
        return stop(
            &format!("{tag} was released before"),
            "choose a higher version",
        );
    }
    if changelog::unreleased(root)?.is_empty() {
        return stop(
            "CHANGELOG.md has no entry under `## Unreleased`",
            "write what has changed for users",
        );
    }
    done("the changelog has entries");
    let disagreements = versions::disagreements(root)?;
    if !disagreements.is_empty() {
        return stop(
            &format!("versions disagree:\n  {}", disagreements.join("\n  ")),
            "let every crate have `version.workspace = true`, and every inner dependency the workspace's version",
        );
    }
    done("all versions agree");
    for workspace in versions::workspaces(root) {
        let _there = shell.push_dir(workspace);
        let docs = cmd!(
            shell,
            "cargo doc --quiet --workspace --all-features --no-deps"
        )
        .env("RUSTDOCFLAGS", "-D warnings");
        if docs.run().is_err() {
            return stop("the documentation does not build", "fix the problems above");
        }
    }
    done("the documentation builds");
    compatible(shell, root, version)
}

/// Checks that the public API allows this version, compared with the last release.
fn compatible(shell: &Shell, root: &Path, version: &Version) -> anyhow::Result<()> {
    let tags = cmd!(shell, "git tag --list v* --sort=-version:refname")
        .quiet()
        .read()?;
    let Some(last) = tags.lines().next() else {
        done("there is no release to be compatible with");
        return Ok(());
    };
    let released: Version = last
        .trim_start_matches('v')
        .parse()
        .with_context(|| format!("the tag {last} names no version"))?;
    for workspace in versions::workspaces(root) {
        let _there = shell.push_dir(workspace);
        if !is_compatible(shell, &["--workspace"], &released, version)? {
            return stop(
                &format!(
                    "{version} may not follow {released}: something public has changed, as reported above"
                ),
                "choose a higher version, or undo the change",
            );
        }
    }
    done(&format!(
        "compatible with {released}, as {version} has to be"
    ));
    Ok(())
}

/// Compares the public items of crates with those of the tagged release; prints the differences that the version does
/// not allow.
pub(super) fn is_compatible(
    shell: &Shell,
    crates: &[&str],
    released: &Version,
    version: &Version,
) -> anyhow::Result<bool> {
    if !can_compare(shell) {
        return stop(
            "cargo-semver-checks is missing",
            "`cargo install --locked cargo-semver-checks`",
        );
    }
    let (last, kind) = (tag(released), release_type(released, version));
    let check = cmd!(
        shell,
        "cargo semver-checks {crates...} --baseline-rev {last} --release-type {kind}"
    );
    Ok(check.run().is_ok())
}

/// Returns true if the tool that compares public items is installed.
pub(super) fn can_compare(shell: &Shell) -> bool {
    let version = cmd!(shell, "cargo semver-checks --version").quiet();
    version.ignore_stdout().ignore_stderr().run().is_ok()
}

/// Returns the kind of release as Cargo reads versions: below 1.0 a minor version may break, and a patch may add.
fn release_type(last: &Version, next: &Version) -> &'static str {
    if last.major != next.major || (next.major == 0 && last.minor != next.minor) {
        "major"
    } else if next.major == 0 || last.minor != next.minor {
        "minor"
    } else {
        "patch"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_of_the_kind_that_cargo_takes_it_for() {
        for (last, next, kind) in [
            ("0.1.0", "0.1.1", "minor"),
            ("0.1.0", "0.2.0", "major"),
            ("0.9.0", "1.0.0", "major"),
            ("1.0.0", "1.0.1", "patch"),
            ("1.0.0", "1.1.0", "minor"),
            ("1.9.0", "2.0.0", "major"),
        ] {
            let (last, next) = (last.parse().unwrap(), next.parse().unwrap());
            assert_eq!(release_type(&last, &next), kind, "{last} {next}");
        }
    }
}
