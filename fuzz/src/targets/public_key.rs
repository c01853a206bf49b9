//! Public keys in PEM, in DER and as JWK: what is accepted is read back from its canonical JWK, is one for
//! `x509-cert` too, and has the thumbprint of RFC 7638.

use std::collections::BTreeMap;

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use hallpass_jwt::PublicKey;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use x509_cert::{der::Decode as _, spki::SubjectPublicKeyInfoRef};

use crate::{
    seeds,
    support::{CANARY, check_error, settings},
};

pub(crate) const WORDS: &[&str] = &[
    "-----BEGIN PUBLIC KEY-----\n",
    "-----END PUBLIC KEY-----\n",
    "\"kty\":\"EC\"",
    "\"kty\":\"OKP\"",
    "\"kty\":\"RSA\"",
    "\"crv\":\"P-256\"",
    "\"crv\":\"P-384\"",
    "\"crv\":\"Ed25519\"",
    "\"e\":\"AQAB\"",
    "\"d\":",
    "\"x\":",
    "\"y\":",
    "\"n\":\"",
];

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for key in seeds::keys() {
        let public = if key.trim_start().starts_with('{') {
            hallpass_jwt::SigningKey::from_jwk(&key)
        } else {
            hallpass_jwt::SigningKey::from_pem(&key)
        };
        seeds.push([&[1], key.as_bytes()].concat());
        seeds.extend(
            public
                .ok()
                .map(|key| [&[1], key.public_jwk().as_bytes()].concat()),
        );
    }
    let pem = seeds::text("crates/jwt/src/key/samples/public.pem");
    seeds.push([&[0], pem.as_bytes()].concat());
    let base64: String = pem.lines().filter(|line| !line.starts_with("--")).collect();
    seeds.push([&[2], &*BASE64_STANDARD.decode(base64).unwrap()].concat());
    // Keys that RFC 8017 section 3.1 excludes: even numbers, an exponent of 1, and a modulus of 2047 bits.
    for (first, last, e) in [
        (0xff, 0xff, "AQ"),
        (0xff, 0xff, "AQAA"),
        (0xff, 0xfe, "AQAB"),
        (0x7f, 0xff, "AQAB"),
    ] {
        let n = [&[first], &[0xff; 254][..], &[last]].concat();
        let n = BASE64_URL_SAFE_NO_PAD.encode(n);
        let jwk = format!(r#"{{"kty":"RSA","n":"{n}","e":"{e}"}}"#);
        seeds.push([&[1], jwk.as_bytes()].concat());
    }
    let text = seeds::of_literals(&["crates/jwt/src/public_key/tests.rs"], &[1]);
    seeds.extend(text);
    seeds
}

pub(crate) fn run(bytes: &[u8]) {
    let (settings, bytes) = settings(bytes);
    let key = match (settings % 3, str::from_utf8(bytes)) {
        (0, Ok(text)) => PublicKey::from_pem(text),
        (1, Ok(text)) => PublicKey::from_jwk(text),
        (2, _) => PublicKey::from_der(bytes),
        _ => return,
    };
    let key = match key {
        Ok(key) => key,
        Err(error) => return check_error(&error, CANARY),
    };
    if settings % 3 == 2 {
        SubjectPublicKeyInfoRef::from_der(bytes).unwrap();
    }
    if settings % 3 == 1 {
        let members: BTreeMap<String, Value> = serde_json::from_slice(bytes).unwrap_or_default();
        assert!(members.get("d").is_none_or(Value::is_null));
    }
    let jwk = key.to_jwk();
    assert_eq!(PublicKey::from_jwk(&jwk).as_ref().ok(), Some(&key), "{jwk}");
    let members: BTreeMap<String, String> = serde_json::from_str(&jwk).unwrap();
    let canonical = serde_json::to_string(&members).unwrap();
    assert_eq!(canonical, jwk);
    let thumbprint = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(canonical));
    assert_eq!(thumbprint, key.thumbprint());
    assert!(!key.algorithms().is_empty());
    if members["kty"] == "RSA" {
        let number = |name: &str| BASE64_URL_SAFE_NO_PAD.decode(&members[name]).unwrap();
        // RFC 8017 section 3.1: the modulus is odd, and so is the exponent, from three.
        let (n, e) = (number("n"), number("e"));
        assert!(n.len() > 256 || n.len() == 256 && n[0] >= 0x80, "{jwk}");
        assert!(n[n.len() - 1] % 2 == 1, "{jwk}");
        assert!(
            e.last().is_some_and(|last| last % 2 == 1) && e != [1],
            "{jwk}"
        );
    }
}
