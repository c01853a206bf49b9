//! JWK sets of servers (RFC 7517 section 5): a signature is verified exactly if the set has its key, for this use.

use std::sync::LazyLock;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hallpass_endpoint::{ResponseVerifier as _, UnverifiedResponse};
use hallpass_jwt::ResponseKeys;
use serde_json::Value;

use super::signed_introspection::{KEYS, sign};
use crate::{
    seeds,
    support::{CANARY, assert_hidden},
};

pub(crate) const WORDS: &[&str] = &[
    "\"keys\":[",
    "\"kty\":\"EC\"",
    "\"kty\":\"RSA\"",
    "\"crv\":\"P-256\"",
    "\"kid\":\"k1\"",
    "\"use\":\"sig\"",
    "\"use\":\"enc\"",
    "\"alg\":\"ES256\"",
    "\"alg\":\"RS256\"",
    "\"key_ops\":[\"verify\"]",
    "\"d\":\"AA\"",
    "\"x5c\"",
    "},{",
    "null",
    "\\u006b",
];

/// A response with a `kid`, one without, and the members of its key.
static SIGNED: LazyLock<([String; 2], Value)> = LazyLock::new(|| {
    let key = &KEYS.server;
    let headers = [
        r#"{"alg":"ES256","typ":"t","kid":"k1"}"#,
        r#"{"alg":"ES256","typ":"t"}"#,
    ];
    let signed = headers.map(|header| sign(key, header.as_bytes(), b"{}"));
    (signed, serde_json::from_str(&key.public_jwk()).unwrap())
});

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let set = &KEYS.set;
    let others = [
        "crates/jwt/src/response/tests.rs",
        "crates/jwt/src/public_key/tests.rs",
    ];
    let mut seeds = seeds::of_literals(&others, &[]);
    let with = |member: &str| {
        set.replacen('{', &format!("{{{member},"), 2)
            .replacen(&format!("{{{member},"), "{", 1)
    };
    seeds.extend(
        [
            r#""key_ops":["verify"]"#,
            r#""key_ops":["sign"]"#,
            r#""key_ops":[]"#,
            r#""x5c":["AA=="]"#,
        ]
        .map(|member| with(member).into_bytes()),
    );
    seeds.push(
        set.replace("}]", "},{\"kty\":\"oct\",\"k\":\"AA\"}]")
            .into_bytes(),
    );
    for (member, other) in [
        (r#""use":"sig""#, r#""use":"enc""#),
        (r#""alg":"ES256""#, r#""alg":"RS256""#),
        (r#""kid":"k1""#, r#""kid":"k2""#),
    ] {
        seeds.push(set.replace(member, other).into_bytes());
    }
    seeds.push(set.clone().into_bytes());
    seeds
}

pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let (signed, key) = &*SIGNED;
    let value = serde_json::from_str::<Value>(text).ok();
    // Without duplicate members, whose order would matter.
    let canonical = value.as_ref().map(Value::to_string);
    for (jwt, kid) in signed.iter().zip([Some("k1"), None]) {
        let verify = |set: &str| ResponseKeys::new().verify(jwt, "t", set);
        match verify(text) {
            Ok(payload) => assert_eq!(payload, b"{}"),
            Err(UnverifiedResponse::Invalid(reason)) => assert_hidden(&reason, CANARY),
            Err(other) => assert_eq!(other, UnverifiedResponse::UnknownKey),
        }
        let (Some(canonical), Some(value)) = (&canonical, &value) else {
            continue;
        };
        let keys = value["keys"].as_array().map_or(&[][..], Vec::as_slice);
        if keys.len() > 16 {
            continue;
        }
        let fits = keys
            .iter()
            .filter_map(Value::as_object)
            .any(|found| is_key(found, key, kid));
        assert_eq!(verify(canonical).is_ok(), fits, "{canonical}");
    }
}

/// Returns true if this is the key, with members that allow to verify a signature with this `kid`.
fn is_key(found: &serde_json::Map<String, Value>, key: &Value, kid: Option<&str>) -> bool {
    let member = |name: &str| found.get(name).unwrap_or(&Value::Null);
    let text = |name: &str| member(name).as_str();
    let absent_or =
        |name: &str, allowed: &str| member(name).is_null() || text(name) == Some(allowed);
    let decoded = |value: &Value| {
        BASE64_URL_SAFE_NO_PAD
            .decode(value.as_str().unwrap_or("."))
            .ok()
    };
    let ops = member("key_ops");
    let verifies =
        |ops: &Vec<Value>| ops.iter().all(Value::is_string) && ops.iter().any(|op| op == "verify");
    let typed = ["n", "e", "kid", "alg", "use"].map(member);
    typed
        .iter()
        .all(|member| member.is_null() || member.is_string())
        && text("kty") == Some("EC")
        && text("crv") == Some("P-256")
        && ["x", "y"].iter().all(|name| {
            decoded(member(name)).is_some() && decoded(member(name)) == decoded(&key[name])
        })
        && member("d").is_null()
        && kid.is_none_or(|kid| text("kid") == Some(kid))
        && absent_or("alg", "ES256")
        && absent_or("use", "sig")
        && (ops.is_null() || ops.as_array().is_some_and(verifies))
}
