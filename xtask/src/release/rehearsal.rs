//! `cargo xtask rehearse`: two releases of a clone to a registry on loopback, and the use of the published crates.
//!
//! The manifests of the clone name that registry, so that no step can publish elsewhere. Crates of others come from the
//! usual registry.

mod documentation;
mod downloads;
mod packages;
mod upgrade;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::Context as _;
use semver::Version;
use xshell::{Shell, cmd};

use super::{changelog, checks, prepare, publish, sbom, steps::done, versions};
use crate::registry::Registry;

/// The registry's name in manifests.
const REGISTRY: &str = "rehearsal";
/// The command's crate and its program.
const COMMAND: (&str, &str) = ("hallpass-cli", "hallpass");
const SERVICE: &str = include_str!("rehearsal/service.rs.txt");

struct Rehearsal<'a> {
    shell: &'a Shell,
    registry: Registry,
    folder: PathBuf,
    /// The clone.
    repository: PathBuf,
}

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
    rehearsal.run()
}

impl Rehearsal<'_> {
    fn run(&self) -> anyhow::Result<()> {
        let shell = self.shell;
        let _there = shell.push_dir(&self.repository);
        versions::publish_to(&self.repository, REGISTRY)?;
        let first = versions::current(&self.repository)?;
        self.step("every crate is published, dependencies first", || {
            self.release(&first)
        })?;
        self.step("packages of another clone have the same bytes", || {
            packages::compare(self)
        })?;
        self.step("the command is installed", || self.install(&first))?;
        self.step("a service gets tokens", || {
            self.write_service(&first)?;
            let warnings = self.build_service()?;
            anyhow::ensure!(
                warnings.is_empty(),
                "the service has warnings: {warnings:?}"
            );
            self.run_service()
        })?;
        let second = versions::next(&first, "patch")?;
        self.step(
            "a renamed method is accepted, a removed one refused",
            || upgrade::rename(self, &first),
        )?;
        self.step("the next version is published", || self.release(&second))?;
        self.step("the service is upgraded with one warning", || {
            upgrade::service(self, &second)
        })?;
        self.step("the documentation builds from the packages", || {
            documentation::build(self)
        })
    }

    /// Releases a version of the clone as `cargo xtask release --execute` does, without building each package: later
    /// steps build them.
    fn release(&self, version: &Version) -> anyhow::Result<()> {
        if changelog::unreleased(&self.repository)?.is_empty() {
            changelog::add(&self.repository, "- Rehearsed.")?;
        }
        prepare(self.shell, &self.repository, version)?;
        publish(self.shell, version, true)
    }

    fn install(&self, version: &Version) -> anyhow::Result<()> {
        let (krate, program) = COMMAND;
        let (folder, version) = (self.installed(), version.to_string());
        let install = [
            "--quiet",
            "--debug",
            "--locked",
            "--registry",
            REGISTRY,
            "--version",
            &version,
            krate,
        ];
        cmd!(self.shell, "cargo install --root {folder} {install...}").run()?;
        let program = folder.join("bin").join(program);
        let answer = cmd!(self.shell, "{program} --version").quiet().read()?;
        anyhow::ensure!(answer.ends_with(&version), "the command is {answer}");
        Ok(())
    }

    fn installed(&self) -> PathBuf {
        self.folder.join("installed")
    }

    fn service(&self) -> PathBuf {
        self.folder.join("service")
    }

    fn write_service(&self, version: &Version) -> anyhow::Result<()> {
        let folder = self.service();
        fs::create_dir_all(folder.join("src"))?;
        let manifest = format!(
            r#"[package]
name = "service"
version = "1.0.0"
edition = "2024"

[dependencies]
hallpass = {{ version = "{version}", registry = "{REGISTRY}", features = ["jwt", "metrics", "reqwest"] }}
hallpass-testkit = {{ version = "{version}", registry = "{REGISTRY}" }}
reqwest = {{ version = "0.13", default-features = false }}
tokio = {{ version = "1", features = ["macros", "rt-multi-thread"] }}

[workspace]
"#
        );
        fs::write(folder.join("Cargo.toml"), manifest)?;
        fs::write(folder.join("src/main.rs"), SERVICE)?;
        // Crates of others have the versions that are built already.
        fs::copy(
            self.repository.join("Cargo.lock"),
            folder.join("Cargo.lock"),
        )?;
        Ok(())
    }

    /// Returns the warnings of the service's own code.
    fn build_service(&self) -> anyhow::Result<Vec<String>> {
        let _there = self.shell.push_dir(self.service());
        let build = cmd!(self.shell, "cargo build --quiet --message-format short");
        let output = build.ignore_status().output()?;
        let text = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(
            output.status.success(),
            "the service does not build:\n{text}"
        );
        let warnings = text.lines().filter(|line| line.contains("warning: "));
        // The last line counts them.
        let warnings = warnings.filter(|line| line.starts_with("src"));
        Ok(warnings.map(str::to_owned).collect())
    }

    fn run_service(&self) -> anyhow::Result<()> {
        let service = crate::files::root().join("target/debug/service");
        let (program, cache) = (
            self.installed().join("bin").join(COMMAND.1),
            self.folder.join("cache"),
        );
        let run = cmd!(self.shell, "{service} {program}");
        let run = run.env("HALLPASS_CACHE_DIR", cache);
        Ok(run.run()?)
    }

    fn step(&self, name: &str, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let began = Instant::now();
        work().with_context(|| {
            format!(
                "`{name}` failed; everything is in {}",
                self.folder.display()
            )
        })?;
        done(&format!("{name} ({:.0} s)", began.elapsed().as_secs_f64()));
        Ok(())
    }
}

/// Unpacks a package; returns the directory with its manifest.
fn unpack(shell: &Shell, package: &[u8], name: &str, into: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(into)?;
    let archive = into.join(format!("{name}.crate"));
    fs::write(&archive, package)?;
    cmd!(shell, "tar -xzf {archive} -C {into}").quiet().run()?;
    fs::remove_file(archive)?;
    Ok(into.join(name))
}
