//! `cargo xtask bridges`: checks the adapters to other crates, which are a workspace of their own.

mod trees;

use xshell::{Shell, cmd};

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
    cmd!(
        shell,
        "cargo clippy {bridges...} --all-targets -- -D warnings"
    )
    .run()?;
    cmd!(shell, "cargo doc {bridges...} --no-deps")
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()?;
    // Its tests of signers need the real authorization server too.
    crate::peers::set_up_oidc_provider(shell)?;
    Ok(cmd!(shell, "cargo test {bridges...}").run()?)
}
