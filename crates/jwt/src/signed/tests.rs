use std::{
    collections::HashSet,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, UNIX_EPOCH},
};

use hallpass_core::{ErrorKind, TokenSource as _};
use hallpass_endpoint::{JwtBearer, PublicClient};
use hallpass_testkit::{
    ManualClock, RotatingSecret, leak,
    raw::{self, RawServer},
};
use serde_json::json;

use super::*;
use crate::{
    SigningKey,
    verify::{self, ENDPOINT, ID, ISSUER},
};

const PEM: &str = include_str!("../key/samples/ec-256.pem");

fn settings() -> AssertionSettings {
    let settings = AssertionSettings::new(ISSUER).unwrap();
    settings.clock(ManualClock::new())
}

fn key() -> SigningKey {
    SigningKey::from_pem(PEM).unwrap()
}

async fn ask(source: &dyn AssertionSource, scopes: &str) -> Result<Assertion, TokenError> {
    let request = TokenRequest::new().with_scopes(scopes.parse().unwrap());
    let context = AuthenticationContext::new(ID, ENDPOINT);
    source.assertion(&context, &request).await
}

async fn made(source: &dyn AssertionSource, scopes: &str) -> verify::Assertion {
    let assertion = verify::Assertion::parse(ask(source, scopes).await.unwrap().expose());
    assert!(assertion.is_signed_by(&key().public_jwk()));
    assertion
}

// covers: C-47, C-48, C-50
#[tokio::test]
async fn it_has_issuer_audience_and_expiry() {
    let plain = SignedAssertion::new(settings(), key().with_key_id("k1"));
    let assertion = made(&plain, "a").await;
    assert_eq!(
        assertion.header,
        json!({ "alg": "ES256", "typ": "JWT", "kid": "k1" })
    );
    let iat = 1_767_225_600 - 5;
    let jti = assertion.claims["jti"].clone();
    assert_eq!(
        assertion.claims,
        json!({ "iss": ID, "sub": ID, "aud": ISSUER, "iat": iat, "exp": iat + 60, "jti": jti })
    );

    let full = SignedAssertion::new(settings(), key())
        .issuer("house")
        .subject("jane")
        .with_scope_claim()
        .claim("tenant", "t1")
        .unwrap();
    let claims = made(&full, "b a").await.claims;
    for (name, value) in [
        ("iss", "house"),
        ("sub", "jane"),
        ("scope", "a b"),
        ("tenant", "t1"),
    ] {
        assert_eq!(claims[name], value);
    }
    assert_eq!(made(&full, "").await.claims["scope"], json!(null));
    let bare = full.without_subject();
    assert_eq!(made(&bare, "").await.claims.get("sub"), None);
}

// covers: C-48
#[tokio::test]
async fn each_jti_is_unique() {
    let source = SignedAssertion::new(settings(), key());
    let mut seen = HashSet::new();
    for _ in 0..50 {
        let claims = made(&source, "").await.claims;
        assert!(seen.insert(claims["jti"].as_str().unwrap().to_owned()));
    }
}

// covers: C-47
#[test]
fn a_managed_claim_is_refused() {
    for name in RESERVED {
        let source = SignedAssertion::new(settings(), key());
        assert_eq!(source.claim(name, "x").unwrap_err().setting(), "claim");
    }
}

// covers: F-110
#[tokio::test]
async fn a_refusal_rereads_the_key() {
    let file = RotatingSecret::new(PEM);
    let source = SignedAssertion::from_source(settings(), file.clone(), SigningKey::from_pem);
    let assertion = ask(&source, "").await.unwrap();
    assert!(assertion.secret().is_some());
    assert_eq!(AssertionSource::epoch(&source), 0);
    AssertionSource::refused(&source, &assertion);
    assert_eq!((file.reads(), file.refusals()), (1, 1));
    file.rotate("no key");
    assert_eq!(AssertionSource::epoch(&source), 1);
    let error = ask(&source, "").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
}

#[tokio::test]
async fn a_clock_before_1970_is_an_error() {
    let clock = ManualClock::new();
    clock.set_wall(UNIX_EPOCH - Duration::from_secs(1));
    let source = SignedAssertion::new(settings().clock(clock), key());
    let error = ask(&source, "").await.unwrap_err();
    assert!(error.to_string().contains("before 1970"), "{error}");
}

// covers: F-99
#[tokio::test]
async fn debug_shows_no_key() {
    let file = RotatingSecret::new(PEM);
    let source = SignedAssertion::from_source(settings(), file, SigningKey::from_pem);
    ask(&source, "").await.unwrap();
    let shown = format!("{source:?}");
    let line = PEM.lines().nth(1).unwrap();
    assert!(leak::find(PEM, line).is_some());
    leak::assert_clean(&shown, line);
}

#[tokio::test]
async fn a_digest_follows_the_key_and_the_claims() {
    let plain = || SignedAssertion::new(settings(), key());
    let digests = [
        plain().digest(ID).await,
        plain().subject("jane").digest(ID).await,
        plain().without_subject().digest(ID).await,
        plain().issuer("house").digest(ID).await,
        plain().with_scope_claim().digest(ID).await,
        plain().claim("tenant", "t1").unwrap().digest(ID).await,
        plain().digest("other client").await,
    ];
    for (at, digest) in digests.iter().enumerate() {
        assert!(digest.is_some() && !digests[..at].contains(digest), "{at}");
    }
    let shared: std::sync::Arc<dyn AssertionSource> = std::sync::Arc::new(plain());
    assert_eq!(shared.digest(ID).await, digests[0]);
}

/// A key that counts its signatures.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

#[async_trait]
impl Signer for Counted {
    fn algorithm(&self) -> crate::Algorithm {
        crate::Algorithm::Es256
    }

    async fn sign(&self, _: &[u8]) -> Result<Vec<u8>, TokenError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(vec![7; 64])
    }
}

#[tokio::test]
async fn a_refused_assertion_costs_one_signature() {
    let refusal = raw::json(400, r#"{"error":"invalid_grant"}"#);
    let server = RawServer::always(refusal).await;
    let signatures = Arc::new(AtomicUsize::new(0));
    let assertion = SignedAssertion::new(settings(), Counted(signatures.clone()));
    let client = PublicClient::new();
    let source = JwtBearer::builder(server.url("/token"), ID, client, assertion)
        .danger_allow_http_on_loopback()
        .build()
        .unwrap();
    let error = source.token(&TokenRequest::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CredentialsRefused, "{error}");
    assert_eq!(signatures.load(Ordering::Relaxed), 1);
    assert_eq!(server.request_count(), 1);
}
