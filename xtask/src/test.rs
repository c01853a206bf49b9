//! `cargo xtask test`: sets up what the tests need, and runs them all.

use anyhow::{Context as _, bail};
use xshell::{Shell, cmd};

pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    set_up_oidc_provider(shell)?;
    if cmd!(shell, "cargo nextest --version")
        .quiet()
        .ignore_stderr()
        .read()
        .is_ok()
    {
        cmd!(
            shell,
            "cargo nextest run --workspace --all-features --no-fail-fast"
        )
        .run()?;
    } else {
        cmd!(
            shell,
            "cargo test --workspace --all-features --lib --bins --tests --examples"
        )
        .run()?;
    }
    // nextest does not run doc tests.
    cmd!(shell, "cargo test --workspace --all-features --doc").run()?;
    // A third-party crate outside of the workspace: the result of the guide.
    cmd!(
        shell,
        "cargo test --quiet --manifest-path examples/custom-provider/Cargo.toml --target-dir target"
    )
    .run()?;
    explore(shell)?;
    // Long enough to see that it works.
    soak(shell, 0.1)?;
    // Against its own servers, even if a developer has real credentials: a test must not spend a token.
    cmd!(shell, "cargo run --quiet --example quickstart")
        .env_remove("CAMALL_CLIENT_ID")
        .run()?;
    println!("\nall tests passed");
    Ok(())
}

/// A separate target directory: the checker's primitives replace the standard library's.
pub(crate) fn explore(shell: &Shell) -> anyhow::Result<()> {
    let explore = cmd!(
        shell,
        "cargo test --package hallpass-cache --lib --target-dir target/shuttle explore::"
    );
    Ok(explore.env("RUSTFLAGS", "--cfg shuttle").run()?)
}

pub(crate) fn soak(shell: &Shell, minutes: f64) -> anyhow::Result<()> {
    let minutes = minutes.to_string();
    let soak = cmd!(
        shell,
        "cargo run --quiet --package hallpass-cache --example soak -- --minutes {minutes}"
    );
    Ok(soak.run()?)
}

/// Installs the packages of the real authorization server if Node.js is available.
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
        let why = "Node.js 20 or newer is not installed";
        if in_ci() {
            bail!("{why}, and the tests against a real authorization server must run in CI");
        }
        println!("skipping the tests against a real authorization server: {why}");
        return Ok(());
    }
    let folder = crate::files::root().join("tests/peers/oidc-provider");
    let changed = |path: &str| {
        folder
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
    let _here = shell.push_dir(&folder);
    cmd!(shell, "npm ci --omit=dev --no-audit --no-fund")
        .run()
        .context("the packages of the real authorization server could not be installed")
}

/// Returns true in CI, where a missing tool is a failure and not a reason to skip.
fn in_ci() -> bool {
    std::env::var_os("CI").is_some()
}
