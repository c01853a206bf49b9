//! Installs the real authorization servers of the tests: `tests/peers`.

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use xshell::{Shell, cmd};

use crate::missing::line;

fn directory(name: &str) -> PathBuf {
    crate::files::root().join("tests/peers").join(name)
}

/// Installs all that can be installed here, and returns a line for each server whose tests do not run.
pub(crate) fn set_up(shell: &Shell) -> anyhow::Result<Vec<String>> {
    let missing = [
        set_up_oidc_provider(shell)?,
        set_up_python_servers(shell)?,
        check_glewlwyd(shell),
    ];
    Ok(missing.into_iter().flatten().collect())
}

/// Installs the packages of oidc-provider if Node.js is available.
pub(crate) fn set_up_oidc_provider(shell: &Shell) -> anyhow::Result<Option<String>> {
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
        return Ok(Some(line(
            "tests against oidc-provider",
            "Node.js 20 or newer is not installed",
        )));
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
        return Ok(None);
    }
    let _here = shell.push_dir(&directory);
    cmd!(shell, "npm ci --omit=dev --no-audit --no-fund")
        .run()
        .context("the packages of oidc-provider could not be installed")?;
    Ok(None)
}

/// Installs the packages of the servers in Python, in a virtual environment, if Python is available.
fn set_up_python_servers(shell: &Shell) -> anyhow::Result<Option<String>> {
    let usable = cmd!(shell, "python3 -c 'import ensurepip, venv'");
    if usable.quiet().ignore_stderr().run().is_err() {
        return Ok(Some(line(
            "tests against servers in Python",
            "Python 3 with `venv` is not installed; Debian's package is `python3-venv`",
        )));
    }
    let _here = shell.push_dir(directory(""));
    let locked = fs::read(directory("requirements.txt"))?;
    // The list that was installed, so that a changed one is installed again.
    let installed = directory(".venv/requirements.txt");
    if fs::read(&installed).is_ok_and(|installed| installed == locked) {
        return Ok(None);
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
    fs::write(installed, locked)?;
    Ok(None)
}

/// Checks whether Glewlwyd is installed, which is a package of Debian.
fn check_glewlwyd(shell: &Shell) -> Option<String> {
    let version = cmd!(shell, "glewlwyd --version");
    match version.quiet().ignore_stdout().ignore_stderr().run() {
        Ok(()) => None,
        Err(_) => Some(line(
            "tests against Glewlwyd",
            "Debian's package `glewlwyd` is not installed",
        )),
    }
}
