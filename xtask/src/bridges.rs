//! `cargo xtask bridges`: checks the adapters to other crates, which are a workspace of their own.

use xshell::{Shell, cmd};

pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    let bridges = [
        "--manifest-path",
        "crates/bridges/Cargo.toml",
        "--workspace",
        "--all-features",
        "--target-dir",
        "target",
    ];
    cmd!(
        shell,
        "cargo fmt --manifest-path crates/bridges/Cargo.toml --all --check"
    )
    .run()?;
    cmd!(
        shell,
        "cargo clippy {bridges...} --all-targets -- -D warnings"
    )
    .run()?;
    Ok(cmd!(shell, "cargo test {bridges...}").run()?)
}
