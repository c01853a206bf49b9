//! Keys in a scripted Azure Key Vault that checks the token of each request.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hallpass_azure_keyvault::{KeyVault, KeyVaultKey};
use hallpass_core::{ErrorKind, TokenError, TokenRequest, TokenSource as _, authorize::Authorizer};
use hallpass_jwt::{Algorithm, KmsSigner, PublicKey, Signer as _};
use hallpass_testkit::{
    StaticSource,
    leak::{self, Capture},
};
use serde_json::{Value, json};

#[path = "../../../../tests/shared/kms.rs"]
mod kms;
#[allow(dead_code, clippy::unwrap_used)]
#[path = "../../../../tests/stories/peer.rs"]
mod peer;
#[path = "../../../../tests/shared/kms_rules.rs"]
mod rules;

use kms::{Call, Form, HeldKey, KmsServer, Reply};

const VERSION: &str = "0123456789abcdef0123456789abcdef";
const KEY: &str = "/keys/orders/0123456789abcdef0123456789abcdef";
const TOKEN: &str = "CANARY-azure-token";

fn refusal(status: u16, code: &str) -> Reply {
    let message = format!("got Bearer {TOKEN}");
    let inner = json!({ "code": code });
    let error = json!({ "code": "Forbidden", "message": message, "innererror": inner });
    Reply(
        status,
        vec![("content-type", "application/json")],
        json!({ "error": error }),
    )
}

fn bundle(key: &HeldKey) -> Value {
    let public = PublicKey::from_pem(&key.public_pem).unwrap();
    let mut jwk: Value = serde_json::from_str(&public.to_jwk()).unwrap();
    jwk["kty"] = format!("{}-HSM", jwk["kty"].as_str().unwrap()).into();
    jwk["kid"] = format!("https://orders.vault.azure.net{KEY}").into();
    jwk["key_ops"] = json!(["sign", "verify"]);
    json!({ "key": jwk, "attributes": { "enabled": true, "created": 1_700_000_000 } })
}

fn signed(signature: &[u8]) -> Reply {
    let body = json!({
        "kid": format!("https://orders.vault.azure.net{KEY}"),
        "value": BASE64_URL_SAFE_NO_PAD.encode(signature),
    });
    Reply(200, vec![], body)
}

fn answer(key: &HeldKey, call: &Call) -> Reply {
    if call
        .headers
        .get("authorization")
        .is_none_or(|sent| *sent != format!("Bearer {TOKEN}"))
    {
        return refusal(401, "Unauthorized");
    }
    let path = call.path.strip_suffix("?api-version=7.4").unwrap();
    match (call.method.as_str(), path) {
        ("GET", "/keys/orders/" | KEY) => Reply(200, vec![], bundle(key)),
        ("POST", path) if path == format!("{KEY}/sign") => {
            if call.body["alg"] != key.algorithm.name() {
                return refusal(400, "BadParameter");
            }
            let hash = BASE64_URL_SAFE_NO_PAD
                .decode(call.body["value"].as_str().unwrap())
                .unwrap();
            signed(&key.sign(&hash, Form::Joined))
        }
        _ => refusal(404, "KeyNotFound"),
    }
}

async fn start(key: HeldKey) -> KmsServer {
    KmsServer::start(move |call| answer(&key, call)).await
}

fn service(server: &KmsServer) -> KeyVault {
    let authorizer = Authorizer::builder(StaticSource::new(TOKEN))
        .allow_origin(&server.origin)
        .danger_allow_http_on_loopback()
        .build()
        .unwrap();
    KeyVault::new(&server.origin, authorizer).unwrap()
}

async fn signer(server: &KmsServer) -> KmsSigner<KeyVaultKey> {
    service(server).signer("orders").await.unwrap()
}

/// Starts a service with a key on P-256.
async fn es256() -> (KmsServer, KmsSigner<KeyVaultKey>) {
    let server = start(HeldKey::sample(Algorithm::Es256)).await;
    let signer = signer(&server).await;
    (server, signer)
}

/// The reply for a key that is disabled.
fn disabled() -> Reply {
    refusal(403, "KeyDisabled")
}

async fn failed(reply: Reply) -> TokenError {
    let (server, signer) = es256().await;
    server.inject([reply]);
    let error = signer.sign(b"message").await.unwrap_err();
    assert_eq!(server.call_count(), 2);
    leak::assert_clean(&leak::error_chain(&error), TOKEN);
    error
}

#[tokio::test]
async fn each_algorithm_signs_once_for_each_token() {
    for algorithm in [
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::Ps256,
        Algorithm::Rs256,
    ] {
        let server = start(HeldKey::sample(algorithm)).await;
        let signer = signer(&server).await.with_algorithm(algorithm).unwrap();
        assert_eq!(
            (signer.key().name(), signer.key().version()),
            ("orders", VERSION)
        );
        kms::fetch_tokens(signer, 3).await.unwrap();
        // The public key once, then one signature for each of 3 token requests.
        assert_eq!(server.call_count(), 4, "{algorithm}");
    }
}

#[tokio::test]
async fn a_version_is_read_as_it_is_named() {
    let server = start(HeldKey::sample(Algorithm::Es256)).await;
    let named = format!("orders/{VERSION}");
    assert!(service(&server).signer(&named).await.is_ok());
    assert_eq!(server.calls()[0].path, format!("{KEY}?api-version=7.4"));
    for wrong in ["", "orders/../x", "a b", "orders?x", "/"] {
        let error = service(&server).signer(wrong).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{wrong}");
    }
    assert_eq!(server.call_count(), 1);
}

#[tokio::test]
async fn permanent_errors_say_what_to_do() {
    for (reply, hint) in [
        (refusal(403, "KeyDisabled"), "enable the key version"),
        (refusal(403, "ForbiddenByRbac"), "Key Vault Crypto User"),
        (refusal(403, "ForbiddenByFirewall"), "firewall"),
        (refusal(404, "KeyNotFound"), "vault's address"),
        (refusal(400, "BadParameter"), "operation `sign`"),
    ] {
        let error = failed(reply).await;
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(!error.is_transient());
        assert!(error.hint().unwrap().contains(hint), "{error}");
        assert!(
            error.server_message().unwrap().contains("[redacted]"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_unusable_key_is_reported_at_startup() {
    let server = start(HeldKey::sample(Algorithm::Es256)).await;
    let error = service(&server).signer("other").await.unwrap_err();
    assert!(error.hint().unwrap().contains("vault's address"), "{error}");
    let good = bundle(&HeldKey::sample(Algorithm::Es256));
    for (member, value, expected) in [
        ("/attributes/enabled", json!(false), "disabled"),
        ("/key/key_ops", json!(["verify"]), "not for signatures"),
        ("/key/kty", json!("oct-HSM"), "not supported"),
        ("/key/crv", json!("P-256K"), "not supported"),
        ("/key/kid", json!("https://v/keys/other/0a"), "another key"),
    ] {
        let mut body = good.clone();
        *body.pointer_mut(member).unwrap() = value;
        server.inject([Reply(200, vec![], body)]);
        let error = service(&server).signer("orders").await.unwrap_err();
        assert!(!error.is_transient(), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_signature_of_the_wrong_form_is_an_error() {
    let Reply(_, _, mut other) = signed(&[7; 64]);
    other["kid"] = "https://v/keys/orders/0a".into();
    let Reply(_, _, mut standard) = signed(&[7; 64]);
    standard["value"] = "//8=".into();
    for (reply, expected) in [
        (signed(&[7; 63]), "63 bytes"),
        (signed(&[7; 71]), "71 bytes"),
        (Reply(200, vec![], other), "another key or version"),
        (Reply(200, vec![], standard), "not base64url"),
        (Reply(200, vec![], json!({})), "not the expected JSON"),
    ] {
        let error = failed(reply).await;
        assert_eq!(error.kind(), ErrorKind::UnusableResponse);
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_dpop_proof_is_signed_by_the_key() {
    let (server, signer) = es256().await;
    kms::check_proof(signer).await;
    assert_eq!(server.call_count(), 2);
}

#[tokio::test]
async fn throttling_is_transient_and_keeps_its_wait() {
    let Reply(status, _, body) = refusal(429, "Throttled");
    let error = failed(Reply(status, vec![("retry-after", "3")], body)).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_transient());
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
}

#[tokio::test]
async fn an_outage_is_retried_within_the_call() {
    let (server, signer) = es256().await;
    let (login, source) = kms::authorization_server(signer).await;
    server.inject([refusal(503, "Unavailable"), refusal(500, "Internal")]);
    source.token(&TokenRequest::default()).await.unwrap();
    assert_eq!((server.call_count(), login.token_request_count()), (4, 1));
}

#[tokio::test]
async fn no_token_is_shown() {
    let capture = Capture::start();
    let (server, signer) = es256().await;
    signer.sign(b"message").await.unwrap();
    server.inject([refusal(403, "ForbiddenByRbac")]);
    signer.sign(b"message").await.unwrap_err();
    let sent = format!("{:?}", server.calls()[0].headers["authorization"].to_str());
    assert!(leak::find(&sent, TOKEN).is_some());
    let shown = format!("{signer:?} {:?} {:#?}", service(&server), signer.key());
    leak::assert_clean(&shown, TOKEN);
    leak::assert_clean(&capture.text(), TOKEN);
}
