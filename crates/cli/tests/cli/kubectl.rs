//! docs/kubectl.md: the wrapper replaces a token that the cluster refused.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use assert_cmd::assert::Assert;

use crate::support::{User, profile, server, stderr, stdout};

const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/kubectl.md");

/// Runs the plugin as kubectl does, and prints the token that the cluster accepted. The cluster refuses the tokens in the
/// file `refused`, or all of them with the file `refuse-all`, and does not answer with the file `down`.
const KUBECTL: &str = r#"#!/bin/sh
echo "$*" >> calls
if [ -e down ]; then
    echo 'The connection to the server was refused' >&2
    exit 1
fi
export KUBERNETES_EXEC_INFO='{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","spec":{"interactive":false}}'
token=$(hallpass token --profile cluster --format exec-credential | sed -n 's/.*"token": "\(.*\)".*/\1/p')
if [ -z "$token" ] || [ -e refuse-all ] || grep -qxF "$token" refused; then
    echo 'error: You must be logged in to the server (Unauthorized)' >&2
    exit 1
fi
echo "$token"
"#;

struct Machine(User);

impl Machine {
    fn new(user: User) -> Self {
        let guide = fs::read_to_string(GUIDE).unwrap();
        let wrapper = guide.split("```sh\n#!/bin/sh\n").nth(1).unwrap();
        let wrapper = format!("#!/bin/sh\n{}", wrapper.split("```").next().unwrap());
        let machine = Self(user);
        fs::create_dir(machine.0.path("bin")).unwrap();
        machine.script("bin/kubectl", KUBECTL);
        machine.script("wrapper", &wrapper);
        let command = machine.0.hallpass("");
        let program = Path::new(command.get_program());
        std::os::unix::fs::symlink(program, machine.0.path("bin/hallpass")).unwrap();
        machine.file("refused", "");
        machine.file("calls", "");
        machine
    }

    fn file(&self, name: &str, text: &str) {
        fs::write(self.0.path(name), text).unwrap();
    }

    fn script(&self, name: &str, text: &str) {
        self.file(name, text);
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.0.path(name), mode).unwrap();
    }

    /// Runs a script with the user's environment.
    fn run(&self, script: &str, arguments: &str) -> Assert {
        let mut command = assert_cmd::Command::new(self.0.path(script));
        let user = self.0.hallpass("");
        let variables = user.get_envs();
        let path = std::env::var("PATH").unwrap();
        command
            .args(arguments.split_whitespace())
            .env_clear()
            .envs(variables.filter_map(|(name, value)| Some((name, value?))))
            .env("PATH", format!("{}:{path}", self.0.path("bin").display()))
            .current_dir(self.0.path(""));
        command.assert()
    }

    /// Returns the commands that kubectl was called with since the last call.
    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.0.path("calls")).unwrap();
        self.file("calls", "");
        calls.lines().map(str::to_owned).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrapper_replaces_a_refused_token_once() {
    let server = server().await;
    let user = User::new();
    user.profile(&profile("cluster", &server.token_endpoint()));
    let machine = Machine::new(user);
    let first = stdout(&machine.run("bin/kubectl", "get pods").success());
    assert_eq!(server.token_request_count(), 1);

    // Without the wrapper, each run has the same token until it expires.
    machine.file("refused", &first);
    for _ in 0..2 {
        let refused = machine.run("bin/kubectl", "get pods").code(1);
        assert!(stderr(&refused).contains("Unauthorized"));
    }
    assert_eq!(server.token_request_count(), 1);
    machine.calls();

    let second = stdout(&machine.run("wrapper", "create job one").success());
    assert_ne!(second, first);
    assert_eq!(machine.calls(), ["auth whoami", "create job one"]);
    assert_eq!(
        stdout(&machine.run("wrapper", "get pods").success()),
        second
    );
    assert_eq!(server.token_request_count(), 2);
    machine.calls();

    // An unreachable cluster says nothing about the token.
    machine.file("down", "");
    let unreachable = machine.run("wrapper", "get pods").code(1);
    assert!(stderr(&unreachable).contains("connection to the server"));
    fs::remove_file(machine.0.path("down")).unwrap();
    assert_eq!(server.token_request_count(), 2);

    // A cluster that refuses every token causes one request for each run, and no loop.
    machine.file("refuse-all", "");
    machine.calls();
    let refused = machine.run("wrapper", "create job two").code(1);
    assert!(stderr(&refused).contains("Unauthorized"));
    assert_eq!(machine.calls(), ["auth whoami", "create job two"]);
    assert_eq!(server.token_request_count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrapper_stops_without_a_new_token() {
    let server = server().await;
    let user = User::new();
    user.profile(&profile("cluster", &server.token_endpoint()));
    let machine = Machine::new(user);
    machine.run("bin/kubectl", "get pods").success();
    machine.file("refuse-all", "");
    machine.calls();
    // The client's secret is not valid any more.
    let user = &machine.0;
    user.profile(
        &profile("cluster", &server.token_endpoint()).replace("orders-service", "unknown"),
    );
    let stopped = machine.run("wrapper", "create job one").code(4);
    assert!(
        stderr(&stopped).contains("invalid_client"),
        "{}",
        stderr(&stopped)
    );
    assert_eq!(machine.calls(), ["auth whoami"]);
}
