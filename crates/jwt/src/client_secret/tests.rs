use hallpass_core::{ErrorKind, Secret};
use hallpass_testkit::{RotatingSecret, leak};

#[cfg(not(feature = "aws-lc-rs"))]
use aws_lc_rs::hmac as independent;
#[cfg(feature = "aws-lc-rs")]
use ring::hmac as independent;

use super::*;
use crate::verify::{Assertion, ID, ISSUER, decode, prove};

/// 64 bytes.
const SECRET: &str = "CANARY-that-is-long-enough-for-each-of-the-three-algorithms-0123";

fn signing(secret: impl SecretSource + 'static, algorithm: HmacAlgorithm) -> ClientSecretJwt {
    ClientSecretJwt::new(AssertionSettings::new(ISSUER).unwrap(), secret).algorithm(algorithm)
}

#[test]
fn the_test_vector_of_rfc_7515_passes() {
    // Appendix A.1.
    let key = decode(
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
    );
    let message = b"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let signature = provider::hmac(HmacAlgorithm::Hs256, &key, message);
    assert_eq!(
        signature.as_ref(),
        decode("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    );
}

// covers: C-44, C-45, C-47
#[tokio::test]
async fn the_secret_signs_and_is_not_sent() {
    for (algorithm, other) in [
        (HmacAlgorithm::Hs256, independent::HMAC_SHA256),
        (HmacAlgorithm::Hs384, independent::HMAC_SHA384),
        (HmacAlgorithm::Hs512, independent::HMAC_SHA512),
    ] {
        let authentication = signing(Secret::new(SECRET).unwrap(), algorithm);
        let registered = (
            authentication.method(),
            ClientAuthentication::algorithm(&authentication),
        );
        assert_eq!(
            registered,
            (Some("client_secret_jwt"), Some(algorithm.name()))
        );
        let credentials = prove(&authentication).await.unwrap();
        let assertion = Assertion::sent(&credentials);
        assert_eq!(assertion.header["alg"], algorithm.name());
        assert_eq!(assertion.claims["iss"], ID);
        assert_eq!(assertion.claims["aud"], ISSUER);
        let key = independent::Key::new(other, SECRET.as_bytes());
        let message = assertion.message.as_bytes();
        independent::verify(&key, message, &assertion.signature).unwrap();
        // covers: F-99
        leak::assert_clean(&format!("{authentication:?} {credentials:?}"), SECRET);
        let sent: Vec<_> = credentials.expose_parameters().collect();
        leak::assert_clean(&format!("{sent:?}"), SECRET);
    }
}

#[tokio::test]
async fn a_secret_shorter_than_the_hash_is_refused() {
    for (algorithm, shortest) in [
        (HmacAlgorithm::Hs256, 32),
        (HmacAlgorithm::Hs384, 48),
        (HmacAlgorithm::Hs512, 64),
    ] {
        let of = |length: usize| Secret::new("x".repeat(length)).unwrap();
        assert!(prove(&signing(of(shortest), algorithm)).await.is_ok());
        let error = prove(&signing(of(shortest - 1), algorithm))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains(algorithm.name()), "{error}");
    }
}

#[tokio::test]
async fn a_rotated_secret_is_used_from_the_next_attempt() {
    let secret = RotatingSecret::new(SECRET);
    let authentication = signing(secret.clone(), HmacAlgorithm::Hs256);
    let before = prove(&authentication).await.unwrap();
    authentication.refused(&before);
    assert_eq!((secret.refusals(), authentication.epoch()), (1, 0));
    secret.rotate("another-secret-of-thirty-two-bytes");
    let after = prove(&authentication).await.unwrap();
    assert!(!after.secret().unwrap().matches(before.secret().unwrap()));
    assert_eq!(authentication.epoch(), 1);
}

#[tokio::test]
async fn a_digest_follows_the_secret_and_the_algorithm() {
    let text = RotatingSecret::new(SECRET);
    let authentication = signing(text.clone(), HmacAlgorithm::Hs256);
    let digest = authentication.digest(ID).await;
    assert!(digest.is_some());
    let other = signing(text.clone(), HmacAlgorithm::Hs384);
    assert_ne!(other.digest(ID).await, digest);
    text.rotate("CANARY-another-of-more-than-32-bytes");
    assert_ne!(authentication.digest(ID).await, digest);
    text.rotate(SECRET);
    assert_eq!(authentication.digest(ID).await, digest);
}
