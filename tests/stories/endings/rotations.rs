//! Secrets that the server refused, and keys that it rotated: calls that end while they read the new ones.

use std::{
    fs,
    pin::pin,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use hallpass::{
    Secret, SecretError, SecretSource, async_trait,
    endpoint::{ClientCredentials, ClientSecretPost, Endpoint, TokenManagement},
    jwt::{ResponseKeys, SigningKey},
    secrets::{CachedSecret, CommandSecret, FileSecret, VaultSecret},
};
use hallpass_testkit::{
    Breakpoint, ManualClock,
    raw::{self, RawServer},
};
use serde_json::json;
use tokio::runtime::Runtime;

use super::{
    Call, Story, call, fetch, granted, retry, run, runtime,
    server::{Received, Response, Server},
    transport,
};
use crate::{
    signed_introspection::{MEDIA_TYPE, header, jwt, key, set},
    support::{ID, secret, static_token},
};

/// Accepts the second secret. The first one, which the server refused before, must not be sent again.
fn accept_second(_: &str, received: &Received, _: usize) -> Response {
    if received.body.contains("client_secret=second") {
        return granted("t", "Bearer");
    }
    let body = json!({ "error": "invalid_scope" });
    (400, String::new(), body.to_string())
}

/// Runs a story with a secret that [`refused`] returns.
fn run_refused(call: fn(&Server, &Breakpoint) -> Call) {
    let points = run(&Story {
        answer: accept_second,
        next: &[&["t"], &["t"]],
        call,
    });
    assert!(points >= 15, "{points}");
}

/// Returns a call of a source whose secret was refused. The call keeps `state`.
fn refused<T: 'static>(server: &Server, secret: impl SecretSource + 'static, state: T) -> Call {
    runtime().block_on(async {
        let first = secret.secret().await.unwrap();
        assert_eq!(first.expose(), "first");
        secret.refused(&first);
    });
    let url = format!("{}/token", server.url);
    let source = ClientCredentials::builder(url, ID, ClientSecretPost::new(secret))
        .danger_allow_http_on_loopback()
        .transport(transport())
        .retry(retry());
    let call = fetch(source.build().unwrap());
    Box::new(move || {
        let _ = &state;
        call()
    })
}

/// A secret that changes after its first read. The other reads take several polls.
#[derive(Debug)]
struct Changing(AtomicBool, Breakpoint);

#[async_trait]
impl SecretSource for Changing {
    async fn secret(&self) -> Result<Secret, SecretError> {
        if !self.0.swap(true, Ordering::SeqCst) {
            return Ok(secret("first"));
        }
        self.1.wrap(tokio::task::yield_now()).await;
        Ok(secret("second"))
    }
}

// covers: F-110
#[test]
fn a_refused_cached_secret_is_not_sent_after_any_ending() {
    run_refused(|server, breakpoint| {
        let changing = Changing(AtomicBool::new(false), breakpoint.clone());
        let cached = CachedSecret::new(changing, Duration::from_secs(3_600));
        refused(server, cached, ())
    });
}

// covers: F-110
#[test]
fn a_refused_secret_of_vault_is_not_sent_after_any_ending() {
    /// Its connections outlive the runtimes of the calls.
    static VAULTS: LazyLock<Runtime> = LazyLock::new(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).enable_all().build().unwrap()
    });
    run_refused(|server, _| {
        let found = |text, version| {
            let metadata = json!({ "version": version, "deletion_time": "", "destroyed": false });
            let body = json!({ "data": { "data": { "key": text }, "metadata": metadata } });
            raw::json(200, body.to_string())
        };
        let replies = [found("first", 1), found("second", 2)];
        let vault = VAULTS.block_on(RawServer::start(replies));
        let source = VaultSecret::builder(vault.url(""), secret("token"), "secret", "x", "key");
        let source = source.danger_allow_http_on_loopback().build().unwrap();
        refused(server, source, vault)
    });
}

// covers: F-110
#[cfg(unix)] // A shell.
#[test]
fn a_refused_secret_of_a_command_is_not_sent_after_any_ending() {
    run_refused(|server, _| {
        let folder = tempfile::tempdir().unwrap();
        let script =
            r#"if [ -e "$0" ]; then echo second; else : > "$0" && echo first; fi"#.to_owned();
        let ran = folder.path().join("ran").display().to_string();
        let source = CommandSecret::new("sh", ["-c".to_owned(), script, ran]);
        refused(server, source, folder)
    });
}

// covers: F-110
#[test]
fn a_refused_secret_of_a_file_is_not_sent_after_any_ending() {
    run_refused(|server, _| {
        let file = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let path = file.to_path_buf();
        fs::write(&path, "first").unwrap();
        let call = refused(server, FileSecret::new(&path), file);
        fs::write(path, "second").unwrap();
        call
    });
}

/// A server that publishes its old keys once more after it has rotated them.
fn rotated(url: &str, received: &Received, before: usize) -> Response {
    static KEYS: LazyLock<[SigningKey; 2]> = LazyLock::new(|| ["old", "new"].map(key));
    let [old, new] = &*KEYS;
    let body = match received.path.as_str() {
        "/jwks" => set(&[if before == 0 { old } else { new }]),
        "/introspect" => {
            let claims = json!({
                "iss": url,
                "aud": ID,
                "iat": 1_767_225_600,
                "token_introspection": { "active": true },
            });
            let jwt = pin!(jwt(new, header(new), &claims));
            let Poll::Ready(jwt) = jwt.poll(&mut Context::from_waker(Waker::noop())) else {
                panic!("a key in memory signs at once");
            };
            return (200, format!("content-type: {MEDIA_TYPE}\r\n"), jwt);
        }
        _ => json!({
            "issuer": url,
            "token_endpoint": format!("{url}/token"),
            "introspection_endpoint": format!("{url}/introspect"),
            "jwks_uri": format!("{url}/jwks"),
        })
        .to_string(),
    };
    (200, String::new(), body)
}

#[test]
fn a_read_of_rotated_keys_that_ends_at_any_point_is_repeated() {
    /// More than the delay before a failed read is repeated, and less than the interval of reads for unknown keys.
    const STEP: Duration = Duration::from_secs(6);
    let points = run(&Story {
        answer: rotated,
        next: &[&[".ijj"], &[".ijj", "ijj"], &["ijj"], &["ij"], &["ij", "i"]],
        call: |server, _| {
            let login = Endpoint::discover(&server.url)
                .transport(transport())
                .danger_allow_http_on_loopback();
            let authentication = ClientSecretPost::new(secret("s3cr3t"));
            let clock = ManualClock::new();
            let tokens = TokenManagement::builder(login.build().unwrap(), ID, authentication)
                .require_signed_responses(ResponseKeys::new())
                .danger_allow_http_on_loopback()
                .transport(transport())
                .clock(clock.clone())
                .retry(retry());
            let tokens = Arc::new(tokens.build().unwrap());
            call(move || {
                let tokens = tokens.clone();
                clock.advance(STEP);
                async move { tokens.introspect(&static_token("t")).await.is_ok() }
            })
        },
    });
    assert!(points >= 40, "{points}");
}
