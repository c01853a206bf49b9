//! Private keys in PEM, as JWK and in JWK sets, and Google's key files: a key that is accepted signs so that its
//! public JWK verifies, and an error repeats nothing of the text.

use hallpass_endpoint::ResponseVerifier as _;
use hallpass_jwt::{PublicKey, ResponseKeys, Signer as _, SigningKey, google_service_account};
use serde_json::Value;

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
            for member in [
                r#""use":"sig""#,
                r#""use":"enc""#,
                r#""key_ops":["sign","verify"]"#,
                r#""key_ops":["verify"]"#,
                r#""alg":"ES256""#,
                r#""alg":"EdDSA""#,
            ] {
                let key = key.replacen('{', &format!(r#"{{"kid":"k1",{member},"#), 1);
                seeds.push([&[1], key.as_bytes()].concat());
                for kid in ["k1", ""] {
                    for other in ["{}", &*key] {
                        let set = format!("{kid}\n{{\"keys\":[{other},{key}]}}");
                        seeds.push([&[2], set.as_bytes()].concat());
                    }
                }
            }
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
    match settings % 4 {
        0 => is_only_key(text),
        1 => assert!(may_sign(text, &key, None)),
        _ => {
            let (kid, set) = text.split_once('\n').unwrap_or((text, ""));
            assert!(may_sign(set, &key, Some(kid).filter(|kid| !kid.is_empty())));
        }
    }
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

/// Asserts that there is no second key in the text, of which one would have to be chosen.
fn is_only_key(pem: &str) {
    let other = seeds::text("crates/jwt/src/key/samples/ed25519.pem");
    assert!(SigningKey::from_pem(&format!("{other}\n{pem}")).is_err());
}

/// Returns true if the text is this key, or a set with it and with no other one of this `kid`, and the members of its JWK allow to sign with it.
fn may_sign(text: &str, key: &SigningKey, kid: Option<&str>) -> bool {
    // A number beyond a double in a member that is not read.
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return true;
    };
    let public: Value = serde_json::from_str(&key.public_jwk()).unwrap();
    let keys = value["keys"]
        .as_array()
        .map_or(std::slice::from_ref(&value), Vec::as_slice);
    let named = keys.iter().filter(|jwk| jwk["kid"].as_str() == kid);
    if kid.is_some() && !value["keys"].is_null() && named.count() != 1 {
        return false;
    }
    keys.iter().any(|jwk| {
        let is_or_absent = |name: &str, text: &str| jwk[name].is_null() || jwk[name] == text;
        let ops = &jwk["key_ops"];
        jwk["kty"] == public["kty"]
            && (public["x"].is_null() || jwk["x"] == public["x"])
            && is_or_absent("use", "sig")
            && is_or_absent("alg", key.algorithm().name())
            && (ops.is_null()
                || ops
                    .as_array()
                    .is_some_and(|ops| ops.iter().any(|op| op == "sign")))
            && (kid.is_none() || value["keys"].is_null() || jwk["kid"].as_str() == kid)
    })
}
