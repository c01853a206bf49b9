//! `hallpass exec`.

use crate::support::{ID, SECRET, User, server, stderr, stdout};

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_command_has_the_token_and_not_the_secret() {
    let server = server().await;
    let user = User::of(&server);
    let token = user.prints("token");
    let mut command = user.hallpass("exec --name API_TOKEN -- env");
    let printed = stdout(&command.env("OTHER", "stays").assert().success());
    assert!(printed.contains(&format!("API_TOKEN={token}")), "{printed}");
    assert!(printed.contains("OTHER=stays"));
    // The control is the next test: it reaches a command by any other name.
    assert!(
        !printed.contains(SECRET) && !printed.contains("CLIENT_SECRET"),
        "{printed}"
    );

    let mut command = user.hallpass("exec --no-cache -- env");
    let of_ours = command
        .env("HALLPASS_CLIENT_SECRET", SECRET)
        .env("CAMALL_CLIENT_SECRET", SECRET);
    let printed = stdout(&of_ours.env("UNKNOWN_TO_US", SECRET).assert().success());
    assert_eq!(printed.matches(SECRET).count(), 2, "{printed}");
    assert!(
        printed.contains("UNKNOWN_TO_US=") && printed.contains("\nCLIENT_SECRET="),
        "{printed}"
    );
    assert!(printed.contains("ACCESS_TOKEN="));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_is_the_commands() {
    let server = server().await;
    let user = User::of(&server);
    let mut command = user.hallpass("exec --");
    command.args([
        "sh",
        "-c",
        "test -n \"$ACCESS_TOKEN\" && echo out && echo err >&2 && exit 42",
    ]);
    let ended = command.assert().code(42);
    assert_eq!(
        (stdout(&ended), stderr(&ended)),
        ("out\n".into(), "err\n".into())
    );
    // It took this process's place: a signal ends it, and not a parent.
    let mut command = user.hallpass("exec --");
    let ended = command
        .args(["sh", "-c", "kill -TERM $$"])
        .assert()
        .interrupted();
    assert!(!ended.get_output().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_nothing_is_run() {
    let server = server().await;
    let user = User::of(&server);
    server.rotate_secret(ID, "another");
    let mut command = user.hallpass("exec -- sh -c");
    command.arg("echo run").assert().code(4).stdout("");
    server.rotate_secret(ID, SECRET);
    let missing = user.run("exec -- no-such-command-anywhere").code(1);
    assert!(stderr(&missing).contains("`no-such-command-anywhere` could not be started"));
    user.run("exec").code(2);
    user.run("exec --name 9x -- true").code(2);
}
