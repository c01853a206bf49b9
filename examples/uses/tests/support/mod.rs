//! Runs a program of this package with the environment that it needs.

use std::{
    fmt, fs,
    path::PathBuf,
    process::Stdio,
    sync::atomic::{AtomicUsize, Ordering},
};

use hallpass_testkit::{AuthorizationServer, Client, leak};
use tokio::process::Command;

#[cfg(unix)] // It is ended by a signal.
mod service;

pub(crate) const ID: &str = "orders-service";
pub(crate) const SECRET: &str = "CANARY-s3cr3t-0123456789";

/// Starts an authorization server whose client may have these scopes.
pub(crate) async fn server(scopes: &str) -> AuthorizationServer {
    let client = Client::new(ID, SECRET).scopes(scopes);
    AuthorizationServer::builder().client(client).start().await
}

/// The URL of the server's API.
pub(crate) fn origin(server: &AuthorizationServer) -> String {
    server.api_url("").trim_end_matches("/api").to_owned()
}

/// A program that is about to be run. Its secret is in a file, as in a mounted volume.
pub(crate) struct Trial {
    command: Command,
    secret: SecretFile,
}

impl Trial {
    pub(crate) fn new(name: &str, server: &AuthorizationServer) -> Self {
        let secret = SecretFile::new(SECRET);
        let mut command = Command::new(program(name));
        command
            .env_clear()
            .env("CAMALL_CLIENT_ID", ID)
            .env(
                "CAMALL_CLIENT_SECRET",
                format!("file:{}", secret.0.display()),
            )
            .env("CAMALL_TOKEN_ENDPOINT", server.token_endpoint())
            .env("API_ORIGIN", origin(server))
            .env("DANGER_HTTP_ON_LOOPBACK", "1")
            .env("DRAIN_SECONDS", "0")
            // Without the warnings that the line above causes.
            .env("RUST_LOG", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Self { command, secret }
    }

    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Names the file of the secret in this variable.
    pub(crate) fn with_secret(self, name: &str) -> Self {
        let reference = format!("file:{}", self.secret.0.display());
        self.set(name, &reference)
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    pub(crate) fn arguments(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    pub(crate) fn secret(self, secret: &str) -> Self {
        fs::write(&self.secret.0, secret).unwrap();
        self
    }

    pub(crate) async fn run(mut self) -> Ran {
        let output = self.command.output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran::new(
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    }
}

/// The result of a program.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    fn new(code: Option<i32>, stdout: String, stderr: String) -> Self {
        let ran = Self {
            code,
            stdout,
            stderr,
        };
        leak::assert_clean(&ran.all(), SECRET);
        assert!(!ran.all().contains("Bearer "), "a token is shown");
        ran
    }

    pub(crate) fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl fmt::Debug for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?}\nstdout: {}\nstderr: {}",
            self.code, self.stdout, self.stderr
        )
    }
}

struct SecretFile(PathBuf);

impl SecretFile {
    fn new(secret: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("hallpass-uses-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, secret).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        Self(path)
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn program(name: &str) -> &'static str {
    match name {
        "backend-service" => env!("CARGO_BIN_EXE_backend-service"),
        "command-line-tool" => env!("CARGO_BIN_EXE_command-line-tool"),
        "data-pipeline" => env!("CARGO_BIN_EXE_data-pipeline"),
        "mcp-client" => env!("CARGO_BIN_EXE_mcp-client"),
        "monitor" => env!("CARGO_BIN_EXE_monitor"),
        "scheduled-job" => env!("CARGO_BIN_EXE_scheduled-job"),
        "system-integration" => env!("CARGO_BIN_EXE_system-integration"),
        _ => panic!("no program `{name}`"),
    }
}
