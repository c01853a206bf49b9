//! Runs a program of this package with all that it needs in its environment.

use std::{
    fmt, fs,
    path::PathBuf,
    process::Stdio,
    sync::atomic::{AtomicUsize, Ordering},
};

use hallpass_testkit::{AuthorizationServer, Client, leak};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::{Child, Command},
};

pub(crate) const ID: &str = "orders-service";
pub(crate) const SECRET: &str = "CANARY-s3cr3t-0123456789";

/// An authorization server whose client may have these scopes.
pub(crate) async fn server(scopes: &str) -> AuthorizationServer {
    let client = Client::new(ID, SECRET).scopes(scopes);
    AuthorizationServer::builder().client(client).start().await
}

/// Where the server's API is.
pub(crate) fn origin(server: &AuthorizationServer) -> String {
    server.api_url("").trim_end_matches("/api").to_owned()
}

/// A program that is about to be run. Its secret is in a file, as a mount has it.
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
            // Without the warnings that the line above is for.
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

    /// Starts a service, and waits until it listens.
    pub(crate) async fn start(mut self) -> Running {
        let mut process = self.command.spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().expect("a line");
        let address = line.strip_prefix("listening on ").unwrap();
        let address = format!("http://{address}");
        Running {
            process,
            address,
            _secret: self.secret,
        }
    }
}

/// How a program ended.
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

/// A service that listens.
pub(crate) struct Running {
    process: Child,
    address: String,
    _secret: SecretFile,
}

#[cfg(unix)]
impl Running {
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let answer = reqwest::get(format!("{}{path}", self.address))
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Asks it to end.
    pub(crate) async fn terminate(&self) {
        let id = self.process.id().unwrap().to_string();
        let kill = Command::new("kill").args(["-TERM", &id]).status().await;
        assert!(kill.unwrap().success());
    }

    pub(crate) async fn wait(mut self) -> Ran {
        let mut said = String::new();
        let mut stderr = self.process.stderr.take().unwrap();
        stderr.read_to_string(&mut said).await.unwrap();
        let status = self.process.wait().await.unwrap();
        Ran::new(status.code(), String::new(), said)
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
        "monitor" => env!("CARGO_BIN_EXE_monitor"),
        "scheduled-job" => env!("CARGO_BIN_EXE_scheduled-job"),
        "system-integration" => env!("CARGO_BIN_EXE_system-integration"),
        _ => panic!("no program `{name}`"),
    }
}
