//! `cargo xtask matrix`: runs every configuration against every scenario, and builds every set of features.

use anyhow::{Context as _, bail};
use xshell::{Shell, cmd};

pub(crate) fn run(
    shell: &Shell,
    cell: Option<&str>,
    features_powerset: bool,
) -> anyhow::Result<()> {
    let folder = crate::files::root().join("target/matrix");
    cmd!(
        shell,
        "cargo test --quiet --package hallpass-tests --test matrix -- --nocapture"
    )
    .env("HALLPASS_MATRIX", &folder)
    .env("HALLPASS_MATRIX_CELL", cell.unwrap_or_default())
    .run()
    .context("the matrix has cells that failed; they are listed above")?;
    if features_powerset {
        powerset(shell)?;
    }
    Ok(())
}

/// Builds each published crate with each feature, each pair of features, all and none, without test dependencies. The
/// facade has thousands of sets; conflicts are between two features.
fn powerset(shell: &Shell) -> anyhow::Result<()> {
    let found = cmd!(shell, "cargo hack --version").quiet().ignore_stderr();
    if found.read().is_err() {
        bail!("cargo-hack is missing: `cargo install --locked cargo-hack`, then run this again");
    }
    cmd!(
        shell,
        "cargo hack check --workspace --ignore-private --feature-powerset --depth 2 --no-dev-deps"
    )
    .run()
    .context("a set of features does not build")
}
