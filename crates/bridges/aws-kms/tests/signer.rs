//! Keys in a scripted AWS KMS, by the service's own SDK.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use aws_sdk_kms::{
    Client,
    config::{BehaviorVersion, Credentials, Region, retry::RetryConfig},
};
use aws_smithy_runtime_api::client::{
    http::{
        HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
    },
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
};
use aws_smithy_types::{body::SdkBody, retry::ErrorKind as RetryKind};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use hallpass_aws_kms::AwsKmsKey;
use hallpass_core::{ErrorKind, TokenError, TokenRequest, TokenSource as _};
use hallpass_jwt::{Algorithm, KmsSigner, Signer as _};
use hallpass_testkit::{leak, raw};
use serde_json::{Value, json};

#[path = "../../../../tests/shared/kms.rs"]
mod kms;
#[allow(dead_code, clippy::unwrap_used)]
#[path = "../../../../tests/stories/peer.rs"]
mod peer;
#[path = "../../../../tests/shared/kms_rules.rs"]
mod rules;

use kms::{Call, Form, HeldKey, KmsServer, Reply};

const ARN: &str = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd";
const SECRET: &str = "CANARY-aws-secret-key";
const SESSION: &str = "CANARY-aws-session-token";

/// An HTTP client of the SDK by reqwest.
#[derive(Clone, Debug, Default)]
struct Connector(reqwest::Client);

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().unwrap();
            let body = request.body().bytes().unwrap_or_default().to_vec();
            let request = reqwest::Request::try_from(request.map(|_| body)).unwrap();
            let io = |error: reqwest::Error| ConnectorError::io(error.into());
            let response = client.execute(request).await.map_err(io)?;
            let (status, headers) = (response.status(), response.headers().clone());
            let body = response.bytes().await.map_err(io)?;
            let mut response = http::Response::new(SdkBody::from(body));
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            Ok(HttpResponse::try_from(response).unwrap())
        })
    }
}

fn http_client() -> SharedHttpClient {
    http_client_fn(|_, _| SharedHttpConnector::new(Connector::default()))
}

fn client_at(origin: &str) -> Client {
    let credentials = Credentials::new("AKIDEXAMPLE", SECRET, Some(SESSION.into()), None, "test");
    client_with(origin, Some(credentials))
}

fn client_with(origin: &str, credentials: Option<Credentials>) -> Client {
    let config = aws_sdk_kms::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .endpoint_url(origin)
        .http_client(http_client())
        .retry_config(RetryConfig::disabled());
    let config = match credentials {
        Some(credentials) => config.credentials_provider(credentials),
        None => config,
    };
    Client::from_conf(config.build())
}

fn name_of(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Es256 => "ECDSA_SHA_256",
        Algorithm::Es384 => "ECDSA_SHA_384",
        Algorithm::EdDsa => "ED25519_SHA_512",
        Algorithm::Ps256 => "RSASSA_PSS_SHA_256",
        _ => "RSASSA_PKCS1_V1_5_SHA_256",
    }
}

fn refusal(status: u16, code: &str) -> Reply {
    let body = json!({ "__type": code, "message": format!("the message of {code}") });
    Reply(
        status,
        vec![("content-type", "application/x-amz-json-1.1")],
        body,
    )
}

fn signed(signature: &[u8]) -> Reply {
    let body = json!({ "KeyId": ARN, "Signature": BASE64_STANDARD.encode(signature) });
    Reply(200, vec![], body)
}

fn public(key: &HeldKey) -> Value {
    let pem = key.public_pem.lines().filter(|line| !line.starts_with('-'));
    json!({
        "KeyId": ARN,
        "PublicKey": pem.collect::<String>(),
        "KeyUsage": "SIGN_VERIFY",
        "SigningAlgorithms": [name_of(key.algorithm), "RSASSA_PSS_SHA_512"],
    })
}

fn answer(key: &HeldKey, call: &Call) -> Reply {
    let authorization = call.headers["authorization"].to_str().unwrap();
    if !authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/") {
        return refusal(400, "IncompleteSignatureException");
    }
    match call.headers["x-amz-target"].to_str().unwrap() {
        "TrentService.GetPublicKey" if call.body["KeyId"] == "alias/orders" => {
            Reply(200, vec![], public(key))
        }
        "TrentService.Sign" if call.body["KeyId"] == ARN => {
            let raw = key.algorithm == Algorithm::EdDsa;
            assert_eq!(call.body["MessageType"], if raw { "RAW" } else { "DIGEST" });
            if call.body["SigningAlgorithm"] != name_of(key.algorithm) {
                return refusal(400, "InvalidKeyUsageException");
            }
            let input = BASE64_STANDARD.decode(call.body["Message"].as_str().unwrap());
            signed(&key.sign(&input.unwrap(), Form::Der))
        }
        _ => refusal(400, "NotFoundException"),
    }
}

async fn start(key: HeldKey) -> KmsServer {
    KmsServer::start(move |call| answer(&key, call)).await
}

async fn signer(server: &KmsServer) -> KmsSigner<AwsKmsKey> {
    AwsKmsKey::signer(client_at(&server.origin), "alias/orders")
        .await
        .unwrap()
}

/// Starts a service with a key on P-256.
async fn es256() -> (KmsServer, KmsSigner<AwsKmsKey>) {
    let server = start(HeldKey::sample(Algorithm::Es256)).await;
    let signer = signer(&server).await;
    (server, signer)
}

/// The reply for a key that is disabled.
fn disabled() -> Reply {
    refusal(400, "DisabledException")
}

async fn failed(reply: Reply) -> TokenError {
    let (server, signer) = es256().await;
    server.inject([reply]);
    let error = signer.sign(b"message").await.unwrap_err();
    assert_eq!(server.call_count(), 2);
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
        assert_eq!(signer.key().arn(), ARN);
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
async fn throttling_and_outages_are_transient() {
    for (status, code) in [
        (400, "ThrottlingException"),
        (400, "LimitExceededException"),
        (500, "KMSInternalException"),
        (503, "DependencyTimeoutException"),
    ] {
        let error = failed(refusal(status, code)).await;
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert_eq!(error.server_message(), Some(code));
        assert!(std::error::Error::source(&error).is_some());
    }
    let Reply(status, _, body) = refusal(400, "ThrottlingException");
    let error = failed(Reply(status, vec![("x-amz-retry-after", "1500")], body)).await;
    assert_eq!(error.retry_after(), Some(Duration::from_millis(1_500)));
    let client = client_at(&raw::refused_url().unwrap());
    let error = AwsKmsKey::signer(client, "alias/orders").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.hint().unwrap().contains("region"), "{error}");
}

#[tokio::test]
async fn permanent_errors_say_what_to_do() {
    for (code, hint) in [
        ("DisabledException", "enable the key"),
        ("KMSInvalidStateException", "pending deletion"),
        ("NotFoundException", "region and account"),
        ("InvalidKeyUsageException", "SIGN_VERIFY"),
        ("AccessDeniedException", "kms:Sign"),
        ("InvalidSignatureException", "clock"),
        ("ExpiredTokenException", "renew"),
    ] {
        let error = failed(refusal(400, code)).await;
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(!error.is_transient());
        assert!(error.server_message().unwrap().starts_with(code), "{error}");
        assert!(error.hint().unwrap().contains(hint), "{error}");
    }
}

#[tokio::test]
async fn an_unusable_key_is_reported_at_startup() {
    let server = start(HeldKey::sample(Algorithm::Es256)).await;
    let client = || client_at(&server.origin);
    let error = AwsKmsKey::signer(client(), "other").await.unwrap_err();
    assert!(error.hint().unwrap().contains("alias"), "{error}");
    let good = public(&HeldKey::sample(Algorithm::Es256));
    for (member, value, expected) in [
        (
            "SigningAlgorithms",
            json!(["ECDSA_SHA_512"]),
            "no signature algorithm",
        ),
        ("PublicKey", json!("AAAA"), "DER"),
        ("PublicKey", json!(null), "no public key"),
        ("KeyId", json!(null), "no key ID"),
    ] {
        let mut body = good.clone();
        body[member] = value;
        server.inject([Reply(200, vec![], body)]);
        let error = AwsKmsKey::signer(client(), "alias/orders")
            .await
            .unwrap_err();
        assert!(!error.is_transient(), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let without = client_with(&server.origin, None);
    let error = AwsKmsKey::signer(without, "alias/orders")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(error.hint().unwrap().contains("credentials"), "{error}");
}

#[tokio::test]
async fn a_signature_of_the_wrong_form_is_an_error() {
    // r and s joined, not DER.
    let error = failed(signed(&[7; 64])).await;
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    let Reply(_, _, mut other) = signed(&[7; 70]);
    other["KeyId"] = "arn:other".into();
    let error = failed(Reply(200, vec![], other)).await;
    assert_eq!(error.kind(), ErrorKind::UnusableResponse, "{error}");
    let error = failed(Reply(200, vec![], json!("page"))).await;
    assert_eq!(error.kind(), ErrorKind::UnusableResponse, "{error}");
    assert!(error.is_transient());
    let server = start(HeldKey::sample(Algorithm::Rs256)).await;
    let signer = signer(&server).await;
    server.inject([signed(&[7; 255])]);
    let error = signer.sign(b"message").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnusableResponse, "{error}");
}

#[tokio::test]
async fn a_refusal_without_a_code_has_no_empty_message() {
    let error = failed(Reply(403, vec![], json!("<html>Forbidden"))).await;
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert_eq!(error.server_message(), None);
}

/// An HTTP client whose connection is lost before a response.
#[derive(Debug)]
struct LostConnection;

impl HttpConnector for LostConnection {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        let lost = ConnectorError::other("lost".into(), Some(RetryKind::TransientError));
        HttpConnectorFuture::ready(Err(lost))
    }
}

#[tokio::test]
async fn a_lost_connection_is_transient() {
    let config = client_at("https://kms.example").config().to_builder();
    let config = config.http_client(http_client_fn(|_, _| {
        SharedHttpConnector::new(LostConnection)
    }));
    let client = Client::from_conf(config.build());
    let error = AwsKmsKey::signer(client, "alias/orders").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn no_credential_is_shown() {
    let (server, signer) = es256().await;
    signer.sign(b"message").await.unwrap();
    let sent = format!(
        "{:?}",
        server.calls()[0].headers["x-amz-security-token"].to_str()
    );
    assert!(leak::find(&sent, SESSION).is_some());
    // As the service does, which quotes the request.
    let quoted = format!("The Canonical String should have been 'x-amz-security-token:{SESSION}'");
    let body = json!({ "__type": "InvalidSignatureException", "message": quoted });
    server.inject([Reply(400, vec![], body)]);
    let error = signer.sign(b"message").await.unwrap_err();
    let shown = format!("{signer:?} {}", leak::error_chain(&error));
    for canary in [SECRET, SESSION] {
        leak::assert_clean(&shown, canary);
    }
}

#[tokio::test]
async fn an_outage_is_retried_within_the_call() {
    let (server, signer) = es256().await;
    let (login, source) = kms::authorization_server(signer).await;
    server.inject([
        refusal(400, "ThrottlingException"),
        refusal(500, "KMSInternalException"),
    ]);
    source.token(&TokenRequest::default()).await.unwrap();
    assert_eq!((server.call_count(), login.token_request_count()), (4, 1));
}
