//! `cargo xtask advisories`: checks every lock file for vulnerable, unmaintained and yanked crates.
//!
//! cargo-deny compares the versions. Where its database cannot be reached, it reads one that is written from the
//! repository's snapshot.

mod snapshot;
#[cfg(test)]
mod tests;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, bail};
use toml_edit::{Array, DocumentMut, value};
use xshell::{Cmd, Shell, cmd};

use snapshot::Snapshot;

const CONFIG: &str = "deny.toml";
const SNAPSHOT: &str = "advisories.toml";
/// The database that cargo-deny reads by default.
const UPSTREAM: &str = "https://github.com/RustSec/advisory-db";
/// The address of the local database. cargo-deny accepts only addresses with a domain; git replaces it with a path.
const LOCAL: &str = "https://snapshot.invalid/advisories";
/// A snapshot older than this is reported.
const MAX_AGE: Duration = Duration::from_secs(60 * 24 * 60 * 60);

pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    let fetch = cmd!(shell, "cargo deny --log-level error fetch db").quiet();
    let reachable = fetch.ignore_status().output()?.status.success();
    let root = crate::files::root();
    let mut subject = "";
    let (config, replaced) = if reachable {
        (root.join(CONFIG), None)
    } else {
        let snapshot = Snapshot::read(&root.join(SNAPSHOT))?;
        println!("{}", description(&snapshot, SystemTime::now())?);
        if snapshot.advisories.is_empty() {
            subject = " for yanked crates only";
        }
        let folder = root.join("target/advisories");
        let config = local_database(shell, &folder, &root.join(CONFIG), &snapshot)?;
        (config, Some(folder))
    };
    let manifests = locked(shell)?;
    for manifest in &manifests {
        let deny = deny(shell, manifest, &config, replaced.as_deref());
        deny.run().with_context(|| {
            format!("{manifest}: cargo-deny found an advisory or a yanked crate, or could not check; its report is above")
        })?;
    }
    println!("checked {}{subject}", manifests.join(", "));
    Ok(())
}

/// Writes the snapshot from a git repository with advisories: an address or a path.
pub(crate) fn update(shell: &Shell, from: Option<&str>) -> anyhow::Result<()> {
    let from = from.unwrap_or(UPSTREAM);
    let clone = crate::files::root().join("target/advisories/upstream");
    shell.remove_path(&clone)?;
    cmd!(shell, "git clone --quiet --depth 1 {from} {clone}")
        .run()
        .context("the advisory database cannot be cloned; the snapshot is unchanged")?;
    let date = cmd!(shell, "git -C {clone} log -1 --format=%cs").read()?;
    let snapshot = Snapshot::of(&clone, date)?;
    fs::write(crate::files::root().join(SNAPSHOT), snapshot.to_string())?;
    println!(
        "{SNAPSHOT}: {} advisories, as of {}",
        snapshot.advisories.len(),
        snapshot.date
    );
    Ok(())
}

/// Describes the snapshot, and the next step if it is empty or outdated.
fn description(snapshot: &Snapshot, now: SystemTime) -> anyhow::Result<String> {
    let Snapshot { date, advisories } = snapshot;
    let taken = humantime::parse_rfc3339(&format!("{date}T00:00:00Z"))
        .with_context(|| format!("{SNAPSHOT}: `{date}` is no date"))?;
    let age = now.duration_since(taken).unwrap_or_default();
    let update = "run `cargo xtask advisories --update` where the database can be reached";
    let count = advisories.len();
    Ok(if advisories.is_empty() {
        format!(
            "NOT CHECKED: the advisory database cannot be reached, and the snapshot of {date} is empty; {update}. \
            Yanked crates are checked."
        )
    } else if age > MAX_AGE {
        format!(
            "WARNING: the advisory database cannot be reached, and the snapshot of {date}, with {count} advisories, is {} \
            days old: others are NOT CHECKED; {update}",
            age.as_secs() / (24 * 60 * 60)
        )
    } else {
        format!(
            "the advisory database cannot be reached: checking against the snapshot of {date}, with {count} advisories"
        )
    })
}

/// Writes the snapshot as a git repository in the database's format; returns a configuration that refers to it.
fn local_database(
    shell: &Shell,
    folder: &Path,
    config: &Path,
    snapshot: &Snapshot,
) -> anyhow::Result<PathBuf> {
    shell.remove_path(folder)?;
    let source = folder.join("source");
    snapshot.write_database(&source)?;
    let git = ["-c", "user.name=xtask", "-c", "user.email=xtask@localhost"];
    for step in [
        cmd!(shell, "git init --quiet --initial-branch main {source}"),
        cmd!(shell, "git -C {source} add --all"),
        cmd!(
            shell,
            "git -C {source} {git...} commit --quiet --message snapshot"
        ),
    ] {
        step.quiet().run()?;
    }

    let mut document: DocumentMut = crate::files::text(config)?.parse()?;
    let Some(advisories) = document["advisories"].as_table_mut() else {
        bail!("{} has no table `advisories`", config.display());
    };
    let databases = folder.join("databases");
    advisories["db-path"] = value(databases.display().to_string());
    advisories["db-urls"] = value(Array::from_iter([LOCAL]));
    let path = folder.join(CONFIG);
    fs::write(&path, document.to_string())?;
    Ok(path)
}

/// Returns the manifests beside the lock files of the repository.
fn locked(shell: &Shell) -> anyhow::Result<Vec<String>> {
    let files = cmd!(shell, "git ls-files Cargo.lock *Cargo.lock").quiet();
    let files = files.read()?;
    let manifests = files.lines().map(|path| path.replace(".lock", ".toml"));
    Ok(manifests.collect())
}

/// Returns cargo-deny's check; `replaced` is the directory of the local database that it clones instead of the one
/// upstream.
fn deny<'shell>(
    shell: &'shell Shell,
    manifest: &str,
    config: &Path,
    replaced: Option<&Path>,
) -> Cmd<'shell> {
    let deny = cmd!(
        shell,
        "cargo deny --log-level error --locked --manifest-path {manifest} --config {config} check advisories"
    );
    let deny = deny.quiet();
    let Some(folder) = replaced else {
        return deny;
    };
    let source = folder.join("source");
    deny.envs([
        ("GIT_CONFIG_COUNT", "1".to_owned()),
        (
            "GIT_CONFIG_KEY_0",
            format!("url.{}.insteadOf", source.display()),
        ),
        ("GIT_CONFIG_VALUE_0", LOCAL.to_owned()),
    ])
}
