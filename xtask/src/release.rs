//! `cargo xtask release`: turns the changelog into packaged, published and tagged crates.
//!
//! Without `--execute` the same steps run in a temporary worktree, and nothing is published or tagged.

mod changelog;
mod checks;
mod rehearsal;
mod sbom;
mod steps;
#[cfg(test)]
mod tests;
mod versions;

use std::{collections::BTreeSet, path::Path};

use anyhow::Context as _;
use semver::Version;
use xshell::{Shell, cmd};

pub(crate) use rehearsal::run as rehearse;
use steps::{done, tag};
use versions::PublishedCrate;

pub(crate) fn run(shell: &Shell, version: &str, execute: bool) -> anyhow::Result<()> {
    release(shell, crate::files::root(), version, execute)
}

/// Runs a release; `shell` is in `root`.
fn release(shell: &Shell, root: &Path, version: &str, execute: bool) -> anyhow::Result<()> {
    let current = versions::current(root)?;
    let version = if execute && was_interrupted(shell, &current, version)? {
        println!(
            "the commit of release {current} is there: going on with what is not published yet"
        );
        current
    } else {
        let version = versions::next(&current, version)?;
        checks::before(shell, root, &version)?;
        if execute {
            prepare(shell, root, &version)?;
        }
        version
    };
    if execute {
        verify(shell, root)?;
        return publish_and_list(shell, root, &version);
    }
    let rehearsal = root.join("target/release-rehearsal");
    let outcome = dry_run(shell, &rehearsal, &version);
    // The worktree is removed regardless of the outcome.
    cmd!(shell, "git worktree remove --force {rehearsal}")
        .quiet()
        .run()?;
    outcome?;
    println!("\nthis was a dry run, and nothing was changed; `--execute` does it");
    Ok(())
}

fn publish_and_list(shell: &Shell, root: &Path, version: &Version) -> anyhow::Result<()> {
    publish(shell, version, true)?;
    for list in sbom::write(shell, root, version)? {
        done(&format!("the list of components is {}", list.display()));
    }
    Ok(())
}

fn dry_run(shell: &Shell, folder: &Path, version: &Version) -> anyhow::Result<()> {
    if folder.exists() {
        cmd!(shell, "git worktree remove --force {folder}").run()?;
    }
    cmd!(shell, "git worktree add --quiet --detach {folder} HEAD").run()?;
    let _there = shell.push_dir(folder);
    prepare(shell, folder, version)?;
    verify(shell, folder)?;
    publish(shell, version, false)
}

/// Returns true if the same command was interrupted after its commit, and before its tag.
fn was_interrupted(shell: &Shell, current: &Version, wanted: &str) -> anyhow::Result<bool> {
    let subject = cmd!(shell, "git log -1 --format=%s").quiet().read()?;
    let tag = tag(current);
    let tags = cmd!(shell, "git tag --list {tag}").quiet().read()?;
    // `patch` was the current version, before the commit.
    let is_same = ["patch", "minor", "major"].contains(&wanted) || wanted == current.to_string();
    Ok(is_same && subject == title(current) && tags.is_empty())
}

fn title(version: &Version) -> String {
    format!("Release {version}")
}

/// Changes files and commits them: versions, changelog, lock file.
fn prepare(shell: &Shell, root: &Path, version: &Version) -> anyhow::Result<()> {
    let changed = (|| {
        versions::set(root, version)?;
        done(&format!("every crate has the version {version}"));
        let today = cmd!(shell, "date -u +%Y-%m-%d").quiet().read()?;
        changelog::cut(root, version, &today)?;
        done("the changelog has a section for it");
        for workspace in versions::workspaces(root) {
            let _there = shell.push_dir(workspace);
            cmd!(shell, "cargo update --quiet --workspace").run()?;
        }
        let title = title(version);
        cmd!(shell, "git commit --quiet --all --message {title}").run()?;
        done("committed");
        anyhow::Ok(())
    })();
    changed.context("nothing is published; `git restore .` undoes what was written")
}

/// Builds every crate from its package.
fn verify(shell: &Shell, root: &Path) -> anyhow::Result<()> {
    for workspace in versions::workspaces(root) {
        let patches = versions::patches(root, &workspace)?;
        let crates = versions::selection(&workspace)?;
        let _there = shell.push_dir(workspace);
        cmd!(shell, "cargo package --quiet {crates...} {patches...}")
            .run()
            .context("a crate does not build from its package; nothing is published: fix it, and `git reset --hard HEAD~1` before the next try")?;
    }
    done("every crate builds from its package");
    Ok(())
}

/// Publishes the unpublished crates in dependency order, and tags.
fn publish(shell: &Shell, version: &Version, execute: bool) -> anyhow::Result<()> {
    let root = shell.current_dir();
    for workspace in versions::workspaces(&root) {
        publish_workspace(shell, &root, &workspace, version, execute)?;
    }
    done(if execute {
        "published, dependencies first"
    } else {
        "published in a dry run, dependencies first"
    });
    if execute {
        let tag = tag(version);
        let message = title(version);
        cmd!(shell, "git tag --annotate {tag} --message {message}").run()?;
        done(&format!(
            "tagged {tag}; `git push --follow-tags` is left to you"
        ));
    }
    Ok(())
}

fn publish_workspace(
    shell: &Shell,
    root: &Path,
    workspace: &Path,
    version: &Version,
    execute: bool,
) -> anyhow::Result<()> {
    let ours = versions::published(workspace)?;
    let there: BTreeSet<String> = if execute {
        let known = |krate: &&PublishedCrate| is_published(shell, krate, version);
        let there = ours.iter().filter(known);
        there.map(|krate| krate.name.clone()).collect()
    } else {
        BTreeSet::new()
    };
    if there.len() == ours.len() {
        return Ok(());
    }
    let excluded = excluded(&there);
    let rehearsal = if execute {
        Vec::new()
    } else {
        let mut arguments = versions::patches(root, workspace)?;
        arguments.push("--dry-run".to_owned());
        arguments
    };
    let _there = shell.push_dir(workspace);
    cmd!(
        shell,
        "cargo publish --quiet --workspace --no-verify {excluded...} {rehearsal...}"
    )
    .run()
    .context("not every crate was published; run the same command again to publish the others")
}

fn excluded(published: &BTreeSet<String>) -> Vec<String> {
    let exclude = |name: &String| ["--exclude".to_owned(), name.clone()];
    published.iter().flat_map(exclude).collect()
}

/// Returns true if the registry has this version. Runs outside the workspace, where cargo would answer with the local
/// crate.
fn is_published(shell: &Shell, krate: &PublishedCrate, version: &Version) -> bool {
    let _elsewhere = shell.push_dir(std::env::temp_dir());
    let wanted = format!("{}@{version}", krate.name);
    let registry = &krate.registry;
    let asked = cmd!(shell, "cargo info --quiet --registry {registry} {wanted}").quiet();
    asked.ignore_stdout().ignore_stderr().run().is_ok()
}
