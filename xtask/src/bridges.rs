//! `cargo xtask bridges`: checks the adapters to other crates, which are a workspace of their own, and the transport with
//! all features of reqwest, rustls and serde_json.

mod features;
mod trees;

use xshell::{Shell, cmd};

use crate::{
    missing, peers, rustdoc, test,
    workspace::{self, LINTS},
};

/// The manifest of the workspace.
const MANIFEST: &str = "crates/bridges/Cargo.toml";

pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    let bridges = [
        "--manifest-path",
        MANIFEST,
        "--workspace",
        "--all-features",
        "--target-dir",
        "target",
    ];
    cmd!(shell, "cargo fmt --manifest-path {MANIFEST} --all --check").run()?;
    trees::check(shell, MANIFEST)?;
    features::check(MANIFEST)?;
    let _lints = LINTS.map(|(name, value)| shell.push_env(name, value));
    // Tests do not build them.
    cmd!(shell, "cargo build --quiet {bridges...} --benches").run()?;
    // Its tests of signers need the real authorization server too.
    let missing: Vec<String> = peers::set_up_oidc_provider(shell)?.into_iter().collect();
    missing::report(&missing, workspace::is_ci())?;
    // One process per test, as tests that record traces require.
    test::with_documentation(shell, &bridges, &bridges, |_| Ok(()))?;
    rustdoc::describe(shell, &bridges)
}
