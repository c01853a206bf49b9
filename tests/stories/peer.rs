//! Starts the real authorization servers below `tests/peers`.

use std::{
    env,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

/// A certified authorization server (npm's oidc-provider) on loopback; stopped on drop.
pub(crate) struct OidcProvider {
    ready: Value,
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl OidcProvider {
    /// Starts the server, or prints why it is skipped. In CI a skip is a failure.
    pub(crate) async fn start(args: &[&str]) -> Option<Self> {
        let folder = directory("oidc-provider");
        if !folder.join("node_modules").is_dir() {
            return skipped("oidc-provider", NOT_INSTALLED);
        }
        let old = "process.exit(process.versions.node.split('.')[0] < 20 ? 1 : 0)";
        match Command::new("node").args(["-e", old]).status().await {
            Ok(status) if status.success() => {}
            _ => return skipped("oidc-provider", "Node.js 20 or newer is not installed"),
        }
        let mut child = Command::new("node")
            .arg("server.mjs")
            .args(args)
            .current_dir(folder)
            // The server stops when this pipe closes, so it does not outlive a test that dies. It is not killed, so
            // that it removes its keys.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.next_line().await.unwrap();
        let ready = ready.expect("the server says that it is ready");
        Some(Self {
            ready: serde_json::from_str(&ready).unwrap(),
            lines,
            _child: child,
        })
    }

    /// Returns a member of the server's description, as text.
    pub(crate) fn received(&self, name: &str) -> &str {
        self.ready[name].as_str().unwrap()
    }

    /// Returns the status of the next token request that it served.
    pub(crate) async fn served(&mut self) -> u64 {
        let line = self.lines.next_line().await.unwrap().unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        line["status"].as_u64().unwrap()
    }

    pub(crate) fn client_secret(&self, client_id: &str) -> &str {
        let clients = self.ready["clients"].as_array().unwrap();
        let client = clients
            .iter()
            .find(|client| client["client_id"] == client_id);
        client.unwrap()["client_secret"].as_str().unwrap()
    }
}

/// Reason to skip a server.
pub(crate) const NOT_INSTALLED: &str =
    "its packages are not installed; `cargo xtask peers` does it";

/// Returns the directory of a server.
pub(crate) fn directory(name: &str) -> PathBuf {
    // Several packages include this file in their tests.
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let mut folders = above.map(|above| above.join("tests/peers").join(name));
    let folder = folders.find(|folder| folder.is_dir());
    folder.expect("the directory of the real authorization server")
}

/// Prints the reason why a server is skipped. In CI a skip is a failure.
pub(crate) fn skipped<T>(name: &str, why: &str) -> Option<T> {
    assert!(
        env::var_os("CI").is_none(),
        "{name}, a real authorization server, must run in CI: {why}"
    );
    eprintln!("skipped {name}, a real authorization server: {why}");
    None
}
