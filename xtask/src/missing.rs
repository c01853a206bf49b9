//! The programs that tests need besides Rust, and the tests that do not run without them.

use anyhow::bail;
use xshell::{Shell, cmd};

/// A set of tests that do not run without programs, and pass outside of CI.
struct Need {
    tests: &'static str,
    /// Commands that succeed if the programs are installed.
    commands: &'static [&'static str],
    install: &'static str,
}

const NEEDS: [Need; 4] = [
    Need {
        tests: "tests of a token store in Redis, and a part of the soak run",
        commands: &[
            "redis-server --version",
            "redis-cli --version",
            "openssl version",
            "setpriv --version",
        ],
        install: "Debian's packages `redis-server`, `openssl` and `util-linux`",
    },
    Need {
        tests: "tests with a hardware token",
        commands: &["softhsm2-util --version"],
        install: "Debian's package `softhsm2`",
    },
    Need {
        tests: "the test of an example's alert rules",
        commands: &["promtool --version"],
        install: "Debian's package `prometheus`",
    },
    Need {
        tests: "the test that finds a planted advisory",
        commands: &["cargo deny --version"],
        install: "`cargo install --locked cargo-deny`",
    },
];

/// Returns a line for each set of tests that do not run here, with the reason.
pub(crate) fn programs(shell: &Shell) -> Vec<String> {
    let mut lines = Vec::new();
    for need in &NEEDS {
        let fails = |command: &&&str| {
            let words = command.split(' ').collect::<Vec<_>>();
            let (program, arguments) = (words[0], &words[1..]);
            let run = cmd!(shell, "{program} {arguments...}").quiet();
            run.ignore_stderr().read().is_err()
        };
        if let Some(command) = need.commands.iter().find(fails) {
            let Need { tests, install, .. } = need;
            lines.push(line(
                tests,
                &format!("`{command}` fails; install {install}"),
            ));
        }
    }
    lines
}

pub(crate) fn line(tests: &str, why: &str) -> String {
    format!("NOT RUN: {tests}: {why}")
}

/// Prints the lines. In CI, where all tests must run, they are an error.
pub(crate) fn report(lines: &[String], is_ci: bool) -> anyhow::Result<()> {
    let lines = lines.join("\n");
    if is_ci && !lines.is_empty() {
        bail!("all tests must run in CI:\n{lines}");
    }
    if !lines.is_empty() {
        println!("{lines}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files;

    #[test]
    fn a_missing_program_is_named_with_its_tests_and_its_package() {
        let shell = Shell::new().unwrap();
        shell.set_var("PATH", files::root().join("docs"));
        let lines = programs(&shell);
        assert_eq!(lines.len(), NEEDS.len());
        for (line, need) in lines.iter().zip(&NEEDS) {
            for text in [need.tests, need.commands[0], need.install] {
                assert!(line.contains(text), "{line}");
            }
        }
        report(&lines, false).unwrap();
        let error = report(&lines, true).unwrap_err().to_string();
        assert!(lines.iter().all(|line| error.contains(line)), "{error}");
        report(&[], true).unwrap();
    }

    #[test]
    fn a_test_that_can_be_skipped_must_run_in_ci() {
        // The beginning of what such a test prints.
        let marks = [" ", ":"].map(|end| format!("{}skipped{end}", '"'));
        let mut files_with_skips = 0;
        for path in files::sources(&files::CODE, "rs").unwrap() {
            let text = files::text(&path).unwrap();
            if marks.iter().any(|mark| text.contains(mark)) {
                let path = path.display();
                assert!(text.contains(r#"var_os("CI")"#), "{path}: a skip in CI");
                files_with_skips += 1;
            }
        }
        assert_eq!(files_with_skips, 5);
    }
}
