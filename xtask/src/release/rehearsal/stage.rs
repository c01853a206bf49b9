//! The clone, its releases, and the service that uses them.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::Context as _;
use semver::Version;
use xshell::{Shell, cmd};

use crate::{
    registry::Registry,
    release::{changelog, prepare, publish, steps::done},
};

/// The registry's name in manifests.
pub(super) const REGISTRY: &str = "rehearsal";
/// The command's crate and its program.
const COMMAND: (&str, &str) = ("hallpass-cli", "hallpass");
const SERVICE: &str = include_str!("service.rs.txt");

pub(super) struct Rehearsal<'a> {
    pub(super) shell: &'a Shell,
    pub(super) registry: Registry,
    pub(super) folder: PathBuf,
    /// The clone.
    pub(super) repository: PathBuf,
}

impl Rehearsal<'_> {
    /// Releases a version of the clone as `cargo xtask release --execute` does, without building each package: later
    /// steps build them.
    pub(super) fn release(&self, version: &Version) -> anyhow::Result<()> {
        if changelog::unreleased(&self.repository)?.is_empty() {
            changelog::add(&self.repository, "- Rehearsed.")?;
        }
        prepare(self.shell, &self.repository, version)?;
        publish(self.shell, version, true)
    }

    pub(super) fn install(&self, version: &Version) -> anyhow::Result<()> {
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

    pub(super) fn installed(&self) -> PathBuf {
        self.folder.join("installed")
    }

    pub(super) fn service(&self) -> PathBuf {
        self.folder.join("service")
    }

    pub(super) fn write_service(&self, version: &Version) -> anyhow::Result<()> {
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
    pub(super) fn build_service(&self) -> anyhow::Result<Vec<String>> {
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

    pub(super) fn run_service(&self) -> anyhow::Result<()> {
        let service = crate::files::root().join("target/debug/service");
        let (program, cache) = (
            self.installed().join("bin").join(COMMAND.1),
            self.folder.join("cache"),
        );
        let run = cmd!(self.shell, "{service} {program}");
        let run = run.env("HALLPASS_CACHE_DIR", cache);
        Ok(run.run()?)
    }

    pub(super) fn step(
        &self,
        name: &str,
        work: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
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
pub(super) fn unpack(
    shell: &Shell,
    package: &[u8],
    name: &str,
    into: &Path,
) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(into)?;
    let archive = into.join(format!("{name}.crate"));
    fs::write(&archive, package)?;
    cmd!(shell, "tar -xzf {archive} -C {into}").quiet().run()?;
    fs::remove_file(archive)?;
    Ok(into.join(name))
}
