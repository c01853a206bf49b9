//! `hallpass exec`.

use crate::support::{ENV, ID, SECRET, User, default_profile, server, stderr, stdout};

/// Runs a line in this system's shell, in place of any command.
fn in_a_shell(user: &User, words: &str, line: &str) -> assert_cmd::Command {
    let shell = if cfg!(windows) {
        ["cmd", "/d", "/c"].as_slice()
    } else {
        &["sh", "-c"]
    };
    let mut command = user.hallpass(words);
    command.arg("--").args(shell).arg(line);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_gets_the_token_and_not_the_secret() {
    let server = server().await;
    let user = User::of(&server);
    let token = user.prints("token");
    let mut command = user.hallpass(&format!("exec --name API_TOKEN -- {ENV}"));
    let printed = stdout(&command.env("OTHER", "stays").assert().success());
    assert!(
        printed.contains(&format!("API_TOKEN={}", token.trim_end())),
        "{printed}"
    );
    assert!(printed.contains("OTHER=stays"));
    // The next test is the positive control: under any other name the secret reaches the command.
    assert!(
        !printed.contains(SECRET) && !printed.contains("CLIENT_SECRET"),
        "{printed}"
    );

    let mut command = user.hallpass(&format!(
        "exec --no-cache --danger-allow-mixed-settings -- {ENV}"
    ));
    // Variable names are case-sensitive on Unix only.
    let ours = if cfg!(windows) {
        "hallpass_client_secret"
    } else {
        "HALLPASS_CLIENT_SECRET"
    };
    let of_ours = command
        .env(ours, SECRET)
        .env("CAMALL_CLIENT_SECRET", SECRET);
    let printed = stdout(&of_ours.env("UNKNOWN_TO_US", SECRET).assert().success());
    assert_eq!(printed.matches(SECRET).count(), 2, "{printed}");
    assert!(
        printed.contains("UNKNOWN_TO_US=") && printed.contains("\nCLIENT_SECRET="),
        "{printed}"
    );
    assert!(printed.contains("ACCESS_TOKEN="));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_is_that_of_the_command() {
    let server = server().await;
    let user = User::of(&server);
    let line = if cfg!(windows) {
        "echo out&& if defined ACCESS_TOKEN (echo err>&2& exit 42)"
    } else {
        "test -n \"$ACCESS_TOKEN\" && echo out && echo err >&2 && exit 42"
    };
    let ended = in_a_shell(&user, "exec", line).assert().code(42);
    let lines = |text: String| text.replace("\r\n", "\n");
    assert_eq!(
        (lines(stdout(&ended)), lines(stderr(&ended))),
        ("out\n".into(), "err\n".into())
    );
}

/// The command replaces this process: a signal ends it, not a parent.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_the_command_itself() {
    let server = server().await;
    let user = User::of(&server);
    let mut command = in_a_shell(&user, "exec", "kill -TERM $$");
    let ended = command.assert().interrupted();
    assert!(!ended.get_output().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_no_command_is_run() {
    let server = server().await;
    let user = User::of(&server);
    server.rotate_secret(ID, "another");
    let mut command = in_a_shell(&user, "exec", "echo run");
    command.assert().code(4).stdout("");
    server.rotate_secret(ID, SECRET);
    let missing = user.run("exec -- no-such-command-anywhere").code(127);
    let message = stderr(&missing);
    assert!(
        message
            .contains("`no-such-command-anywhere` could not be started: no such file or command"),
        "{message}"
    );
    assert_eq!(
        message.contains("the extension of a script"),
        cfg!(windows),
        "{message}"
    );
    user.run("exec").code(2);
    user.run("exec --name 9x -- true").code(2);
}

/// The exit codes that shells use.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_executable_is_exit_code_126() {
    let server = server().await;
    let user = User::of(&server);
    std::fs::write(user.path("data"), "").unwrap();
    let failed = user.run("exec -- ./data").code(126);
    let message = stderr(&failed);
    assert!(
        message.contains("`./data` could not be started: permission denied"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vault_token_is_not_inherited() {
    let server = server().await;
    let user = User::of(&server);
    // With a cached token, Vault is not contacted.
    user.prints("token");
    let run = || {
        let mut command = user.hallpass(&format!("exec -- {ENV}"));
        command
            .env("VAULT_ADDR", "https://vault.example")
            .env("VAULT_TOKEN", "CANARY-vault");
        stdout(&command.assert().success())
    };
    assert!(run().contains("CANARY-vault"));
    let profile = default_profile(&server);
    user.profile(&profile.replace("env:CLIENT_SECRET", "vault:secret/orders#secret"));
    let printed = run();
    assert!(
        printed.contains("VAULT_ADDR=") && !printed.contains("CANARY-vault"),
        "{printed}"
    );
}
