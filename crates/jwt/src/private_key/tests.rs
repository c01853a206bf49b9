use std::{
    collections::HashSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hallpass_core::{ErrorKind, Secret, SecretError};
use hallpass_testkit::{ManualClock, RotatingSecret, leak};

use super::*;
use crate::{
    Algorithm, SigningKey,
    verify::{Assertion, ENDPOINT, ID, ISSUER, prove},
};

macro_rules! sample {
    ($name:literal) => {
        include_str!(concat!("../key/samples/", $name))
    };
}

fn settings() -> AssertionSettings {
    AssertionSettings::new(ISSUER)
        .unwrap()
        .clock(ManualClock::new())
}

fn key() -> SigningKey {
    SigningKey::from_pem(sample!("ec-256.pem")).unwrap()
}

/// An external signer, whose signature is not real.
#[derive(Debug)]
struct Foreign(Result<usize, TokenError>);

#[async_trait]
impl Signer for Foreign {
    fn algorithm(&self) -> Algorithm {
        Algorithm::Es256
    }

    fn key_id(&self) -> Option<&str> {
        Some("kms-1")
    }

    fn certificate_thumbprint(&self) -> Option<[u8; 32]> {
        Some([0; 32])
    }

    async fn sign(&self, _: &[u8]) -> Result<Vec<u8>, TokenError> {
        self.0.clone().map(|bytes| vec![7; bytes])
    }

    fn epoch(&self) -> u64 {
        3
    }
}

// covers: C-44, C-45, C-46, C-47, C-48
#[tokio::test]
async fn an_assertion_has_issuer_audience_and_expiry() {
    let authentication = PrivateKeyJwt::new(settings(), key().with_key_id("k1"));
    let assertion = Assertion::sent(&prove(&authentication).await.unwrap());
    assert!(assertion.is_signed_by(&key().public_jwk()));
    assert_eq!(
        assertion.header,
        serde_json::json!({ "alg": "ES256", "typ": "client-authentication+jwt", "kid": "k1" })
    );
    let claims = &assertion.claims;
    assert_eq!((&claims["iss"], &claims["sub"]), (&ID.into(), &ID.into()));
    // A string, not a list of one.
    assert_eq!(claims["aud"], ISSUER);
    let iat = claims["iat"].as_u64().unwrap();
    assert_eq!(iat, 1_767_225_600 - 5);
    assert_eq!(claims["exp"], iat + 60);
    assert_eq!(
        crate::verify::decode(claims["jti"].as_str().unwrap()).len(),
        16
    );
    assert_eq!(claims.as_object().unwrap().len(), 6);
}

// covers: C-47
#[tokio::test]
async fn another_audience_and_type_are_sent() {
    let settings = AssertionSettings::for_audience("urn:login:acme").unwrap();
    let settings = settings.typ("login+jwt").unwrap().clock(ManualClock::new());
    let authentication = PrivateKeyJwt::new(settings, key());
    let assertion = Assertion::sent(&prove(&authentication).await.unwrap());
    assert_eq!(assertion.claims["aud"], "urn:login:acme");
    assert_eq!(assertion.header["typ"], "login+jwt");
    for wrong in ["", "a b", "ä", "a\n"] {
        let error = AssertionSettings::for_audience(wrong).unwrap_err();
        assert_eq!(error.setting(), "audience");
    }
}

#[tokio::test]
async fn the_header_has_the_certificate_chain() {
    let certificate = sample!("ec-256.crt");
    let key = key().with_certificate_chain(certificate).unwrap();
    let without = PrivateKeyJwt::new(
        settings(),
        self::key().with_certificate(certificate).unwrap(),
    );
    let authentication = PrivateKeyJwt::new(settings(), key);
    let assertion = Assertion::sent(&prove(&authentication).await.unwrap());
    let body = certificate
        .lines()
        .filter(|line| !line.starts_with("-----"));
    let body: String = body.collect();
    // Standard Base64, with its padding (RFC 7515 section 4.1.6).
    assert_eq!(assertion.header["x5c"], serde_json::json!([body]));
    assert!(assertion.header["x5t#S256"].is_string());
    // A refusal with the chain does not concern a client without it.
    let digests = (authentication.digest(ID).await, without.digest(ID).await);
    assert_ne!(digests.0, digests.1);
}

// covers: C-47
#[tokio::test]
async fn claims_for_old_servers_are_optional() {
    let settings = settings()
        .danger_token_endpoint_as_audience()
        .plain_type()
        .lifetime(Duration::from_secs(300))
        .unwrap();
    let authentication = PrivateKeyJwt::new(settings, key());
    let assertion = Assertion::sent(&prove(&authentication).await.unwrap());
    assert_eq!(assertion.claims["aud"], ENDPOINT);
    assert_eq!(
        assertion.header,
        serde_json::json!({ "alg": "ES256", "typ": "JWT" })
    );
    let lives = |name: &str| assertion.claims[name].as_u64().unwrap();
    assert_eq!(lives("exp") - lives("iat"), 300);
}

// covers: C-48
#[tokio::test]
async fn each_attempt_has_a_unique_jti() {
    let authentication = PrivateKeyJwt::new(settings(), key());
    let mut seen = HashSet::new();
    for _ in 0..100 {
        let assertion = Assertion::sent(&prove(&authentication).await.unwrap());
        assert!(seen.insert(assertion.claims["jti"].to_string()));
    }
}

// covers: F-70
#[tokio::test]
async fn a_clock_before_1970_is_an_error() {
    let clock = ManualClock::new();
    let authentication = PrivateKeyJwt::new(settings().clock(clock.clone()), key());
    for wall in [
        UNIX_EPOCH - Duration::from_secs(86_400),
        UNIX_EPOCH,
        UNIX_EPOCH + Duration::from_secs(4),
    ] {
        clock.set_wall(wall);
        let error = prove(&authentication).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("before 1970"), "{error}");
    }
    // The latest representable time.
    let late = (0..64).rev().fold(UNIX_EPOCH, |late: SystemTime, bit| {
        late.checked_add(Duration::from_secs(1 << bit))
            .unwrap_or(late)
    });
    clock.set_wall(late);
    assert!(prove(&authentication).await.is_ok());
}

#[tokio::test]
async fn an_external_signer_is_named_and_its_signature_checked() {
    let authentication = PrivateKeyJwt::new(settings(), Arc::new(Foreign(Ok(64))));
    let assertion = Assertion::sent(&prove(&authentication).await.unwrap());
    assert_eq!(assertion.signature, [7; 64]);
    assert_eq!(assertion.header["kid"], "kms-1");
    assert_eq!(assertion.header["x5t#S256"], "A".repeat(43));
    // Without a chain of its own it has none.
    assert_eq!(assertion.header.get("x5c"), None);
    assert_eq!(authentication.epoch(), 3);

    let authentication = PrivateKeyJwt::new(settings(), Foreign(Ok(71)));
    let error = prove(&authentication).await.unwrap_err();
    assert!(error.to_string().contains("not DER"), "{error}");
    let down = TokenError::unavailable("the KMS is down");
    let authentication = PrivateKeyJwt::new(settings(), Foreign(Err(down)));
    assert!(prove(&authentication).await.unwrap_err().is_transient());
}

// covers: F-98, I-15
#[tokio::test]
async fn a_rotated_key_is_used_from_the_next_attempt() {
    let file = RotatingSecret::new(sample!("ec-256.pem"));
    let authentication = PrivateKeyJwt::from_source(settings(), file.clone(), |pem| {
        Ok(SigningKey::from_pem(pem)?.with_thumbprint_as_key_id())
    });
    for (pem, epoch) in [
        (sample!("ec-256.pem"), 0),
        (sample!("ec-384.pem"), 1),
        (sample!("ed25519.pem"), 2),
    ] {
        if epoch > 0 {
            file.rotate(pem);
        }
        assert_eq!(authentication.epoch(), epoch);
        let now = SigningKey::from_pem(pem)
            .unwrap()
            .with_thumbprint_as_key_id();
        let credentials = prove(&authentication).await.unwrap();
        let assertion = Assertion::sent(&credentials);
        assert!(assertion.is_signed_by(&now.public_jwk()));
        assert_eq!(assertion.header["kid"].as_str(), now.key_id());
        assert_eq!(credentials.secret().unwrap().expose(), pem);
        authentication.refused(&credentials);
    }
    assert_eq!(file.refusals(), 3);

    // An unreadable key is an error, now and the next time, and the previous key is not used again.
    file.rotate(sample!("public.pem"));
    for _ in 0..2 {
        let error = prove(&authentication).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("only a public key"), "{error}");
    }
    file.fail(SecretError::unavailable("the vault is sealed"));
    assert!(prove(&authentication).await.unwrap_err().is_transient());
}

// covers: F-99
#[tokio::test]
async fn debug_and_errors_show_no_key_and_no_assertion() {
    let jwk: serde_json::Value = serde_json::from_str(sample!("ec-256.jwk")).unwrap();
    let secret = jwk["d"].as_str().unwrap();
    let pem = sample!("ec-256.pem");
    let line = pem.lines().nth(1).unwrap();
    let source = Secret::new(pem).unwrap();
    for authentication in [
        PrivateKeyJwt::new(
            settings(),
            SigningKey::from_jwk(sample!("ec-256.jwk")).unwrap(),
        ),
        PrivateKeyJwt::from_source(settings(), source, SigningKey::from_pem),
    ] {
        let credentials = prove(&authentication).await.unwrap();
        let shown =
            format!("{authentication:?} {authentication:#?} {credentials:?} {credentials:#?}");
        assert!(shown.contains(ISSUER), "{shown}");
        let (_, assertion) = credentials.expose_parameters().last().unwrap();
        let (_, signature) = assertion.rsplit_once('.').unwrap();
        for canary in [secret, line, assertion, signature] {
            leak::assert_clean(&shown, canary);
        }
        // The positive control.
        assert!(leak::find(assertion, signature).is_some());
    }
}

/// A signer that names nothing of its key.
#[derive(Debug)]
struct Nameless(Option<&'static str>);

#[async_trait]
impl Signer for Nameless {
    fn algorithm(&self) -> Algorithm {
        Algorithm::Es256
    }

    fn key_id(&self) -> Option<&str> {
        self.0
    }

    async fn sign(&self, _: &[u8]) -> Result<Vec<u8>, TokenError> {
        Ok(vec![7; 64])
    }
}

#[tokio::test]
async fn a_digest_follows_the_key_and_the_settings() {
    let digest = async |authentication: PrivateKeyJwt| authentication.digest(ID).await;
    let with = |key: SigningKey| PrivateKeyJwt::new(settings(), key);
    let rsa = || SigningKey::from_pem(sample!("rsa.pem")).unwrap();
    let digests = [
        digest(with(key())).await,
        digest(with(key().with_key_id("k1"))).await,
        digest(with(rsa())).await,
        digest(with(rsa().with_algorithm(Algorithm::Ps256).unwrap())).await,
        digest(PrivateKeyJwt::new(settings().plain_type(), key())).await,
        digest(PrivateKeyJwt::new(
            AssertionSettings::new("https://other.example").unwrap(),
            key(),
        ))
        .await,
        digest(PrivateKeyJwt::new(settings(), Foreign(Ok(64)))).await,
        with(key()).digest("other client").await,
        digest(PrivateKeyJwt::new(settings(), Nameless(Some("kms-2")))).await,
        digest(PrivateKeyJwt::new(settings(), Nameless(Some("kms-3")))).await,
    ];
    for (at, digest) in digests.iter().enumerate() {
        assert!(digest.is_some() && !digests[..at].contains(digest), "{at}");
    }
    let text = RotatingSecret::new(sample!("ec-256.pem"));
    let read = |text: &str| SigningKey::from_pem(text);
    let rotating = PrivateKeyJwt::from_source(settings(), text.clone(), read);
    // In another process, from another source.
    assert_eq!(rotating.digest(ID).await, digests[0]);
    text.rotate(sample!("rsa.pem"));
    assert_eq!(rotating.digest(ID).await, digests[2]);
    text.rotate("no key");
    assert_eq!(rotating.digest(ID).await, None);
    assert_eq!(
        digest(PrivateKeyJwt::new(settings(), Nameless(None))).await,
        None
    );
}

mod reuse;

/// A signer of another algorithm, which counts its signatures.
#[derive(Clone, Debug, Default)]
struct Counting(Arc<std::sync::atomic::AtomicUsize>);

#[async_trait]
impl Signer for Counting {
    fn algorithm(&self) -> Algorithm {
        Algorithm::Rs256
    }

    async fn sign(&self, _: &[u8]) -> Result<Vec<u8>, TokenError> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(vec![7; 256])
    }
}

#[tokio::test]
async fn fapi_stops_a_rotated_key_before_it_signs() {
    let signer = Counting::default();
    let count = || signer.0.load(std::sync::atomic::Ordering::Relaxed);
    // The algorithm is known when the key is read.
    let counting = signer.clone();
    let rotating = RotatingSecret::new("key");
    let authentication =
        PrivateKeyJwt::from_source(settings(), rotating, move |_| Ok(counting.clone()));
    authentication
        .check_profile(SecurityProfile::Fapi2)
        .unwrap();
    let context = AuthenticationContext::new(ID, ENDPOINT);
    let held = context.with_security_profile(SecurityProfile::Fapi2);
    let error = authentication.credentials(&held).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("section 5.4.1"), "{error}");
    assert_eq!(count(), 0);
    authentication.credentials(&context).await.unwrap();
    assert_eq!(count(), 1);
}
