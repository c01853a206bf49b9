//! Assertions that are sent more than once.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use hallpass_core::{TokenRequest, TokenSource as _};
use hallpass_endpoint::{ClientCredentials, Retry};
use hallpass_testkit::{
    AuthorizationServer, Client, faults,
    raw::{self, RawServer},
};

use super::*;

/// A key that counts its signatures.
#[derive(Clone, Debug)]
struct Counted(Arc<SigningKey>, Arc<AtomicUsize>);

impl Counted {
    fn new() -> Self {
        Self(Arc::new(key()), Arc::default())
    }

    fn count(&self) -> usize {
        self.1.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Signer for Counted {
    fn algorithm(&self) -> Algorithm {
        self.0.algorithm()
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TokenError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.sign(message).await
    }
}

async fn text(authentication: &PrivateKeyJwt, client_id: &str) -> String {
    let context = AuthenticationContext::new(client_id, ENDPOINT);
    let credentials = authentication.credentials(&context).await.unwrap();
    assertion_of(&credentials)
}

fn assertion_of(credentials: &Credentials) -> String {
    let mut sent = credentials.expose_parameters();
    let assertion = sent.find(|(name, _)| *name == "client_assertion");
    assertion.unwrap().1.to_owned()
}

#[tokio::test]
async fn an_assertion_is_repeated_until_shortly_before_its_expiry() {
    let (key, clock) = (Counted::new(), ManualClock::new());
    let settings = settings().clock(clock.clone());
    let authentication = PrivateKeyJwt::new(settings, key.clone()).reuse_assertions();
    let first = text(&authentication, ID).await;
    // 60 seconds from its `iat`, which is 5 seconds ago, less 10.
    clock.advance(Duration::from_secs(44));
    assert_eq!(text(&authentication.clone(), ID).await, first);
    assert_eq!(key.count(), 1);
    clock.advance(Duration::from_secs(1));
    assert_ne!(text(&authentication, ID).await, first);
    assert_eq!(key.count(), 2);
}

#[tokio::test]
async fn an_assertion_is_repeated_for_its_client_and_key_only() {
    let key = Counted::new();
    let authentication = PrivateKeyJwt::new(settings(), key.clone()).reuse_assertions();
    let first = text(&authentication, ID).await;
    assert_ne!(text(&authentication, "other").await, first);
    assert_eq!(key.count(), 2);

    let secret = Arc::new(RotatingSecret::new(include_str!(
        "../../key/samples/ec-256.pem"
    )));
    let rotating = PrivateKeyJwt::from_source(settings(), secret.clone(), SigningKey::from_pem);
    let rotating = rotating.reuse_assertions();
    let first = text(&rotating, ID).await;
    assert_eq!(text(&rotating, ID).await, first);
    secret.rotate(include_str!("../../key/samples/rsa.pem"));
    assert_ne!(text(&rotating, ID).await, first);
}

/// A signer whose key changes with its epoch.
#[derive(Clone, Debug, Default)]
struct Replaceable(Arc<AtomicUsize>);

#[async_trait]
impl Signer for Replaceable {
    fn algorithm(&self) -> Algorithm {
        Algorithm::Es256
    }

    async fn sign(&self, _: &[u8]) -> Result<Vec<u8>, TokenError> {
        Ok(vec![u8::try_from(self.epoch()).unwrap(); 64])
    }

    fn epoch(&self) -> u64 {
        self.0.load(Ordering::Relaxed) as u64
    }
}

#[tokio::test]
async fn an_assertion_is_not_repeated_after_its_signer_changed() {
    let key = Replaceable::default();
    let authentication = PrivateKeyJwt::new(settings(), key.clone()).reuse_assertions();
    let first = text(&authentication, ID).await;
    assert_eq!(text(&authentication, ID).await, first);
    key.0.fetch_add(1, Ordering::Relaxed);
    let next = Assertion::parse(&text(&authentication, ID).await);
    assert_eq!(next.signature, [1; 64]);
}

#[tokio::test]
async fn a_late_refusal_of_a_repetition_counts() {
    let (key, clock) = (Counted::new(), ManualClock::new());
    let settings = settings().clock(clock.clone());
    let authentication = PrivateKeyJwt::new(settings, key.clone()).reuse_assertions();
    let once = prove(&authentication).await.unwrap();
    clock.advance(Duration::from_secs(45));
    let twice = prove(&authentication).await.unwrap();
    prove(&authentication).await.unwrap();
    clock.advance(Duration::from_secs(45));
    let current = text(&authentication, ID).await;
    assert_eq!(key.count(), 3);

    let epoch = authentication.epoch();
    authentication.refused(&once);
    assert_eq!(authentication.epoch(), epoch);
    assert_eq!(text(&authentication, ID).await, current);
    authentication.refused(&twice);
    assert_ne!(authentication.epoch(), epoch);
    assert_ne!(text(&authentication, ID).await, current);
}

#[tokio::test]
async fn a_refusal_after_every_deadline_does_not_count() {
    // A call with it began within its 60 seconds, and takes no longer than that.
    for (age, counts) in [(119, true), (120, false)] {
        let clock = ManualClock::new();
        let authentication = PrivateKeyJwt::new(settings().clock(clock.clone()), key());
        let authentication = authentication.reuse_assertions();
        prove(&authentication).await.unwrap();
        let repeated = prove(&authentication).await.unwrap();
        clock.advance(Duration::from_secs(age));
        prove(&authentication).await.unwrap();
        authentication.refused(&repeated);
        assert_eq!(authentication.epoch() == 1, counts, "{age}");
    }
}

#[tokio::test]
async fn without_the_setting_each_assertion_is_new() {
    let key = Counted::new();
    let authentication = PrivateKeyJwt::new(settings(), key.clone());
    assert_ne!(
        text(&authentication, ID).await,
        text(&authentication, ID).await
    );
    assert_eq!(key.count(), 2);
}

fn source(endpoint: &str, authentication: PrivateKeyJwt) -> ClientCredentials {
    ClientCredentials::builder(endpoint, ID, authentication)
        .danger_allow_http_on_loopback()
        .retry(Retry::new().min_delay(Duration::from_millis(1)))
        .build()
        .unwrap()
}

/// A server that accepts each assertion once, and a source.
async fn strict(
    change: impl FnOnce(PrivateKeyJwt) -> PrivateKeyJwt,
    accepts: bool,
) -> (AuthorizationServer, ClientCredentials, Counted) {
    let client = Client::new(ID, "not used").assertions(move |_, _| accepts);
    let server = AuthorizationServer::builder().client(client).start().await;
    let key = Counted::new();
    let settings = AssertionSettings::new(&server.issuer()).unwrap();
    let authentication = change(PrivateKeyJwt::new(settings, key.clone()));
    let source = source(&server.token_endpoint(), authentication);
    (server, source, key)
}

fn statuses(server: &AuthorizationServer) -> Vec<u16> {
    let requests = server.token_requests();
    requests.iter().map(|request| request.status).collect()
}

#[tokio::test]
async fn a_refused_repetition_is_retried_and_the_last_one() {
    let (server, source, key) = strict(PrivateKeyJwt::reuse_assertions, true).await;
    for _ in 0..3 {
        source.token(&TokenRequest::default()).await.unwrap();
    }
    assert_eq!(statuses(&server), [200, 401, 200, 200]);
    assert_eq!(key.count(), 3);
}

#[tokio::test]
async fn a_refused_repetition_with_a_key_from_a_source_is_retried() {
    let secret = RotatingSecret::new(include_str!("../../key/samples/ec-256.pem"));
    let client = Client::new(ID, "not used").assertions(|_, _| true);
    let server = AuthorizationServer::builder().client(client).start().await;
    let settings = AssertionSettings::new(&server.issuer()).unwrap();
    let authentication = PrivateKeyJwt::from_source(settings, secret.clone(), SigningKey::from_pem);
    let source = source(&server.token_endpoint(), authentication.reuse_assertions());
    for _ in 0..3 {
        source.token(&TokenRequest::default()).await.unwrap();
    }
    assert_eq!(statuses(&server), [200, 401, 200, 200]);
    assert_eq!(secret.refusals(), 1);
}

#[tokio::test]
async fn a_retry_repeats_an_assertion_only_with_the_setting() {
    const TOKEN: &str = r#"{"access_token":"t","token_type":"Bearer","expires_in":60}"#;
    for (reuse, signatures) in [(true, 1), (false, 2)] {
        let server = RawServer::start([raw::json(503, "{}"), raw::json(200, TOKEN)]).await;
        let key = Counted::new();
        let authentication = PrivateKeyJwt::new(settings(), key.clone());
        let authentication = if reuse {
            authentication.reuse_assertions()
        } else {
            authentication
        };
        let source = source(&server.url("/token"), authentication);
        source.token(&TokenRequest::default()).await.unwrap();
        assert_eq!((server.request_count(), key.count()), (2, signatures));
    }
}

#[tokio::test]
async fn a_server_that_failed_may_refuse_the_repetition() {
    let (server, source, key) = strict(PrivateKeyJwt::reuse_assertions, true).await;
    server.inject_faults([faults::named("status_503").unwrap()]);
    source.token(&TokenRequest::default()).await.unwrap();
    assert_eq!((statuses(&server), key.count()), (vec![503, 401, 200], 2));
}

#[tokio::test]
async fn a_refused_client_costs_one_signature() {
    for reuse in [PrivateKeyJwt::reuse_assertions, |same| same] {
        let (server, source, key) = strict(reuse, false).await;
        let error = source.token(&TokenRequest::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CredentialsRefused, "{error}");
        assert_eq!((statuses(&server), key.count()), (vec![401], 1));
    }
}

#[tokio::test]
async fn a_repeated_assertion_is_not_shown() {
    let authentication = PrivateKeyJwt::new(settings(), key()).reuse_assertions();
    let assertion = text(&authentication, ID).await;
    let (message, signature) = assertion.rsplit_once('.').unwrap();
    assert!(leak::find(&assertion, signature).is_some());
    let shown = format!("{authentication:?} {authentication:#?}");
    for canary in [message, signature] {
        leak::assert_clean(&shown, canary);
    }
}
