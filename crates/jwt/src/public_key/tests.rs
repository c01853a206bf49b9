use proptest::prelude::*;

use super::*;

macro_rules! sample {
    ($name:literal) => {
        include_str!(concat!("../key/samples/", $name))
    };
}

const ED25519: &str =
    r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

fn refused(result: Result<PublicKey, BuildError>, expected: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.setting(), "key");
    assert!(error.message().contains(expected), "{error}");
}

/// Returns the DER form of a sample.
#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
fn der(private: &str) -> Vec<u8> {
    let pem = crate::SigningKey::from_pem(private).unwrap().public_pem();
    let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).unwrap();
    der.to_vec()
}

#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
#[test]
fn each_form_of_a_key_reads_as_the_same_key() {
    for (private, algorithms) in [
        (sample!("ec-256.pem"), &[Algorithm::Es256][..]),
        (sample!("ec-384.pem"), &[Algorithm::Es384]),
        (sample!("ed25519.pem"), &[Algorithm::EdDsa]),
        (sample!("rsa.pem"), &[Algorithm::Rs256, Algorithm::Ps256]),
    ] {
        let key = crate::SigningKey::from_pem(private).unwrap();
        let by_pem = PublicKey::from_pem(&key.public_pem()).unwrap();
        let by_jwk = PublicKey::from_jwk(&key.public_jwk()).unwrap();
        assert_eq!(by_pem, by_jwk);
        assert_eq!(by_pem, PublicKey::from_jwk(&by_pem.to_jwk()).unwrap());
        assert_eq!(by_pem.algorithms(), algorithms);
        let key = key.with_thumbprint_as_key_id();
        assert!(key.public_jwk().contains(&by_pem.thumbprint()));
    }
}

#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
#[test]
fn a_certificate_belongs_to_its_key_only() {
    let read = |private| PublicKey::from_der(&der(private)).unwrap();
    let ec = read(sample!("ec-256.pem"));
    let certificates = concat!(sample!("ed25519.crt"), sample!("ec-256.crt"));
    let own = ec.certificate_thumbprint(certificates).unwrap();
    assert_eq!(
        own,
        ec.certificate_thumbprint(sample!("ec-256.crt")).unwrap()
    );
    let error = ec.certificate_thumbprint(sample!("rsa.crt")).unwrap_err();
    assert_eq!(error.setting(), "certificate");
    let rsa = read(sample!("rsa.pem"));
    assert!(rsa.certificate_thumbprint(sample!("rsa.crt")).is_ok());
}

#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
#[test]
fn damaged_keys_are_refused() {
    let good = der(sample!("ec-256.pem"));
    assert!(PublicKey::from_der(&good).is_ok());
    let compressed = {
        let mut bytes = good.clone();
        let at = bytes.len() - 65;
        bytes[at] = 2;
        bytes
    };
    refused(PublicKey::from_der(&compressed), "damaged");
    refused(PublicKey::from_der(&[&good[..], &[0]].concat()), "DER");
    refused(PublicKey::from_der(&good[..good.len() - 1]), "DER");
    let mut other = good.clone();
    // The curve's identifier, at its last arc.
    let at = other.len() - 65 - 4;
    other[at] ^= 1;
    refused(PublicKey::from_der(&other), "not supported");
}

#[test]
fn keys_that_are_not_public_keys_are_refused() {
    refused(PublicKey::from_pem("CANARY"), "no public key in PEM");
    refused(PublicKey::from_pem(sample!("ec-256.pem")), "no public key");
    refused(PublicKey::from_jwk("CANARY"), "not a JWK");
    refused(PublicKey::from_jwk(sample!("rsa.jwk")), "private");
    let short = ED25519.replace("11qY", "");
    refused(PublicKey::from_jwk(&short), "`x`");
    let other = ED25519.replace("Ed25519", "X25519");
    refused(PublicKey::from_jwk(&other), "not supported");
    let small = r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#;
    refused(PublicKey::from_jwk(small), "2048");
    let rsa = |n: &[u8], e: &str| {
        let n = encode(n);
        PublicKey::from_jwk(&format!(r#"{{"kty":"RSA","n":"{n}","e":"{e}"}}"#))
    };
    let modulus = |first: u8, last: u8| [&[first], &[0xff; 254][..], &[last]].concat();
    assert!(rsa(&modulus(0x80, 1), "AQAB").is_ok() && rsa(&modulus(0x80, 1), "Aw").is_ok());
    refused(rsa(&modulus(0x7f, 1), "AQAB"), "2048");
    refused(rsa(&modulus(0x80, 2), "AQAB"), "RFC 8017");
    for e in ["", "AA", "AQ", "Ag", "AQAA"] {
        refused(rsa(&modulus(0x80, 1), e), "RFC 8017");
    }
}

proptest! {
    #[test]
    fn any_der_is_handled(der in proptest::collection::vec(any::<u8>(), 0..120)) {
        let _ = PublicKey::from_der(&der);
        let _ = modulus(&der);
    }
}
