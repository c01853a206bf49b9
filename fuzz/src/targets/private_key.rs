//! Private keys in PEM, as JWK and in JWK sets, and Google's key files: a key that is accepted signs so that its
//! public JWK verifies, and an error repeats nothing of the text.

use hallpass_endpoint::ResponseVerifier as _;
use hallpass_jwt::{PublicKey, ResponseKeys, Signer as _, SigningKey, google_service_account};

use super::signed_introspection::{KEYS, sign};
use crate::{
    seeds,
    support::{check_key_error, line, settings},
};

pub(crate) const WORDS: &[&str] = &[
    "-----BEGIN PRIVATE KEY-----\n",
    "-----END PRIVATE KEY-----\n",
    "-----BEGIN EC PRIVATE KEY-----\n",
    "-----BEGIN RSA PRIVATE KEY-----\n",
    "-----BEGIN CERTIFICATE-----\n",
    "-----END CERTIFICATE-----\n",
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\n",
    "Proc-Type: 4,ENCRYPTED\n",
    "\"keys\":[",
    "\"kty\":\"EC\"",
    "\"kty\":\"OKP\"",
    "\"kty\":\"RSA\"",
    "\"crv\":\"P-256\"",
    "\"crv\":\"Ed25519\"",
    "\"kid\":\"k1\"",
    "\"use\":\"sig\"",
    "\"key_ops\":[\"sign\"]",
    "\"alg\":\"PS256\"",
    "\"x5t#S256\"",
    "\"type\":\"service_account\"",
    "\"private_key\":",
    "\\n",
];

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for key in seeds::keys() {
        let settings = u8::from(key.trim_start().starts_with('{'));
        seeds.push([&[settings], key.as_bytes()].concat());
        if settings == 1 {
            let key = key.replacen('{', r#"{"kid":"k1","#, 1);
            let set = format!("k1\n{{\"keys\":[{key}]}}");
            seeds.push([&[2], set.as_bytes()].concat());
        } else {
            let file = serde_json::json!({
                "type": "service_account", "private_key_id": "k1", "private_key": key,
                "client_email": "a@b.example", "token_uri": "https://login.example/token",
            });
            seeds.push([&[3], file.to_string().as_bytes()].concat());
        }
    }
    let files = [
        "crates/jwt/src/key/tests/sets.rs",
        "crates/jwt/src/key/tests.rs",
    ];
    seeds.extend(seeds::of_literals(&files, &[2]));
    seeds
}

pub(crate) fn run(bytes: &[u8]) {
    let (settings, bytes) = settings(bytes);
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let key = match settings % 4 {
        0 => SigningKey::from_pem(text),
        1 => SigningKey::from_jwk(text),
        2 => {
            let (kid, set) = line(bytes);
            let kid = str::from_utf8(kid).ok().filter(|kid| !kid.is_empty());
            SigningKey::from_jwk_set(str::from_utf8(set).unwrap(), kid)
        }
        _ => {
            match google_service_account(text) {
                Ok(source) => assert!(!format!("{source:?}").contains("PRIVATE")),
                Err(error) => check_key_error(&error, text),
            }
            return;
        }
    };
    let key = match key {
        Ok(key) => key,
        Err(error) => return check_key_error(&error, text),
    };
    let jwk = key.public_jwk();
    let public = PublicKey::from_jwk(&jwk).unwrap();
    assert!(public.algorithms().contains(&key.algorithm()));
    assert!(!format!("{key:?}").contains("PRIVATE"));
    let header = format!(r#"{{"alg":"{}","typ":"t"}}"#, key.algorithm().name());
    let jwt = sign(&key, header.as_bytes(), b"payload");
    let set = format!(r#"{{"keys":[{jwk}]}}"#);
    let verified = ResponseKeys::new().verify(&jwt, "t", &set);
    assert_eq!(verified.as_deref(), Ok(&b"payload"[..]));
    // Another key does not verify it.
    let other = KEYS.other.public_jwk();
    if PublicKey::from_jwk(&other).unwrap() != public {
        let set = format!(r#"{{"keys":[{other}]}}"#);
        assert!(ResponseKeys::new().verify(&jwt, "t", &set).is_err());
    }
}
