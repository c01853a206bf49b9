//! Reproducible packages and lists of components: another clone, in another directory and with other permissions, gives
//! the same bytes.

use std::fs;

use anyhow::{Context as _, ensure};
use xshell::cmd;

use super::stage::Rehearsal;
use crate::release::{sbom, versions};

pub(super) fn compare(rehearsal: &Rehearsal<'_>) -> anyhow::Result<()> {
    let Rehearsal {
        shell,
        registry,
        folder,
        repository,
    } = rehearsal;
    let elsewhere = folder.join("elsewhere/and deeper");
    fs::create_dir_all(&elsewhere)?;
    let (clone, target) = (elsewhere.join("clone"), elsewhere.join("target"));
    let script =
        "umask 077 && git -c advice.detachedHead=false clone --quiet --no-tags \"$1\" \"$2\"";
    cmd!(shell, "sh -c {script} sh {repository} {clone}")
        .quiet()
        .run()?;
    for workspace in versions::workspaces(&clone) {
        let crates = versions::selection(&workspace)?;
        let _there = shell.push_dir(workspace);
        let script = "umask 077 && cargo package --quiet --no-verify \"$@\"";
        let package = cmd!(shell, "sh -c {script} sh {crates...}").quiet();
        package.env("CARGO_TARGET_DIR", &target).run()?;
    }
    for published in registry.published() {
        let file = format!("{}-{}.crate", published.name, published.version);
        let again = fs::read(target.join("package").join(&file)).context(file.clone())?;
        ensure!(
            again == published.package,
            "{file} has other bytes in another clone"
        );
    }
    if sbom::lacks_tool(shell, &clone) {
        println!(
            "NOT CHECKED: cargo-cyclonedx is missing, so the lists of components are not compared"
        );
        return Ok(());
    }
    let version = versions::current(&clone)?;
    let (lists, others) = (
        sbom::write(shell, repository, &version)?,
        sbom::write(shell, &clone, &version)?,
    );
    for (list, other) in lists.iter().zip(&others) {
        let same = fs::read(list)? == fs::read(other)?;
        ensure!(same, "{} has other bytes in another clone", list.display());
    }
    Ok(())
}
