//! A refused secret is read again once, and the request is retried only if the secret has changed.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use hallpass::{
    ErrorKind, Secret, SecretError, SecretSource, TokenError, TokenRequest, TokenSource,
    async_trait,
    cache::CachedTokenSource,
    endpoint::{
        AuthenticationContext, ClientAuthentication, ClientCredentials, ClientSecretBasic,
        ClientSecretPost, Credentials,
    },
    secrets::SecretPair,
};
use hallpass_testkit::{AuthorizationServer, Client, RotatingSecret, faults};

use crate::support::ID;

pub(crate) async fn server(client_secret: &str) -> AuthorizationServer {
    let client = Client::new(ID, client_secret);
    AuthorizationServer::builder().client(client).start().await
}

pub(crate) fn source(
    server: &AuthorizationServer,
    authentication: impl ClientAuthentication + 'static,
) -> ClientCredentials {
    ClientCredentials::builder(server.token_endpoint(), ID, authentication)
        .danger_allow_http_on_loopback()
        .build()
        .unwrap()
}

pub(crate) async fn ask(source: &impl TokenSource) -> Result<(), ErrorKind> {
    let token = source.token(&TokenRequest::default()).await;
    token.map(drop).map_err(|error| error.kind())
}

pub(crate) fn statuses(server: &AuthorizationServer) -> Vec<u16> {
    let requests = server.token_requests();
    requests.iter().map(|request| request.status).collect()
}

const REFUSED: Result<(), ErrorKind> = Err(ErrorKind::CredentialsRefused);

// covers: F-110
#[tokio::test]
async fn a_secret_that_rotated_during_the_request_is_tried_again() {
    for basic in [false, true] {
        let server = server("second").await;
        let secret = RotatingSecret::new("first");
        secret.rotate_after_reading("second");
        let source = if basic {
            source(&server, ClientSecretBasic::new(secret.clone()))
        } else {
            source(&server, ClientSecretPost::new(secret.clone()))
        };
        assert_eq!(ask(&source).await, Ok(()));
        assert_eq!(statuses(&server), [401, 200]);
        assert_eq!((secret.reads(), secret.refusals()), (2, 1));
        assert_eq!(ask(&source).await, Ok(()));
        assert_eq!(statuses(&server), [401, 200, 200]);
    }
}

// covers: F-110
#[tokio::test]
async fn one_that_did_not_change_is_not_tried_again() {
    let server = server("second").await;
    let secret = RotatingSecret::new("first");
    let source = source(&server, ClientSecretPost::new(secret.clone()));
    for calls in 1..=3 {
        assert_eq!(ask(&source).await, REFUSED);
        assert_eq!(statuses(&server), vec![401; calls]);
        assert_eq!((secret.reads(), secret.refusals()), (2 * calls, calls));
    }
}

/// A source with a different secret at each reading, without epochs and refusals.
#[derive(Debug, Default)]
struct Restless(AtomicU64);

#[async_trait]
impl SecretSource for Restless {
    async fn secret(&self) -> Result<Secret, SecretError> {
        let number = self.0.fetch_add(1, Ordering::SeqCst);
        Secret::new(number.to_string())
    }
}

// covers: F-110
#[tokio::test]
async fn one_that_changes_each_time_is_tried_twice_a_call_and_no_more() {
    let server = server("never").await;
    let source = source(&server, ClientSecretPost::new(Restless::default()));
    for calls in 1..=3 {
        assert_eq!(ask(&source).await, REFUSED);
        assert_eq!(statuses(&server), vec![401; 2 * calls]);
    }
}

// covers: F-110
#[tokio::test]
async fn a_secret_that_always_changes_is_read_again_once() {
    let server = server("never").await;
    let fault = |name| faults::named(name).unwrap();
    server.inject_faults([fault("invalid_client"), fault("status_503")]);
    let source = source(&server, ClientSecretPost::new(Restless::default()));
    assert_eq!(ask(&source).await, REFUSED);
    assert_eq!(statuses(&server), [401, 503, 401]);
}

// covers: F-110
#[tokio::test]
async fn a_secret_that_cannot_be_read_leaves_the_servers_error() {
    #[derive(Debug)]
    struct Gone(RotatingSecret);

    #[async_trait]
    impl SecretSource for Gone {
        async fn secret(&self) -> Result<Secret, SecretError> {
            self.0.secret().await
        }

        fn refused(&self, secret: &Secret) {
            self.0.refused(secret);
            self.0.fail(SecretError::new("the mount was removed"));
        }
    }
    let server = server("second").await;
    let secret = RotatingSecret::new("first");
    let source = source(&server, ClientSecretPost::new(Gone(secret.clone())));
    assert_eq!(ask(&source).await, REFUSED);
    assert_eq!(statuses(&server), [401]);
    // The next call has no credentials to send.
    assert_eq!(ask(&source).await, Err(ErrorKind::Configuration));
    assert_eq!(statuses(&server), [401]);
}

/// Credentials that differ each time, like signed assertions; the key changes with the epoch.
#[derive(Debug, Default)]
struct Signed {
    epoch: AtomicU64,
    made: AtomicU64,
    rotates: bool,
}

#[async_trait]
impl ClientAuthentication for Signed {
    async fn credentials(&self, _: &AuthenticationContext<'_>) -> Result<Credentials, TokenError> {
        let number = self.made.fetch_add(1, Ordering::SeqCst);
        let assertion = format!("{}-{number}.e30.x", self.epoch());
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        Ok(Credentials::parameters([
            ("client_assertion_type", kind.to_owned()),
            ("client_assertion", assertion),
        ]))
    }

    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    fn refused(&self, credentials: &Credentials) {
        assert!(credentials.secret().is_none());
        if self.rotates {
            self.epoch.fetch_add(1, Ordering::SeqCst);
        }
    }
}

// covers: F-110
#[tokio::test]
async fn an_assertion_is_tried_again_where_its_epoch_changed() {
    for rotates in [false, true] {
        let server = server("s3cr3t").await;
        let signed = Arc::new(Signed {
            rotates,
            ..Signed::default()
        });
        assert_eq!(ask(&source(&server, signed)).await, REFUSED);
        let expect: &[&str] = if rotates {
            &["0-0.e30.x", "1-1.e30.x"]
        } else {
            &["0-0.e30.x"]
        };
        let requests = server.token_requests();
        let sent = requests
            .iter()
            .map(|request| request.parameter("client_assertion").unwrap());
        assert_eq!(sent.collect::<Vec<_>>(), expect);
    }
}

// covers: F-110
#[tokio::test]
async fn of_a_pair_the_other_one_is_tried_and_stays_in_use() {
    let server = server("b").await;
    let (a, b) = (RotatingSecret::new("a"), RotatingSecret::new("b"));
    let source = source(
        &server,
        ClientSecretPost::new(SecretPair::new(a.clone(), b)),
    );
    assert_eq!(ask(&source).await, Ok(()));
    assert_eq!(ask(&source).await, Ok(()));
    assert_eq!(statuses(&server), [401, 200, 200]);
    // The overlap: the first is replaced by the new one, then the second is revoked.
    server.add_secret(ID, "c");
    a.rotate("c");
    assert_eq!(ask(&source).await, Ok(()));
    server.remove_secret(ID, "b");
    assert_eq!(ask(&source).await, Ok(()));
    assert_eq!(ask(&source).await, Ok(()));
    assert_eq!(statuses(&server), [401, 200, 200, 200, 401, 200, 200]);
}

// covers: F-98, F-110, I-15
#[tokio::test]
async fn a_wrong_pair_is_tried_once_and_then_remembered() {
    let server = server("c").await;
    let (a, b) = (RotatingSecret::new("a"), RotatingSecret::new("b"));
    let pair = SecretPair::new(a, b.clone());
    let source = CachedTokenSource::new(source(&server, ClientSecretPost::new(pair)));
    for _ in 0..100 {
        assert_eq!(ask(&source).await, REFUSED);
    }
    assert_eq!(statuses(&server), [401, 401]);
    b.rotate("c");
    assert_eq!(ask(&source).await, Ok(()));
    assert_eq!(statuses(&server).last(), Some(&200));
}

#[tokio::test]
async fn a_secret_that_time_may_bring_is_asked_for_again() {
    /// Unavailable once, like a vault that restarts.
    #[derive(Debug, Default)]
    struct Restarting(AtomicU64);

    #[async_trait]
    impl SecretSource for Restarting {
        async fn secret(&self) -> Result<Secret, SecretError> {
            match self.0.fetch_add(1, Ordering::SeqCst) {
                0 => Err(SecretError::unavailable("the vault is sealed")),
                _ => Secret::new("s3cr3t"),
            }
        }
    }
    let server = server("s3cr3t").await;
    let source = source(&server, ClientSecretPost::new(Restarting::default()));
    assert_eq!(ask(&source).await, Ok(()));
    assert_eq!(statuses(&server), [200]);
}

/// A command that times out prompts a person once, and reports itself what it waits for.
#[tokio::test]
async fn a_secret_that_this_machine_does_not_yield_is_asked_for_once() {
    let server = server("s3cr3t").await;
    let secret = RotatingSecret::new("s3cr3t");
    secret.fail(SecretError::local(
        "the command `pass` did not end within 10s",
    ));
    let source = source(&server, ClientSecretPost::new(secret.clone()));
    let error = source.token(&TokenRequest::default()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the command `pass` did not end within 10s"
    );
    assert!(error.is_transient());
    assert_eq!((secret.reads(), server.token_request_count()), (1, 0));
}

/// A deadline covers reading the secret too.
#[tokio::test]
async fn a_secret_that_never_comes_keeps_nobody() {
    use std::time::Duration;

    use hallpass::endpoint::Retry;

    #[derive(Debug)]
    struct Hanging;

    #[async_trait]
    impl SecretSource for Hanging {
        async fn secret(&self) -> Result<Secret, SecretError> {
            std::future::pending().await
        }
    }
    let server = server("s3cr3t").await;
    let retry = Retry::never().deadline(Duration::from_millis(50));
    let source =
        ClientCredentials::builder(server.token_endpoint(), ID, ClientSecretPost::new(Hanging))
            .danger_allow_http_on_loopback()
            .retry(retry)
            .build()
            .unwrap();
    let error = source.token(&TokenRequest::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error.to_string().contains(
            "the credential for `client_secret_post` was not ready within the call's deadline"
        ),
        "{error}"
    );
    assert_eq!(server.token_request_count(), 0);
}
