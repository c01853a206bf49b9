//! `cargo xtask test`: sets up what the tests need, and runs them all.

use std::{ffi::OsStr, thread, time::Duration};

use anyhow::{Context as _, anyhow, ensure};
use xshell::{Cmd, Shell, cmd};

use crate::{
    flags::{Minutes, Schedules},
    missing, peers, soak,
    workspace::{self, Variants},
};

pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    workspace::lint_in_ci(shell);
    let missing = [missing::programs(shell), peers::set_up(shell)?].concat();
    between_reports(&missing, || all(shell))?;
    println!("all tests passed{}", except(&missing));
    Ok(())
}

/// Reports the tests that do not run before the others and after them, whose output is long.
fn between_reports(
    missing: &[String],
    tests: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    missing::report(missing, workspace::is_ci())?;
    let outcome = tests();
    println!();
    missing::report(missing, workspace::is_ci())?;
    outcome
}

fn all(shell: &Shell) -> anyhow::Result<()> {
    let packages = workspace::selection(Variants::InCi)?;
    let documented = workspace::selection(Variants::Never)?;
    if has_nextest(shell) {
        return with_documentation(shell, &packages, &documented, programs);
    }
    cmd!(
        shell,
        "cargo test {packages...} --lib --bins --tests --examples"
    )
    .run()?;
    documentation(shell, &documented)?;
    programs(shell)
}

fn except(missing: &[String]) -> &'static str {
    if missing.is_empty() {
        ""
    } else {
        " that can run here"
    }
}

/// Runs tests of packages, each in a process of its own. Beside them, documentation tests and then `more` run: rustdoc uses
/// one processor at a time.
pub(crate) fn with_documentation(
    shell: &Shell,
    packages: &[impl AsRef<OsStr>],
    documented: &[impl AsRef<OsStr> + Sync],
    more: impl FnOnce(&Shell) -> anyhow::Result<()> + Send,
) -> anyhow::Result<()> {
    // Commands of cargo wait for each other while one of them compiles.
    cmd!(shell, "cargo nextest run {packages...} --no-run").run()?;
    let threads = threads();
    let shell_beside = shell.clone();
    thread::scope(|scope| {
        let beside = scope.spawn(move || {
            documentation(&shell_beside, documented)?;
            more(&shell_beside)
        });
        let tests = cmd!(
            shell,
            "cargo nextest run {packages...} --no-fail-fast --test-threads {threads}"
        );
        let tests = tests.run();
        let beside = beside.join();
        tests?;
        beside.map_err(|_| anyhow!("the runner of the documentation tests panicked"))?
    })
}

/// Runs the documentation tests, which nextest does not run.
fn documentation(shell: &Shell, documented: &[impl AsRef<OsStr>]) -> anyhow::Result<()> {
    let tests = cmd!(shell, "cargo test --quiet {documented...} --doc");
    in_one_piece(tests).context("a documentation test failed")
}

/// Runs the two programs of soak runs, for as long as shows that they work, and the quickstart.
fn programs(shell: &Shell) -> anyhow::Result<()> {
    const SHORT: Minutes = Minutes(Duration::from_secs(6));
    in_one_piece(soak::cache(shell, SHORT)?)?;
    // The same schedule in each run.
    let known = soak::Options {
        seed: Some(1),
        ..soak::Options::default()
    };
    in_one_piece(soak::service(shell, SHORT, known)?)?;
    let program = workspace::example(shell, "quickstart")?;
    // Against its own servers, even if a developer has real credentials: a test must not spend a token.
    in_one_piece(cmd!(shell, "{program}").env_remove("CAMALL_CLIENT_ID"))
}

/// Runs a command, and prints its output when it has ended.
fn in_one_piece(command: Cmd<'_>) -> anyhow::Result<()> {
    let name = command.to_string();
    let output = command.quiet().ignore_status().output()?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "`{name}`: {}", output.status);
    Ok(())
}

/// Runs what a change breaks first, in less than a minute: unit tests, the cache's rules, and the stories that need no
/// other server and take no seconds.
pub(crate) fn quick(shell: &Shell) -> anyhow::Result<()> {
    between_reports(&missing::programs(shell), || fast(shell))
}

fn fast(shell: &Shell) -> anyhow::Result<()> {
    let packages = workspace::selection(Variants::InCi)?;
    let targets = ["--lib", "--bins", "--test", "stories", "--test", "policies"];
    if !has_nextest(shell) {
        return Ok(cmd!(shell, "cargo test {packages...} {targets...}").run()?);
    }
    let threads = threads();
    // Without other servers, and without what takes seconds because it is generated.
    let slow = [
        "oidc_",
        "servers::",
        "main_job::",
        "explore::",
        "endings::",
        "redirects::",
        "model::",
        "fleet::",
        "pairs::",
        "builders::",
        "settings::every_two_",
        "keys::the_number",
    ]
    .join("|");
    let fast = format!(
        "not (package(xtask) | package(hallpass-redis) & binary(stories) | test(/^({slow})/))"
    );
    cmd!(
        shell,
        "cargo nextest run {packages...} {targets...} --no-fail-fast --test-threads {threads} -E {fast}"
    )
    .run()?;
    Ok(())
}

fn has_nextest(shell: &Shell) -> bool {
    let found = cmd!(shell, "cargo nextest --version")
        .quiet()
        .ignore_stderr();
    found.read().is_ok()
}

/// Three times the number of processors: most tests wait for a server or a clock.
fn threads() -> String {
    let processors = thread::available_parallelism().map_or(2, std::num::NonZero::get);
    (3 * processors).to_string()
}

/// Explores more schedules than the ordinary tests do.
pub(crate) fn explore(shell: &Shell, schedules: Schedules) -> anyhow::Result<()> {
    let schedules = schedules.to_string();
    let explore = cmd!(shell, "cargo test --package hallpass-cache --lib explore::");
    Ok(explore.env("HALLPASS_SCHEDULES", schedules).run()?)
}
