//! Documentation as JSON, with the lints of rustdoc.

use std::{
    env,
    ffi::OsString,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::Context as _;
use xshell::{Shell, cmd};

/// The variable that makes this program rustdoc, with unstable features.
const AS_RUSTDOC: &str = "XTASK_AS_RUSTDOC";

/// Builds the documentation of libraries as JSON in target/doc; a warning, such as a link to nothing, is an error.
///
/// Cargo is asked for documentation tests, since it runs these with the dependencies that were built for all other
/// tests; for documentation alone it compiles all of them again. The JSON format is unstable: the variable that allows it
/// is set for rustdoc alone, since build scripts read it too.
pub(crate) fn describe(
    shell: &Shell,
    selection: &[impl AsRef<std::ffi::OsStr>],
) -> anyhow::Result<()> {
    cmd!(shell, "cargo test {selection...} --doc")
        .env("RUSTDOC", env::current_exe()?)
        .env(AS_RUSTDOC, crate::files::root().join("target/doc"))
        .run()
        .context("the documentation could not be built")
}

/// Runs rustdoc, if this program was started in its place: for the documentation of what cargo wants tested.
pub(crate) fn run_as_rustdoc() -> Option<ExitCode> {
    let folder = env::var_os(AS_RUSTDOC)?;
    let mut rustdoc = Command::new("rustdoc");
    rustdoc
        .args(without_tests(env::args_os().skip(1)))
        .env("RUSTC_BOOTSTRAP", "1")
        .env_remove(AS_RUSTDOC);
    // Cargo also asks rustdoc for its version.
    if env::args_os().any(|argument| argument == "--test") {
        rustdoc
            .args(["-D", "warnings", "-Z", "unstable-options"])
            .args(["--output-format", "json", "--out-dir"])
            .arg(Path::new(&folder));
    }
    Some(match rustdoc.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Removes the arguments that are for tests, each with its value.
fn without_tests(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments = arguments.peekable();
    let mut kept = Vec::new();
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--test") => {}
            Some("--test-run-directory" | "--test-args") => {
                arguments.next();
            }
            _ => kept.push(argument),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_run_becomes_documentation() {
        let given =
            "--crate-name a --test src/lib.rs --test-run-directory /a --cfg b --test-args --list";
        let kept = without_tests(given.split(' ').map(OsString::from));
        assert_eq!(kept, ["--crate-name", "a", "src/lib.rs", "--cfg", "b"]);
    }
}
