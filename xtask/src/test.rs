//! `cargo xtask test`: sets up what the tests need, and runs them all.

use xshell::{Shell, cmd};

use crate::{peers, soak};

pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    peers::set_up(shell)?;
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
    soak::cache(shell, 0.1)?;
    soak::service(shell, 0.1, soak::Options::default())?;
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
