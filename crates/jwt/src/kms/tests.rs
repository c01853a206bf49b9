use std::sync::Mutex;

use super::*;
use crate::{Dpop, SigningKey};

/// A key that records its input and returns a signature of any length.
#[derive(Debug, Default)]
struct Recorder {
    length: usize,
    input: Mutex<Vec<u8>>,
}

#[async_trait]
impl KmsKey for Recorder {
    async fn sign(&self, _: Algorithm, input: &[u8]) -> Result<Vec<u8>, TokenError> {
        *self.input.lock().unwrap() = input.to_vec();
        Ok(vec![7; self.length])
    }
}

fn public(private: &str) -> PublicKey {
    let key = SigningKey::from_pem(private).unwrap();
    PublicKey::from_pem(&key.public_pem()).unwrap()
}

fn signer(public: &PublicKey, length: usize) -> KmsSigner<Recorder> {
    let key = Recorder {
        length,
        ..Recorder::default()
    };
    KmsSigner::new(key, public.clone(), Algorithm::ALL).unwrap()
}

const EC: &str = include_str!("../key/samples/ec-256.pem");
const EC_384: &str = include_str!("../key/samples/ec-384.pem");
const ED25519: &str = include_str!("../key/samples/ed25519.pem");
const RSA: &str = include_str!("../key/samples/rsa.pem");

#[tokio::test]
async fn a_service_gets_the_hash_and_for_eddsa_the_message() {
    for (pem, signature, input) in [
        (EC, 64, 32),
        (EC_384, 96, 48),
        (RSA, 256, 32),
        (ED25519, 64, 5),
    ] {
        let signer = signer(&public(pem), signature);
        assert_eq!(signer.sign(b"hello").await.unwrap().len(), signature);
        let sent = signer.key().input.lock().unwrap().clone();
        assert_eq!(sent.len(), input);
        assert_eq!(sent == b"hello", input == 5);
    }
}

#[tokio::test]
async fn a_signature_of_the_wrong_length_is_an_error() {
    for (pem, wrong) in [(EC, 63), (EC_384, 64), (RSA, 384), (ED25519, 0)] {
        let error = signer(&public(pem), wrong).sign(b"x").await.unwrap_err();
        assert_eq!(error.kind(), hallpass_core::ErrorKind::UnusableResponse);
        assert!(
            error.to_string().contains(&format!("{wrong} bytes")),
            "{error}"
        );
    }
}

#[test]
fn only_algorithms_of_both_key_and_service_are_used() {
    let rsa = public(RSA);
    let signer = |allowed: &[Algorithm]| KmsSigner::new(Recorder::default(), rsa.clone(), allowed);
    assert_eq!(
        signer(Algorithm::ALL).unwrap().algorithm(),
        Algorithm::Rs256
    );
    let changed = signer(Algorithm::ALL)
        .unwrap()
        .with_algorithm(Algorithm::Ps256);
    assert_eq!(changed.unwrap().algorithm(), Algorithm::Ps256);
    let only = signer(&[Algorithm::Ps256]).unwrap();
    assert_eq!(only.algorithm(), Algorithm::Ps256);
    let error = only.with_algorithm(Algorithm::Rs256).unwrap_err();
    assert!(error.to_string().contains("only with PS256"), "{error}");
    assert!(signer(&[Algorithm::Es256]).is_err());
}

#[test]
fn the_key_id_is_the_hash_unless_another_one_is_set() {
    let key = public(EC);
    let signer = signer(&key, 64);
    assert_eq!(signer.key_id(), Some(key.thumbprint().as_str()));
    assert!(signer.public_jwk().contains(&key.thumbprint()));
    let dpop = Dpop::new(signer).unwrap();
    assert_eq!(dpop.thumbprint(), key.thumbprint());
    let named = self::signer(&key, 64).with_key_id("2026");
    assert_eq!(named.key_id(), Some("2026"));
    let certificate = include_str!("../key/samples/ec-256.crt");
    let certified = named.with_certificate_chain(certificate).unwrap();
    let chain = key.certificate_chain(certificate).unwrap();
    assert_eq!(certified.certificate_chain(), chain);
    assert_eq!(
        certified.certificate_thumbprint(),
        Some(key.certificate_thumbprint(certificate).unwrap())
    );
}
