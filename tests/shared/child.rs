//! A test in a process of its own.

use std::{env, process::Command};

/// Runs only the test of this name, in a process of its own that `configure` changes first. The test must pass.
pub(crate) fn run_alone(test: &str, configure: impl FnOnce(&mut Command) -> &mut Command) {
    let mut child = Command::new(env::current_exe().unwrap());
    child.args([test, "--exact", "--nocapture"]);
    let output = configure(&mut child).output().unwrap();
    let [shown, errors] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success(), "{shown}\n{errors}");
    // A name that matches no test would succeed too.
    assert!(
        shown.contains("1 passed"),
        "no test is called {test}: {shown}"
    );
}
