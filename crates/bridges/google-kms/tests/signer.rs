//! Keys in a scripted Google Cloud KMS that checks the token and the checksums of each request.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hallpass_cache::CachedTokenSource;
use hallpass_core::{
    AccessToken, Clock as _, ErrorKind, SystemClock, TokenError, TokenRequest, TokenSource as _,
    authorize::Authorizer,
};
use hallpass_google_kms::{GoogleKms, GoogleKmsKey};
use hallpass_jwt::{Algorithm, KmsSigner, Signer as _};
use hallpass_testkit::{
    ScriptedSource, StaticSource,
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

const NAME: &str = "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1";
const TOKEN: &str = "CANARY-google-token";

fn name_of(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Es256 => "EC_SIGN_P256_SHA256",
        Algorithm::Es384 => "EC_SIGN_P384_SHA384",
        Algorithm::EdDsa => "EC_SIGN_ED25519",
        Algorithm::Ps256 => "RSA_SIGN_PSS_2048_SHA256",
        _ => "RSA_SIGN_PKCS1_2048_SHA256",
    }
}

/// CRC-32C by another implementation: a table of nibbles.
fn crc32c(bytes: &[u8]) -> String {
    let table: Vec<u32> = (0..16_u32)
        .map(|nibble| {
            (0..4).fold(nibble, |crc, _| {
                if crc & 1 == 1 {
                    crc >> 1 ^ 0x82f6_3b78
                } else {
                    crc >> 1
                }
            })
        })
        .collect();
    let step = |crc: u32| crc >> 4 ^ table[(crc & 15) as usize];
    let crc = bytes
        .iter()
        .fold(!0, |crc, byte| step(step(crc ^ u32::from(*byte))));
    (!crc).to_string()
}

fn refusal(code: u16, status: &str) -> Reply {
    let message = format!("got Bearer {TOKEN}");
    let error = json!({ "code": code, "message": message, "status": status });
    Reply(
        code,
        vec![("content-type", "application/json")],
        json!({ "error": error }),
    )
}

fn signed(signature: &[u8]) -> Reply {
    let body = json!({
        "name": NAME,
        "signature": BASE64_STANDARD.encode(signature),
        "signatureCrc32c": crc32c(signature),
        "verifiedDigestCrc32c": true,
        "protectionLevel": "HSM",
    });
    Reply(200, vec![], body)
}

fn answer(key: &HeldKey, call: &Call) -> Reply {
    if call
        .headers
        .get("authorization")
        .is_none_or(|sent| *sent != format!("Bearer {TOKEN}"))
    {
        return refusal(401, "UNAUTHENTICATED");
    }
    if call.path == format!("/v1/{NAME}/publicKey") {
        let body = json!({
            "name": NAME,
            "pem": key.public_pem,
            "pemCrc32c": crc32c(key.public_pem.as_bytes()),
            "algorithm": name_of(key.algorithm),
        });
        return Reply(200, vec![], body);
    }
    if call.path != format!("/v1/{NAME}:asymmetricSign") {
        return refusal(404, "NOT_FOUND");
    }
    let (input, checksum) = match key.algorithm {
        Algorithm::EdDsa => (&call.body["data"], &call.body["dataCrc32c"]),
        Algorithm::Es384 => (&call.body["digest"]["sha384"], &call.body["digestCrc32c"]),
        _ => (&call.body["digest"]["sha256"], &call.body["digestCrc32c"]),
    };
    let input = BASE64_STANDARD
        .decode(input.as_str().unwrap_or_default())
        .unwrap();
    if *checksum != crc32c(&input) {
        return refusal(400, "INVALID_ARGUMENT");
    }
    let Reply(status, headers, mut body) = signed(&key.sign(&input, Form::Der));
    if key.algorithm == Algorithm::EdDsa {
        body["verifiedDigestCrc32c"] = Value::Null;
        body.as_object_mut().unwrap().remove("verifiedDigestCrc32c");
        body["verifiedDataCrc32c"] = true.into();
    }
    Reply(status, headers, body)
}

async fn start(key: HeldKey) -> KmsServer {
    KmsServer::start(move |call| answer(&key, call)).await
}

fn service(server: &KmsServer) -> GoogleKms {
    let authorizer = Authorizer::builder(StaticSource::new(TOKEN))
        .allow_origin(&server.origin)
        .danger_allow_http_on_loopback()
        .build()
        .unwrap();
    GoogleKms::new(authorizer).unwrap().endpoint(&server.origin)
}

async fn signer(server: &KmsServer) -> KmsSigner<GoogleKmsKey> {
    service(server).signer(NAME).await.unwrap()
}

/// Starts a service with a key on P-256.
async fn es256() -> (KmsServer, KmsSigner<GoogleKmsKey>) {
    let server = start(HeldKey::sample(Algorithm::Es256)).await;
    let signer = signer(&server).await;
    (server, signer)
}

/// The reply for a key that is disabled.
fn disabled() -> Reply {
    refusal(400, "FAILED_PRECONDITION")
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
        Algorithm::EdDsa,
        Algorithm::Ps256,
        Algorithm::Rs256,
    ] {
        let server = start(HeldKey::sample(algorithm)).await;
        let signer = signer(&server).await;
        assert_eq!(signer.algorithm(), algorithm);
        assert_eq!(signer.key().name(), NAME);
        kms::fetch_tokens(signer, 3).await.unwrap();
        // The public key once, then one signature for each of 3 token requests.
        assert_eq!(server.call_count(), 4, "{algorithm}");
    }
}

#[tokio::test]
async fn a_dpop_proof_is_signed_by_the_key() {
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
        let server = start(HeldKey::sample(algorithm)).await;
        kms::check_proof(signer(&server).await).await;
        assert_eq!(server.call_count(), 2);
    }
}

#[tokio::test]
async fn throttling_is_transient_and_keeps_its_wait() {
    let Reply(status, _, body) = refusal(429, "RESOURCE_EXHAUSTED");
    let error = failed(Reply(status, vec![("retry-after", "3")], body)).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_transient());
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
}

#[tokio::test]
async fn an_outage_is_retried_within_the_call() {
    let (server, signer) = es256().await;
    let (login, source) = kms::authorization_server(signer).await;
    server.inject([refusal(503, "UNAVAILABLE"), refusal(500, "INTERNAL")]);
    source.token(&TokenRequest::default()).await.unwrap();
    assert_eq!((server.call_count(), login.token_request_count()), (4, 1));
}

#[tokio::test]
async fn permanent_errors_say_what_to_do() {
    for (reply, hint) in [
        (
            refusal(400, "FAILED_PRECONDITION"),
            "enable the key version",
        ),
        (refusal(400, "INVALID_ARGUMENT"), "ASYMMETRIC_SIGN"),
        (
            refusal(403, "PERMISSION_DENIED"),
            "roles/cloudkms.signerVerifier",
        ),
        (refusal(404, "NOT_FOUND"), "check project, location"),
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
async fn a_wrong_project_or_algorithm_is_reported_at_startup() {
    let server = start(HeldKey::sample(Algorithm::Es256)).await;
    let other = NAME.replace("projects/p", "projects/q");
    let error = service(&server).signer(&other).await.unwrap_err();
    assert!(error.hint().unwrap().contains("check project"), "{error}");
    let Reply(_, _, mut body) = answer(
        &HeldKey::sample(Algorithm::Es256),
        &Call {
            path: format!("/v1/{NAME}/publicKey"),
            ..server.calls()[0].clone()
        },
    );
    body["algorithm"] = "RSA_SIGN_PSS_4096_SHA512".into();
    server.inject([Reply(200, vec![], body)]);
    let error = service(&server).signer(NAME).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("SHA512"), "{error}");
}

#[tokio::test]
async fn an_endpoint_may_end_with_a_slash() {
    let server = start(HeldKey::sample(Algorithm::Es256)).await;
    let service = service(&server).endpoint(format!("{}/", server.origin));
    service.signer(NAME).await.unwrap();
    assert_eq!(server.calls()[0].path, format!("/v1/{NAME}/publicKey"));
}

#[tokio::test]
async fn a_hundred_signatures_replace_a_refused_token_once() {
    let server = start(HeldKey::sample(Algorithm::Es256)).await;
    let moment = SystemClock.moment();
    let tokens = ["revoked-token", TOKEN]
        .map(|text| Ok(AccessToken::bearer(text, moment, Duration::from_secs(3_600)).unwrap()));
    let source = ScriptedSource::new(tokens);
    let cache = CachedTokenSource::builder(source.clone()).build();
    let authorizer = Authorizer::builder(cache)
        .allow_origin(&server.origin)
        .danger_allow_http_on_loopback()
        .build()
        .unwrap();
    let service = GoogleKms::new(authorizer).unwrap();
    let reading = service.endpoint(&server.origin);
    let signers: Vec<_> = (0..100)
        .map(|_| {
            let service = reading.clone();
            tokio::spawn(async move { service.signer(NAME).await })
        })
        .collect();
    for signer in signers {
        signer.await.unwrap().unwrap();
    }
    assert_eq!(source.calls(), 2);
}

#[tokio::test]
async fn throttling_for_ever_costs_three_calls() {
    let (server, signer) = es256().await;
    let (login, source) = kms::authorization_server(signer).await;
    server.inject((0..9).map(|_| refusal(429, "RESOURCE_EXHAUSTED")));
    let error = source.token(&TokenRequest::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!((server.call_count(), login.token_request_count()), (4, 0));
}

#[tokio::test]
async fn a_damaged_response_is_transient() {
    let Reply(_, _, good) = signed(&[7; 70]);
    for (member, value) in [
        ("signatureCrc32c", json!("1")),
        ("verifiedDigestCrc32c", json!(false)),
        ("name", json!("projects/q")),
    ] {
        let mut body = good.clone();
        body[member] = value;
        let error = failed(Reply(200, vec![], body)).await;
        assert!(error.is_transient(), "{error}");
    }
}

#[tokio::test]
async fn a_signature_of_the_wrong_form_is_an_error() {
    // r and s joined, not DER.
    let error = failed(signed(&[7; 64])).await;
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    let server = start(HeldKey::sample(Algorithm::Rs256)).await;
    let signer = signer(&server).await;
    server.inject([signed(&[7; 255])]);
    let error = signer.sign(b"message").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnusableResponse, "{error}");
}

#[tokio::test]
async fn no_token_is_shown() {
    let capture = Capture::start();
    let (server, signer) = es256().await;
    signer.sign(b"message").await.unwrap();
    server.inject([refusal(403, "PERMISSION_DENIED")]);
    signer.sign(b"message").await.unwrap_err();
    let sent = format!("{:?}", server.calls()[0].headers["authorization"].to_str());
    assert!(leak::find(&sent, TOKEN).is_some());
    let shown = format!("{signer:?} {:?} {:#?}", service(&server), signer.key());
    leak::assert_clean(&shown, TOKEN);
    leak::assert_clean(&capture.text(), TOKEN);
}
