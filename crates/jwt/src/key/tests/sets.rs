//! JWK sets.

use super::*;

const EC: &str = include_str!("../samples/ec-256.jwk");
const ED25519: &str = include_str!("../samples/ed25519.jwk");

/// Returns the sample key with this `kid`, as JSON text.
fn jwk(text: &str, kid: &str) -> String {
    let mut jwk: serde_json::Value = serde_json::from_str(text).unwrap();
    jwk["kid"] = serde_json::from_str(kid).unwrap();
    jwk.to_string()
}

fn set(keys: &[&str]) -> String {
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

#[test]
fn the_kid_chooses_a_key_of_a_set() {
    let (one, other) = (jwk(EC, "\"one\""), jwk(ED25519, "\"other\""));
    let unusable = [
        "7",
        "null",
        "[]",
        "{}",
        r#"{"kid":5,"kty":"EC"}"#,
        r#"{"kid":["one"]}"#,
        r#"{"kid":"weak","kty":"RSA","n":"AQAB","e":"AQAB","d":"AQ"}"#,
        r#"{"kid":"public","kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
    ];
    // With the algorithm of another key.
    let odd = jwk(EC, "\"odd\"").replacen('{', r#"{"alg":"RS256","#, 1);
    let mut keys = unusable.to_vec();
    keys.extend([&*odd, &*one, &*other]);
    let all = set(&keys);
    for (kid, text) in [("one", EC), ("other", ED25519)] {
        let key = SigningKey::from_jwk_set(&all, Some(kid)).unwrap();
        assert_eq!(key.key_id(), Some(kid));
        let alone = SigningKey::from_jwk(text).unwrap();
        assert_eq!(key.pair.public_key(), alone.pair.public_key());
    }
    // Without a name, the only private key is meant.
    let mut keys = unusable.to_vec();
    keys.extend([&*odd, &*one]);
    let key = SigningKey::from_jwk_set(&set(&keys), None).unwrap();
    assert_eq!(key.key_id(), Some("one"));
    // A single JWK is read too, regardless of its name.
    assert!(SigningKey::from_jwk_set(&one, Some("another")).is_ok());
    // A name in escapes is the same name.
    let escaped = one.replace("\"one\"", "\"\\u006fne\"");
    assert!(SigningKey::from_jwk_set(&set(&[&escaped, &other]), Some("one")).is_ok());
}

#[test]
fn an_ambiguous_or_hostile_set_is_refused() {
    let (one, other) = (jwk(EC, "\"one\""), jwk(ED25519, "\"one\""));
    let named = jwk(ED25519, "\"other\"");
    let secret: serde_json::Value = serde_json::from_str(&one).unwrap();
    let canary = secret["d"].as_str().unwrap().to_owned();
    let deep = format!(
        r#"{{"keys":[{}{}]}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let deep_member = set(&[
        &one,
        &format!(
            r#"{{"kid":"one","a":{}{}}}"#,
            "[".repeat(50_000),
            "]".repeat(50_000)
        ),
    ]);
    // Of this number of bytes.
    let long = |length: usize| {
        let around = set(&["\"\""]).len();
        set(&[&format!("\"{}\"", "a".repeat(length - around))])
    };
    for (text, kid, says) in [
        (
            set(&[&one, &other]),
            Some("one"),
            "several keys in the JWK set have this `kid`",
        ),
        (
            set(&[&one, &named]),
            Some("two"),
            "none of the 2 keys in the JWK set has this `kid`",
        ),
        (set(&[&one, &named]), None, "choose one by its `kid`"),
        (set(&[]), None, "none of the 0 keys"),
        (
            set(&["{}", "7"]),
            None,
            "none of the 2 keys in the JWK set can sign",
        ),
        (
            set(&[r#"{"kty":"oct","k":"AA"}"#]),
            None,
            "it is a shared secret",
        ),
        (set(&["{}"; 100]), Some("one"), "none of the 100 keys"),
        (set(&["{}"; 101]), Some("one"), "101 keys, more than 100"),
        (long(1 << 18), Some("one"), "none of the 1 keys"),
        (long((1 << 18) + 1), Some("one"), "longer than 256 KiB"),
        (deep, Some("one"), "none of the 1 keys"),
        (deep_member, Some("one"), "several keys"),
        (
            format!(r#"{{"keys":[{one}],"keys":[{named}]}}"#),
            Some("one"),
            "not a JWK or a JWK set",
        ),
        (
            format!(r#"{{"keys":{one}}}"#),
            Some("one"),
            "not a JWK or a JWK set",
        ),
        (
            set(&[&one])[..80].to_owned(),
            Some("one"),
            "not a JWK or a JWK set",
        ),
        (
            "{\"keys\":\"CANARY\"}".to_owned(),
            None,
            "not a JWK or a JWK set",
        ),
    ] {
        let error = SigningKey::from_jwk_set(&text, kid).unwrap_err();
        assert_eq!(error.setting(), "key");
        let text = error.to_string();
        assert!(text.contains(says), "{says}: {text}");
        leak::assert_clean(&text, &canary);
        leak::assert_clean(&text, "CANARY");
    }
}
