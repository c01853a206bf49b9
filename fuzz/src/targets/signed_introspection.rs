//! Signed introspection responses (RFC 9701): a response is accepted only with a signature by the server's key, its
//! type, issuer, audience and time.

use std::sync::LazyLock;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hallpass_core::Clock as _;
use hallpass_endpoint::{Endpoint, Retry, TokenManagement};
use hallpass_jwt::{ResponseKeys, Signer as _, SigningKey};
use hallpass_testkit::{ManualClock, leak};
use serde_json::{Value, json};

use super::introspection::{self, agrees};
use crate::{
    seeds,
    support::{
        CLIENT_ID, ISSUER, Response, TOKEN, assert_hidden, authentication, block_on,
        check_token_error, line, serve, settings, token, transport, unambiguous_object,
    },
};

pub(crate) const WORDS: &[&str] = &[
    "\"alg\":\"ES256\"",
    "\"alg\":\"none\"",
    "\"alg\":\"HS256\"",
    "\"typ\":\"token-introspection+jwt\"",
    "\"kid\":\"k1\"",
    "\"crit\"",
    "\"iss\":\"https://login.example\"",
    "\"aud\":\"orders\"",
    "\"aud\":[",
    "\"iat\":1767225600",
    "\"token_introspection\":{\"active\":true}",
    "s3cr3t-CANARY",
    "\n",
    ".",
];

/// The media type, and the type in the header.
const MEDIA_TYPE: &str = "application/token-introspection+jwt";

/// The response is a text of the input, or made of its header and its payload: signed by the server's key, or not.
const RAW: u8 = 1;
const FORGED: u8 = 2;

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let payload = json!({
        "iss": ISSUER, "aud": [CLIENT_ID], "iat": 1_767_225_600,
        "token_introspection": { "active": true, "scope": "a b", "sub": "s" },
    });
    let headers = [
        json!({ "alg": "ES256", "typ": "token-introspection+jwt", "kid": "k1" }),
        json!({ "alg": "ES256", "typ": MEDIA_TYPE }),
        json!({ "alg": "none", "typ": MEDIA_TYPE }),
    ];
    let signed = headers.iter().flat_map(|header| {
        let text = format!("{header}\n{payload}");
        [0, FORGED].map(|settings| [&[settings], text.as_bytes()].concat())
    });
    // One member is another, or is missing.
    let other_members = [
        ("iss", json!("https://login.example/")),
        ("iss", Value::Null),
        ("aud", json!("another")),
        ("aud", json!(["another", "others"])),
        ("aud", json!([])),
        ("aud", Value::Null),
        ("iat", json!(1_767_225_600 - 301)),
        ("iat", json!(1_767_225_600 + 301)),
        ("iat", Value::Null),
    ];
    let other_members = other_members.map(|(name, value)| {
        let mut payload = payload.clone();
        payload[name] = value;
        (headers[0].clone(), payload)
    });
    let other_headers = [
        ("alg", json!("ES384")),
        ("typ", json!("JWT")),
        ("typ", Value::Null),
        ("kid", json!("k2")),
        ("crit", json!(["exp"])),
    ];
    let other_headers = other_headers.map(|(name, value)| {
        let mut header = headers[0].clone();
        header[name] = value;
        (header, payload.clone())
    });
    let valid = json!({
        "iss": ISSUER, "aud": CLIENT_ID, "iat": 1_767_225_600,
        "token_introspection": { "active": true, "sub": "s" },
    });
    let others = other_members.into_iter().chain(other_headers);
    let others = others.chain([(headers[0].clone(), valid)]);
    let others = others.map(|(header, payload)| format!("\0{header}\n{payload}").into_bytes());
    let files = ["crates/jwt/src/response/tests.rs"];
    let raw = seeds::of_literals(&files, &[RAW]);
    signed.chain(others).chain(raw).collect()
}

/// The server's key and its JWK set, and the key of another party.
pub(super) struct Keys {
    pub(super) server: SigningKey,
    pub(super) set: String,
    pub(super) other: SigningKey,
}

pub(super) static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let read = |name: &str| {
        let pem = seeds::text(&format!("crates/jwt/src/key/samples/{name}.pem"));
        SigningKey::from_pem(&pem).unwrap()
    };
    let server = read("ec-256").with_key_id("k1");
    Keys {
        set: format!(r#"{{"keys":[{}]}}"#, server.public_jwk()),
        server,
        other: read("ed25519"),
    }
});

/// Returns a JWS with this header and payload.
pub(super) fn sign(key: &SigningKey, header: &[u8], payload: &[u8]) -> String {
    let encode = |part: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(part);
    let message = format!("{}.{}", encode(header), encode(payload));
    let signature = block_on(key.sign(message.as_bytes())).unwrap();
    format!("{message}.{}", encode(&signature))
}

/// Returns true if no reader could refuse this response (RFC 9701 section 5).
fn is_valid(header: &[u8], payload: &[u8]) -> bool {
    let text = String::from_utf8_lossy(payload);
    let [Some(header), Some(payload)] = [header, payload].map(unambiguous_object) else {
        return false;
    };
    let [header, payload] = [header, payload].map(Value::from);
    let [alg, typ, kid] = ["alg", "typ", "kid"].map(|name| &header[name]);
    let inner = &payload["token_introspection"];
    header == json!({ "alg": alg, "typ": typ, "kid": kid })
        && alg == "ES256"
        && (typ == MEDIA_TYPE || typ == "token-introspection+jwt")
        && kid == "k1"
        && payload["iss"] == ISSUER
        && payload["aud"] == CLIENT_ID
        && payload["iat"] == 1_767_225_600
        && payload.as_object().is_some_and(|claims| claims.len() == 4)
        && inner.as_object().is_some_and(introspection::is_valid)
        // It is there as it is written from the value, so that no member is there twice.
        && text.contains(&inner.to_string())
}

pub(crate) fn run(bytes: &[u8]) {
    let (settings, bytes) = settings(bytes);
    let (header, payload) = line(bytes);
    let jwt = match settings & (RAW | FORGED) {
        0 => sign(&KEYS.server, header, payload).into_bytes(),
        FORGED => sign(&KEYS.other, header, payload).into_bytes(),
        _ => bytes.to_vec(),
    };
    let metadata = json!({
        "issuer": ISSUER, "jwks_uri": "https://login.example/keys",
        "token_endpoint": "https://login.example/token",
        "introspection_endpoint": "https://login.example/introspect",
    });
    let clock = ManualClock::new();
    let discovery = Endpoint::discover(ISSUER).transport(transport(false));
    let endpoint = discovery.clock(clock.clone()).build().unwrap();
    let tokens = TokenManagement::builder(endpoint, CLIENT_ID, authentication())
        .transport(transport(false))
        .retry(Retry::never())
        .require_signed_responses(ResponseKeys::new())
        .clock(clock.clone())
        .build()
        .unwrap();
    let token = token(TOKEN);
    let respond = move |url: &url::Url| match url.path() {
        "/keys" => Response::json(KEYS.set.as_bytes()),
        "/introspect" => Response::ok(MEDIA_TYPE, &jwt),
        _ => Response::json(metadata.to_string().as_bytes()),
    };
    let (result, _) = serve(respond, tokens.introspect(&token));
    let is_ours = settings & (RAW | FORGED) == 0;
    if is_ours && is_valid(header, payload) {
        assert!(result.is_ok(), "{result:?}");
    }
    let known = match result {
        Ok(known) => known,
        Err(error) => {
            check_token_error(&error);
            return assert_hidden(&leak::error_chain(&error), TOKEN);
        }
    };
    // Nobody else has the key.
    assert_eq!(settings & (RAW | FORGED), 0);
    let header: Value = serde_json::from_slice(header).unwrap();
    assert_eq!(header["alg"], "ES256");
    assert!(header["crit"].is_null() && (header["kid"].is_null() || header["kid"] == "k1"));
    let typ = header["typ"].as_str().unwrap().to_ascii_lowercase();
    assert!(MEDIA_TYPE == typ || MEDIA_TYPE.strip_prefix("application/") == Some(&typ));
    let Ok(payload) = serde_json::from_slice::<Value>(payload) else {
        return;
    };
    assert_eq!(payload["iss"], ISSUER);
    let aud = &payload["aud"];
    let listed = aud
        .as_array()
        .is_some_and(|list| list.iter().any(|one| one == CLIENT_ID));
    assert!(aud == CLIENT_ID || listed);
    let now = clock.wall().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert!((payload["iat"].as_f64().unwrap() - now.as_secs_f64()).abs() <= 300.0);
    agrees(
        &known,
        payload["token_introspection"].to_string().as_bytes(),
    );
}
