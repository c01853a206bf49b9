//! A user of the command: a home directory, an environment, a server.

use std::{fs, path::PathBuf};

use assert_cmd::{Command, assert::Assert};
use hallpass_testkit::{
    AuthorizationServer, Client,
    faults::{self, FaultyResponse},
};
use tempfile::TempDir;

pub(crate) const ID: &str = "orders-service";
/// A canary that every output is searched for.
pub(crate) const SECRET: &str = "CANARY-s3cr3t-0123456789";
/// A reference to a missing file, with an absolute path for this system.
pub(crate) const MISSING: &str = if cfg!(windows) {
    "file:C:/no/such/file"
} else {
    "file:/no/such/file"
};
/// The command that prints its environment.
pub(crate) const ENV: &str = if cfg!(windows) {
    "cmd /d /c set"
} else {
    "env"
};

/// A user with a home directory and an otherwise empty environment.
pub(crate) struct User {
    home: TempDir,
}

impl User {
    pub(crate) fn new() -> Self {
        Self {
            home: TempDir::new().unwrap(),
        }
    }

    /// Creates a user whose default profile uses this server.
    pub(crate) fn of(server: &AuthorizationServer) -> Self {
        let user = Self::new();
        user.profile(&default_profile(server));
        user
    }

    /// Writes the configuration file.
    pub(crate) fn profile(&self, text: &str) {
        let path = self.config();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("config/hallpass/config.toml")
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.path("cache/hallpass")
    }

    /// Returns the command with these arguments, separated by spaces.
    pub(crate) fn hallpass(&self, words: &str) -> Command {
        let mut command = assert_cmd::cargo::cargo_bin_cmd!("hallpass");
        command.args(words.split_whitespace()).env_clear();
        for name in ["PATH", "SYSTEMROOT", "LLVM_PROFILE_FILE"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("HOME", self.home.path())
            .env("USERPROFILE", self.home.path())
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("APPDATA", self.path("config"))
            .env("LOCALAPPDATA", self.path("cache"))
            .env("CLIENT_SECRET", SECRET)
            .current_dir(self.home.path());
        command
    }

    pub(crate) fn run(&self, words: &str) -> Assert {
        self.hallpass(words).assert()
    }

    /// Returns the output of a successful command.
    pub(crate) fn prints(&self, words: &str) -> String {
        stdout(&self.run(words).success())
    }
}

/// Starts a server that knows the client, and an API that requires its scope.
pub(crate) async fn server() -> AuthorizationServer {
    let client = Client::new(ID, SECRET).scopes("orders.read orders.write");
    AuthorizationServer::builder().client(client).start().await
}

pub(crate) fn default_profile(server: &AuthorizationServer) -> String {
    profile("default", &server.token_endpoint())
}

pub(crate) fn profile(name: &str, endpoint: &str) -> String {
    format!(
        r#"
[profile.{name}]
token_endpoint = "{endpoint}"
client_id = "{ID}"
client_secret = "env:CLIENT_SECRET"
scope = "orders.read"
danger_allow_http_on_loopback = true
"#
    )
}

pub(crate) fn stdout(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

pub(crate) fn stderr(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

/// Returns both outputs.
pub(crate) fn shown(assert: &Assert) -> String {
    stdout(assert) + &stderr(assert)
}

/// Returns a realistic server response by its name in the testkit.
pub(crate) fn fault(name: &str) -> &'static FaultyResponse {
    faults::named(name).unwrap()
}
