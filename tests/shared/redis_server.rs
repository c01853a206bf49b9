//! Redis servers on loopback, started by `tests/peers/redis/start.sh`.

use std::{
    env,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

use serde_json::Value;

/// The exit status of the script if a program is missing.
const MISSING: i32 = 69;

/// A Redis server, stopped on drop.
pub(crate) struct RedisServer {
    ready: Value,
    child: Child,
    /// The server stops when this pipe closes.
    stdin: Option<ChildStdin>,
}

impl RedisServer {
    /// Starts a server, or prints why the test is skipped. In CI a skip is a failure.
    pub(crate) fn start(arguments: &[&str]) -> Option<Self> {
        Self::run(arguments, &[])
    }

    /// Starts another server in place of this one, which was killed: with its ports and passwords, and without its data.
    pub(crate) fn replace(&self) -> Self {
        let [port, tls_port] = ["port", "tls_port"].map(|port| self.number(port).to_string());
        self.another(&["--port", &port, "--tls-port", &tls_port])
    }

    /// Starts a server with the passwords of this one.
    pub(crate) fn another(&self, arguments: &[&str]) -> Self {
        let passwords = [
            ("REDIS_PASSWORD", self.text("password")),
            ("REDIS_ADMIN_PASSWORD", self.text("default_password")),
        ];
        Self::run(arguments, &passwords).expect("it was installed before")
    }

    fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Option<Self> {
        let installed = Command::new("redis-server").arg("--version").output();
        if !installed.is_ok_and(|run| run.status.success()) {
            return skipped("redis-server is not installed (Debian's package `redis-server`)");
        }
        // Several packages include this file in their tests.
        let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
        let mut scripts = above.map(|above| above.join("tests/peers/redis/start.sh"));
        let script = scripts.find(|script| script.is_file());
        let mut command = Command::new("bash");
        command
            .arg(script.expect("the script that starts Redis"))
            .args(arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        // A Ctrl-C in the terminal is for this process, which may still need the server; its end closes the pipe.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        if line.is_empty() && child.wait().unwrap().code() == Some(MISSING) {
            return skipped("a program is missing, which the script has named");
        }
        let ready = serde_json::from_str(&line).expect("the script says that Redis is ready");
        let stdin = child.stdin.take();
        Some(Self {
            ready,
            child,
            stdin,
        })
    }

    /// Returns a text of the server's description.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.ready[name].as_str().unwrap()
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        self.ready[name].as_u64().unwrap()
    }

    /// Ends the server at once, as a crash does.
    pub(crate) fn kill(&mut self) {
        self.signal("KILL");
        self.child.wait().unwrap();
    }

    /// Sends a signal to the server's process.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.number("pid").to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // The script removes its directory.
        let _ = self.child.wait();
    }
}

/// Prints the reason why a test is skipped. In CI a skip is a failure.
fn skipped<T>(why: &str) -> Option<T> {
    assert!(
        env::var_os("CI").is_none(),
        "the tests with Redis must run in CI: {why}"
    );
    eprintln!("skipped: {why}");
    None
}
