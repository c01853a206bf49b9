//! A secret in a file that rotates while the service runs, without failed calls.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use hallpass::{
    ErrorKind, SecretSource, TokenRequest, TokenSource,
    cache::CachedTokenSource,
    endpoint::{ClientCredentials, ClientSecretPost},
    secrets::FileSecret,
};
use hallpass_testkit::{
    AuthorizationServer, Client, Gate, ManualClock,
    leak::{self, Capture},
};

use crate::{
    secrets::{ask, server, source, statuses},
    support::{CANARY, ID},
};

/// A file that is replaced atomically, as an agent does it, and removed on drop.
struct Mounted(PathBuf);

impl Mounted {
    fn new(name: &str, secret: &str) -> Self {
        let path = format!("hallpass-rotation-{name}-{}", std::process::id());
        let file = Self(std::env::temp_dir().join(path));
        file.replace(secret);
        file
    }

    fn replace(&self, secret: &str) {
        let next = self.0.with_extension("next");
        fs::write(&next, secret).unwrap();
        fs::rename(next, &self.0).unwrap();
    }

    fn secret(&self) -> FileSecret {
        FileSecret::new(&self.0)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// Ten seconds, in each of which the secret rotates, the tokens expire and 64 tasks request a token at once.
// covers: F-75, F-110
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_rotates_each_second_costs_no_call() {
    const TASKS: usize = 64;
    let file = Mounted::new("seconds", "secret-0");
    let client = Client::new(ID, "secret-0");
    let server = AuthorizationServer::builder()
        .client(client)
        .lifetime(SECOND);
    let server = server.start().await;
    let clock = ManualClock::new();
    let endpoint = ClientCredentials::builder(
        server.token_endpoint(),
        ID,
        ClientSecretPost::new(file.secret().clock(clock.clone())),
    );
    let endpoint = endpoint
        .clock(clock.clone())
        .danger_allow_http_on_loopback();
    let cached = CachedTokenSource::builder(endpoint.build().unwrap()).clock(clock.clone());
    let cached = Arc::new(cached.build());
    for second in 1..=10 {
        // The old and the new secret are accepted, but not the one before.
        server.add_secret(ID, &format!("secret-{second}"));
        if second > 1 {
            server.remove_secret(ID, &format!("secret-{}", second - 2));
        }
        file.replace(&format!("secret-{second}\n"));
        clock.advance(SECOND);
        let gate = Gate::new();
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let (cached, gate) = (cached.clone(), gate.clone());
                tokio::spawn(async move {
                    gate.pass().await;
                    ask(&*cached).await
                })
            })
            .collect();
        gate.arrived(TASKS).await;
        gate.open();
        for task in tasks {
            assert_eq!(task.await.unwrap(), Ok(()));
        }
        let requests = server.token_requests();
        assert_eq!(requests.len(), second);
        let sent = requests[second - 1].parameter("client_secret");
        assert_eq!(sent, Some(format!("secret-{second}").as_str()));
    }
    assert_eq!(statuses(&server), [200; 10]);
}

/// Without a cache each call is a request, and the secret rotates during all of them.
// covers: F-110, F-111
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_under_load_with_overlap_fails_no_call() {
    const TASKS: usize = 16;
    const ROTATIONS: usize = 20;
    let file = Mounted::new("load", "secret-0");
    let server = server("secret-0").await;
    let source = Arc::new(source(&server, ClientSecretPost::new(file.secret())));
    let over = Arc::new(AtomicBool::new(false));
    let done: Arc<Vec<AtomicUsize>> = Arc::new((0..TASKS).map(|_| AtomicUsize::new(0)).collect());
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (source, over, done) = (source.clone(), over.clone(), done.clone());
            tokio::spawn(async move {
                while !over.load(Ordering::SeqCst) {
                    assert_eq!(ask(&*source).await, Ok(()));
                    done[task].fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let count = || -> Vec<usize> {
        done.iter()
            .map(|done| done.load(Ordering::SeqCst))
            .collect()
    };
    for rotation in 1..=ROTATIONS {
        server.add_secret(ID, &format!("secret-{rotation}"));
        file.replace(&format!("secret-{rotation}"));
        // Until each task has finished its current call and one that started after the rotation.
        let before = count();
        while count()
            .iter()
            .zip(&before)
            .any(|(now, before)| *now < before + 2)
        {
            assert!(
                tasks.iter().all(|task| !task.is_finished()),
                "a call failed"
            );
            tokio::task::yield_now().await;
        }
        server.remove_secret(ID, &format!("secret-{}", rotation - 1));
    }
    over.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    // No call failed, and none took more than one request.
    let calls: usize = count().iter().sum();
    assert!(calls >= TASKS * ROTATIONS * 2);
    assert_eq!(statuses(&server), vec![200; calls]);
    let requests = server.token_requests();
    for rotation in 1..=ROTATIONS {
        let secret = format!("secret-{rotation}");
        let used = |secret: &str| {
            requests
                .iter()
                .any(|request| request.parameter("client_secret") == Some(secret))
        };
        assert!(used(&secret), "{secret} was never used");
    }
}

/// Creates a cache over a client whose secret is in this file, and the file's source; both use this clock.
fn cached(
    server: &AuthorizationServer,
    file: &Mounted,
    clock: &ManualClock,
) -> (FileSecret, CachedTokenSource<ClientCredentials>) {
    let secret = file.secret().clock(clock.clone());
    let source = source(server, ClientSecretPost::new(secret.clone()));
    let cached = CachedTokenSource::builder(source).clock(clock.clone());
    (secret, cached.build())
}

// covers: F-98, F-110, I-15
#[tokio::test]
async fn a_refusal_that_is_remembered_ends_when_the_file_is_replaced() {
    let file = Mounted::new("remembered", "first");
    let server = server("second").await;
    let clock = ManualClock::new();
    let (secret, cached) = cached(&server, &file, &clock);
    for _ in 0..100 {
        assert_eq!(ask(&cached).await, Err(ErrorKind::CredentialsRefused));
    }
    assert_eq!(statuses(&server), [401]);
    file.replace("second\n");
    clock.advance(SECOND);
    // The next call returns the remembered refusal and triggers a read of the file: no call waits for a disk.
    assert_eq!(ask(&cached).await, Err(ErrorKind::CredentialsRefused));
    while secret.epoch() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(ask(&cached).await, Ok(()));
    assert_eq!(statuses(&server), [401, 200]);
}

// covers: F-98, F-105
#[tokio::test]
async fn a_file_that_comes_late_ends_a_remembered_failure() {
    let file = Mounted::new("late", "unused");
    fs::remove_file(&file.0).unwrap();
    let server = server("s3cr3t").await;
    let clock = ManualClock::new();
    let (secret, cached) = cached(&server, &file, &clock);
    assert_eq!(ask(&cached).await, Err(ErrorKind::Configuration));
    file.replace("s3cr3t");
    assert_eq!(ask(&cached).await, Err(ErrorKind::Configuration));
    clock.advance(SECOND);
    while secret.epoch() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(ask(&cached).await, Ok(()));
    assert_eq!(statuses(&server), [200]);
}

// covers: F-99, F-100, F-101, I-14
#[tokio::test]
async fn nothing_that_is_shown_or_traced_holds_the_files_secret() {
    let capture = Capture::start();
    let file = Mounted::new("leaks", CANARY);
    let server = server(CANARY).await;
    let secret = file.secret();
    let source = ClientCredentials::builder(
        server.token_endpoint(),
        ID,
        ClientSecretPost::new(secret.clone()),
    )
    .allow_utf8_credentials()
    .danger_allow_http_on_loopback()
    .build()
    .unwrap();
    assert_eq!(ask(&source).await, Ok(()));
    // Positive control: it was sent.
    let sent = server.token_requests().remove(0);
    assert!(leak::find(sent.parameter("client_secret").unwrap(), CANARY).is_some());
    server.rotate_secret(ID, "another");
    let error = source.token(&TokenRequest::default()).await.unwrap_err();
    let shown = format!(
        "{} {source:?} {secret:?} {secret:#?}",
        leak::error_chain(&error)
    );
    leak::assert_clean(&shown, CANARY);
    leak::assert_clean(&capture.text(), CANARY);
    assert!(capture.text().contains("hyper_util"), "nothing was traced");
}
