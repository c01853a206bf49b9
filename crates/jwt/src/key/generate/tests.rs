use aws_lc_rs::{
    encoding::{AsDer as _, PublicKeyX509Der},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        Ed25519KeyPair, KeyPair as _, RsaKeyPair,
    },
};
use hallpass_testkit::leak;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer, pem::PemObject as _};

use super::*;
use crate::{Signer as _, verify::verify};

const ALL: [Algorithm; 4] = [
    Algorithm::Es256,
    Algorithm::Es384,
    Algorithm::EdDsa,
    Algorithm::Rs256,
];

/// Returns a key for each algorithm that the library can generate.
fn made() -> impl Iterator<Item = (Algorithm, SigningKey, Secret)> {
    let made = ALL
        .into_iter()
        .filter(|algorithm| cfg!(feature = "aws-lc-rs") || *algorithm != Algorithm::Rs256);
    made.map(|algorithm| {
        let (key, pem) = SigningKey::generate(algorithm).unwrap();
        (algorithm, key, pem)
    })
}

// covers: C-49, F-99
#[tokio::test]
async fn a_new_key_signs_and_is_read_from_its_pem() {
    for (algorithm, key, pem) in made() {
        let pem = pem.expose();
        assert!(pem.lines().all(|line| line.len() <= 64), "{algorithm}");
        assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
        assert!(pem.ends_with("\n-----END PRIVATE KEY-----\n"));
        let read = SigningKey::from_pem(pem).unwrap();
        let read = read.with_algorithm(algorithm).unwrap();
        assert_eq!(read.public_jwk(), key.public_jwk());
        is_as_a_library_writes_it(&key.public_pem(), algorithm, pem);
        let signature = read.sign(b"message").await.unwrap();
        assert!(verify(
            algorithm.name(),
            &key.public_jwk(),
            b"message",
            &signature
        ));

        // The public output holds no line of the private key.
        let shown = format!("{key:?} {} {}", key.public_jwk(), key.public_pem());
        let line = pem.lines().nth(1).unwrap();
        leak::assert_clean(&shown, line);
        assert!(leak::find(pem, line).is_some());

        let (another, _) = SigningKey::generate(Algorithm::EdDsa).unwrap();
        assert_ne!(another.public_pem(), key.public_pem());
    }
}

/// Compares with the library's own output for the same private key.
fn is_as_a_library_writes_it(public: &str, algorithm: Algorithm, pem: &str) {
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    let der = der.secret_pkcs8_der();
    let expected: PublicKeyX509Der<'_> = match algorithm {
        Algorithm::Es256 => {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der);
            pair.unwrap().public_key().as_der().unwrap()
        }
        Algorithm::Es384 => {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, der);
            pair.unwrap().public_key().as_der().unwrap()
        }
        Algorithm::EdDsa => {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der);
            pair.unwrap().public_key().as_der().unwrap()
        }
        Algorithm::Rs256 | Algorithm::Ps256 => {
            let pair = RsaKeyPair::from_pkcs8(der);
            pair.unwrap().public_key().as_der().unwrap()
        }
    };
    let public = SubjectPublicKeyInfoDer::from_pem_slice(public.as_bytes()).unwrap();
    assert_eq!(public.as_ref(), expected.as_ref(), "{algorithm}");
}

#[cfg(feature = "aws-lc-rs")]
#[test]
fn an_rsa_key_has_the_requested_size() {
    for (bits, bytes) in [(2048, 256), (4096, 512)] {
        let (key, _) = SigningKey::generate_rsa(Algorithm::Ps256, bits).unwrap();
        assert_eq!(key.algorithm(), Algorithm::Ps256);
        let jwk: serde_json::Value = serde_json::from_str(&key.public_jwk()).unwrap();
        let modulus = crate::verify::decode(jwk["n"].as_str().unwrap());
        assert_eq!(modulus.len(), bytes);
    }
}

#[test]
fn an_unsupported_key_cannot_be_generated() {
    for (algorithm, bits, setting) in [
        (Algorithm::Rs256, 1024, "bits"),
        (Algorithm::Ps256, 0, "bits"),
        (Algorithm::Rs256, 2049, "bits"),
        (Algorithm::Es256, 2048, "algorithm"),
    ] {
        let error = SigningKey::generate_rsa(algorithm, bits).unwrap_err();
        assert_eq!(error.setting(), setting);
    }
    #[cfg(not(feature = "aws-lc-rs"))]
    for algorithm in [Algorithm::Rs256, Algorithm::Ps256] {
        let error = SigningKey::generate(algorithm).unwrap_err();
        assert!(
            error.to_string().contains("ring generates no RSA keys"),
            "{error}"
        );
    }
}

#[test]
fn lengths_are_encoded_as_der() {
    for (length, head) in [
        (0, &[0x30, 0][..]),
        (127, &[0x30, 127]),
        (128, &[0x30, 0x81, 128]),
        (255, &[0x30, 0x81, 255]),
        (256, &[0x30, 0x82, 1, 0]),
    ] {
        let written = element(SEQUENCE, &[&vec![7; length]]);
        assert_eq!(&written[..head.len()], head);
        assert_eq!(written.len(), head.len() + length);
    }
}

#[test]
fn pem_lines_have_64_characters() {
    for length in [0, 1, 47, 48, 49, 96, 97] {
        let text = pem("X", &vec![0xff; length]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2 + length.div_ceil(LINE_BYTES), "{text}");
        assert!(!text.contains("\n\n"), "{text}");
        let decoded = BASE64_STANDARD.decode(lines[1..lines.len() - 1].concat());
        assert_eq!(decoded.unwrap(), vec![0xff; length]);
    }
}
