//! `cargo xtask rehearse`: two releases of a clone to a registry on loopback, and the use of the published crates.
//!
//! The manifests of the clone name that registry, so that no step can publish elsewhere. Crates of others come from the
//! usual registry.

mod documentation;
mod downloads;
mod packages;
mod stage;
mod upgrade;

use std::fs;

use xshell::{Shell, cmd};

use self::stage::{REGISTRY, Rehearsal};
use super::versions;
use crate::registry::Registry;

pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    let root = crate::files::root();
    let folder = root.join("target/rehearsal");
    shell.remove_path(&folder)?;
    let registry = Registry::start()?;
    let _downloads = downloads::Cleanup::new()?;
    for (name, value) in [
        ("CARGO_REGISTRIES_REHEARSAL_INDEX", registry.index()),
        ("CARGO_REGISTRIES_REHEARSAL_TOKEN", "none".to_owned()),
        ("GIT_AUTHOR_NAME", "rehearsal".to_owned()),
        ("GIT_AUTHOR_EMAIL", "rehearsal@localhost".to_owned()),
        ("GIT_COMMITTER_NAME", "rehearsal".to_owned()),
        ("GIT_COMMITTER_EMAIL", "rehearsal@localhost".to_owned()),
    ] {
        shell.set_var(name, value);
    }
    // Crates of others are built once for all steps, and for the tests of the repository.
    shell.set_var("CARGO_TARGET_DIR", root.join("target"));
    // As in the workspace's manifest, which packages do not have.
    shell.set_var("CARGO_PROFILE_DEV_DEBUG", "line-tables-only");
    let repository = folder.join("repository");
    if !cmd!(shell, "git status --porcelain")
        .quiet()
        .read()?
        .is_empty()
    {
        println!("NOT REHEARSED: changes that are not committed");
    }
    // Without the tags of real releases.
    cmd!(
        shell,
        "git -c advice.detachedHead=false clone --quiet --no-tags {root} {repository}"
    )
    .quiet()
    .run()?;
    let config = repository.join(".cargo/config.toml");
    let index = format!(
        "\n[registries.{REGISTRY}]\nindex = \"{}\"\n",
        registry.index()
    );
    fs::write(&config, fs::read_to_string(&config)? + &index)?;
    let rehearsal = Rehearsal {
        shell,
        registry,
        folder,
        repository,
    };
    run_steps(&rehearsal)
}

fn run_steps(rehearsal: &Rehearsal<'_>) -> anyhow::Result<()> {
    let shell = rehearsal.shell;
    let _there = shell.push_dir(&rehearsal.repository);
    versions::publish_to(&rehearsal.repository, REGISTRY)?;
    let first = versions::current(&rehearsal.repository)?;
    rehearsal.step("every crate is published, dependencies first", || {
        rehearsal.release(&first)
    })?;
    rehearsal.step("packages of another clone have the same bytes", || {
        packages::compare(rehearsal)
    })?;
    rehearsal.step("the command is installed", || rehearsal.install(&first))?;
    rehearsal.step("a service gets tokens", || {
        rehearsal.write_service(&first)?;
        let warnings = rehearsal.build_service()?;
        anyhow::ensure!(
            warnings.is_empty(),
            "the service has warnings: {warnings:?}"
        );
        rehearsal.run_service()
    })?;
    let second = versions::next(&first, "patch")?;
    rehearsal.step(
        "a renamed method is accepted, a removed one refused",
        || upgrade::rename(rehearsal, &first),
    )?;
    rehearsal.step("the next version is published", || {
        rehearsal.release(&second)
    })?;
    rehearsal.step("the service is upgraded with one warning", || {
        upgrade::service(rehearsal, &second)
    })?;
    rehearsal.step("the documentation builds from the packages", || {
        documentation::build(rehearsal)
    })
}
