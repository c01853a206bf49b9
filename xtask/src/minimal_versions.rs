//! `cargo xtask minimal-versions`: tests the published crates with the lowest versions that their manifests allow.

use std::{fs, path::Path};

use anyhow::Context as _;
use cargo_metadata::MetadataCommand;
use toml_edit::{Array, DocumentMut, value};
use xshell::{Shell, cmd};

/// The workspaces with published crates.
const WORKSPACES: [&str; 2] = ["", "crates/bridges"];

pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    let root = crate::files::root();
    // A copy, as the lock files are replaced.
    let copy = root.join("target/minimal-versions");
    copy_files(shell, &copy)?;
    for workspace in WORKSPACES {
        let folder = copy.join(workspace);
        let target = root.join("target");
        let _there = shell.push_dir(&folder);
        let packages = only_published(&folder)?;
        // Unstable, but not for the code that is built below: the stable compiler can write the lock file too.
        cmd!(
            shell,
            "cargo -Z direct-minimal-versions generate-lockfile --quiet"
        )
        .env("RUSTC_BOOTSTRAP", "1")
        .run()
        .context("no set of versions satisfies the manifests: raise the version that is too low")?;
        // The pairs of settings are observed in paused time, which passes while an older client waits to send the rest of
        // its request.
        cmd!(
            shell,
            "cargo test --quiet --locked --no-fail-fast --lib --bins --all-features --target-dir {target} {packages...} -- --skip pairs::"
        )
        .run()
        .context("a manifest allows a version that is too low: raise it")?;
    }
    println!("the published crates work with the lowest versions of their dependencies");
    Ok(())
}

/// Copies the repository's files as they are, committed or not.
fn copy_files(shell: &Shell, to: &Path) -> anyhow::Result<()> {
    shell.remove_path(to)?;
    let files = cmd!(shell, "git ls-files --cached --others --exclude-standard").quiet();
    for file in files.read()?.lines() {
        let (from, to) = (crate::files::root().join(file), to.join(file));
        if let (true, Some(folder)) = (from.is_file(), to.parent()) {
            fs::create_dir_all(folder)?;
            fs::copy(from, to)?;
        }
    }
    Ok(())
}

/// Removes the private packages from a workspace, whose dependencies may need more; returns the arguments that name the
/// others.
fn only_published(workspace: &Path) -> anyhow::Result<Vec<String>> {
    let mut metadata = MetadataCommand::new();
    let metadata = metadata.current_dir(workspace).no_deps().exec()?;
    let published = metadata
        .packages
        .iter()
        .filter(|package| package.publish.is_none());
    let (mut members, mut arguments) = (Array::new(), Vec::new());
    for package in published {
        let folder = package.manifest_path.parent().context("no directory")?;
        members.push(folder.as_str());
        arguments.extend(["--package".to_owned(), package.name.to_string()]);
    }
    let path = workspace.join("Cargo.toml");
    let mut manifest: DocumentMut = crate::files::text(&path)?.parse()?;
    manifest["workspace"]["members"] = value(members);
    fs::write(path, manifest.to_string())?;
    Ok(arguments)
}
