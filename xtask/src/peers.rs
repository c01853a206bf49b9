//! Installs the real authorization servers of the tests: `tests/peers`.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, bail};
use xshell::{Shell, cmd};

fn directory(name: &str) -> PathBuf {
    crate::files::root().join("tests/peers").join(name)
}

/// Prints why tests are skipped. In CI, where a missing tool is a failure and not a reason to skip, returns an error.
fn skip(server: &str, why: &str) -> anyhow::Result<()> {
    if std::env::var_os("CI").is_some() {
        bail!("{why}, and the tests against {server} must run in CI");
    }
    println!("skipping the tests against {server}: {why}");
    Ok(())
}

/// Installs all that can be installed here, and prints which tests are skipped.
pub(crate) fn set_up(shell: &Shell) -> anyhow::Result<()> {
    set_up_oidc_provider(shell)?;
    set_up_python_servers(shell)?;
    check_glewlwyd(shell)
}

/// Installs the packages of oidc-provider if Node.js is available.
pub(crate) fn set_up_oidc_provider(shell: &Shell) -> anyhow::Result<()> {
    let version = cmd!(shell, "node --version").quiet().ignore_stderr().read();
    let major = version.ok().and_then(|version| {
        version
            .trim_start_matches('v')
            .split('.')
            .next()?
            .parse::<u32>()
            .ok()
    });
    if major.is_none_or(|major| major < 20) {
        return skip("oidc-provider", "Node.js 20 or newer is not installed");
    }
    let directory = directory("oidc-provider");
    let changed = |path: &str| {
        directory
            .join(path)
            .metadata()
            .and_then(|file| file.modified())
    };
    let installed = changed("node_modules/.package-lock.json");
    if installed
        .is_ok_and(|installed| changed("package-lock.json").is_ok_and(|lock| lock <= installed))
    {
        return Ok(());
    }
    let _here = shell.push_dir(&directory);
    cmd!(shell, "npm ci --omit=dev --no-audit --no-fund")
        .run()
        .context("the packages of oidc-provider could not be installed")
}

/// Installs the packages of the servers in Python, in a virtual environment, if Python is available.
fn set_up_python_servers(shell: &Shell) -> anyhow::Result<()> {
    let usable = cmd!(shell, "python3 -c 'import ensurepip, venv'");
    if usable.quiet().ignore_stderr().run().is_err() {
        return skip("servers in Python", "Python 3 with `venv` is not installed");
    }
    let _here = shell.push_dir(directory(""));
    let locked = fs::read(directory("requirements.txt"))?;
    // The list that was installed, so that a changed one is installed again.
    let installed = directory(".venv/requirements.txt");
    if fs::read(&installed).is_ok_and(|installed| installed == locked) {
        return Ok(());
    }
    let pip = "--quiet --disable-pip-version-check --no-deps --require-hashes --requirement";
    let pip = pip.split(' ');
    cmd!(shell, "python3 -m venv --clear .venv").run()?;
    cmd!(
        shell,
        ".venv/bin/python -m pip install {pip...} requirements.txt"
    )
    .run()
    .context("the packages of the servers in Python could not be installed")?;
    Ok(fs::write(installed, locked)?)
}

/// Reports whether Glewlwyd is installed, which is a package of Debian.
fn check_glewlwyd(shell: &Shell) -> anyhow::Result<()> {
    let version = cmd!(shell, "glewlwyd --version");
    match version.quiet().ignore_stdout().ignore_stderr().run() {
        Ok(()) => Ok(()),
        Err(_) => skip("Glewlwyd", "Debian's package glewlwyd is not installed"),
    }
}
