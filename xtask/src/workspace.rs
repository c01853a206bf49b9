//! The selection of packages and features that every test is built with, so that nothing is compiled twice.

use std::{
    env::{self, consts::EXE_SUFFIX},
    path::PathBuf,
    sync::OnceLock,
};

use xshell::{Shell, cmd};

/// The packages that are hallpass-jwt again, each with features of its own.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Variants {
    /// Tested in CI alone.
    InCi,
    /// They have no documentation of their own.
    Never,
}

/// Returns the arguments that select every package with its features.
pub(crate) fn selection(variants: Variants) -> anyhow::Result<Vec<String>> {
    let mut arguments = vec!["--workspace", "--features", features()?];
    if variants == Variants::Never || !is_ci() {
        arguments.extend(WITHOUT_VARIANTS);
    }
    Ok(arguments.into_iter().map(str::to_owned).collect())
}

/// Returns the features of all packages. The manifests are read once.
fn features() -> anyhow::Result<&'static str> {
    static FEATURES: OnceLock<String> = OnceLock::new();
    if let Some(known) = FEATURES.get() {
        return Ok(known);
    }
    let mut features = Vec::new();
    for package in crate::deps::packages()? {
        if VARIANTS.contains(&package.name.as_str()) {
            continue;
        }
        features.extend(
            package
                .features
                .keys()
                .map(|name| format!("{}/{name}", package.name)),
        );
    }
    Ok(FEATURES.get_or_init(|| features.join(",")))
}

const VARIANTS: [&str; 2] = ["hallpass-jwt-none", "hallpass-jwt-ring"];
const WITHOUT_VARIANTS: [&str; 4] = ["--exclude", VARIANTS[0], "--exclude", VARIANTS[1]];

/// Returns true in CI, where all tests must run.
pub(crate) fn is_ci() -> bool {
    env::var_os("CI").is_some()
}

/// Makes clippy the compiler of our crates: the same compiler with more lints, so that what it checked need not be
/// compiled again to be run. A warning is an error.
pub(crate) const LINTS: [(&str, &str); 2] = [
    ("RUSTC_WORKSPACE_WRAPPER", "clippy-driver"),
    // As `cargo clippy -- -D warnings` sets it.
    (
        "CLIPPY_ARGS",
        "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__",
    ),
];

/// In CI, lets this shell compile our crates with lints.
pub(crate) fn lint_in_ci(shell: &Shell) {
    if is_ci() {
        for (name, value) in LINTS {
            shell.set_var(name, value);
        }
    }
}

/// Builds targets (`--example soak`, `--bin hallpass`) and returns the directory of the binaries. `cargo run` selects one
/// package, for which it compiles the dependencies with other features.
pub(crate) fn build(shell: &Shell, targets: &[&str]) -> anyhow::Result<PathBuf> {
    let selection = selection(Variants::InCi)?;
    cmd!(shell, "cargo build --quiet {selection...} {targets...}").run()?;
    let target = env::var_os("CARGO_TARGET_DIR").map_or("target".into(), PathBuf::from);
    Ok(crate::files::root().join(target).join("debug"))
}

/// Builds an example and returns its path.
pub(crate) fn example(shell: &Shell, name: &str) -> anyhow::Result<PathBuf> {
    let folder = build(shell, &["--example", name])?;
    Ok(folder.join("examples").join(format!("{name}{EXE_SUFFIX}")))
}
