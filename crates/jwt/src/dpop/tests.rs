use std::{collections::HashSet, time::UNIX_EPOCH};

use hallpass_core::{AccessToken, ErrorKind, TokenType};
use hallpass_testkit::{ManualClock, leak};
use http::Method;
use serde_json::{Value, json};

use super::*;
use crate::verify::{Assertion, decode};

macro_rules! sample {
    ($name:literal) => {
        include_str!(concat!("../key/samples/", $name))
    };
}

const TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
const API: &str = "https://api.example/orders";

fn key(pem: &str) -> SigningKey {
    SigningKey::from_pem(pem).unwrap().with_key_id("not shown")
}

fn es256() -> Dpop {
    Dpop::new(key(sample!("ec-256.pem")))
        .unwrap()
        .clock(ManualClock::new())
}

fn token() -> AccessToken {
    let moment = ManualClock::new().moment();
    AccessToken::new(TokenType::Dpop, TOKEN, moment, Duration::from_secs(60)).unwrap()
}

async fn prove(dpop: &Dpop, request: ProofRequest<'_>) -> Assertion {
    let proof = dpop.prove(&request).await.unwrap();
    Assertion::parse(proof.header_value().to_str().unwrap())
}

fn members(json: &Value) -> Vec<&str> {
    let members = json.as_object().unwrap().keys();
    members.map(String::as_str).collect()
}

// covers: C-66, C-68
#[tokio::test]
async fn a_proof_names_key_and_request_and_is_signed() {
    let other = SigningKey::generate(Algorithm::Es256)
        .unwrap()
        .0
        .public_jwk();
    for (pem, alg, jwk) in [
        (
            sample!("ec-256.pem"),
            "ES256",
            &["crv", "kty", "x", "y"][..],
        ),
        (sample!("ed25519.pem"), "EdDSA", &["crv", "kty", "x"]),
    ] {
        let clock = ManualClock::new();
        let dpop = Dpop::new(key(pem)).unwrap().clock(clock.clone());
        let token = token();
        let request = ProofRequest::new(&Method::PUT, "https://api.example/orders?a=b#c");
        let proof = prove(&dpop, request.with_token(&token)).await;

        assert_eq!(members(&proof.header), ["alg", "jwk", "typ"]);
        assert_eq!(
            (&proof.header["typ"], &proof.header["alg"]),
            (&json!("dpop+jwt"), &json!(alg))
        );
        // No private member, and no `kid`.
        assert_eq!(members(&proof.header["jwk"]), jwk);
        let public = proof.header["jwk"].to_string();
        assert!(proof.is_signed_by(&public) && proof.is_signed_by(&key(pem).public_jwk()));
        assert!(alg != "ES256" || !proof.is_signed_by(&other), "the control");

        assert_eq!(members(&proof.claims), ["ath", "htm", "htu", "iat", "jti"]);
        let iat = stamp::seconds(clock.wall(), IAT_OFFSET, HINT).unwrap();
        assert_eq!(
            iat + 2,
            clock.wall().duration_since(UNIX_EPOCH).unwrap().as_secs()
        );
        for (claim, expected) in [
            ("htm", json!("PUT")),
            ("htu", json!(API)),
            ("iat", json!(iat)),
            // The pair from RFC 9449 section 7.1.
            ("ath", json!("fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo")),
        ] {
            assert_eq!(proof.claims[claim], expected);
        }
        assert_eq!(decode(proof.claims["jti"].as_str().unwrap()).len(), 16);
    }
}

// covers: C-67
#[tokio::test]
async fn each_proof_is_unique() {
    let dpop = es256();
    let mut seen = HashSet::new();
    for _ in 0..1_000 {
        let proof = prove(&dpop, ProofRequest::new(&Method::POST, API)).await;
        assert!(seen.insert(proof.claims["jti"].to_string()));
        assert_eq!(members(&proof.claims), ["htm", "htu", "iat", "jti"]);
    }
}

// covers: C-70, C-71
#[tokio::test]
async fn the_nonce_is_the_demanded_one_or_the_latest() {
    let dpop = es256();
    let token = token();
    let to_server = ProofRequest::new(&Method::POST, API);
    let to_api = to_server.with_token(&token);
    dpop.store_nonce(&to_server, "for-tokens");
    // A clone shares the nonces.
    let dpop = dpop.clone();
    for (request, expected) in [
        (to_server, json!("for-tokens")),
        (to_api, Value::Null),
        (to_api.with_nonce("demanded"), json!("demanded")),
        (to_api, Value::Null),
    ] {
        let proof = dpop.prove(&request).await.unwrap();
        assert_eq!(proof.nonce(), expected.as_str());
        let proof = Assertion::parse(proof.header_value().to_str().unwrap());
        assert_eq!(proof.claims["nonce"], expected);
    }
}

#[test]
fn a_proof_is_written_without_a_copy() {
    let dpop = es256();
    for length in 0..100 {
        let url = format!("https://api.example/{}", "a".repeat(length));
        let request = ProofRequest::new(&Method::GET, &url);
        let text = dpop.unsigned(&request, Some("nonce"), dpop.clock.wall());
        let text = text.unwrap();
        let room = text.capacity() - text.len();
        // The dot, the signature, and the padding that base64url leaves out.
        assert!((87..90).contains(&room), "{length}: {room}");
    }
}

#[tokio::test]
async fn the_parts_of_a_url_cannot_alter_the_claims() {
    // Valid for `http::Uri`.
    let url = r#"https://api.example/a"b\c","htu":"x"#;
    let proof = prove(&es256(), ProofRequest::new(&Method::GET, url)).await;
    assert_eq!(proof.claims["htu"], url);
}

// covers: C-66
#[tokio::test]
async fn the_thumbprint_follows_rfc_7638() {
    for pem in [sample!("ec-256.pem"), sample!("ed25519.pem")] {
        let named = SigningKey::from_pem(pem)
            .unwrap()
            .with_thumbprint_as_key_id();
        let dpop = Dpop::new(key(pem)).unwrap();
        assert_eq!(Some(dpop.thumbprint()), Signer::key_id(&named));
        // Other processes have the key only if that is declared.
        assert_eq!(dpop.shared_key(), None);
        let shared = dpop.share_tokens();
        assert_eq!(shared.shared_key(), Signer::key_id(&named));
    }
    assert_ne!(
        Dpop::generate().unwrap().thumbprint(),
        Dpop::generate().unwrap().thumbprint()
    );
}

/// An external key, with its public JWK if it has one.
#[derive(Debug)]
struct Foreign(Algorithm, Option<&'static str>, Result<usize, TokenError>);

#[async_trait]
impl Signer for Foreign {
    fn algorithm(&self) -> Algorithm {
        self.0
    }

    fn public_jwk(&self) -> Option<String> {
        self.1.map(ToOwned::to_owned)
    }

    async fn sign(&self, _: &[u8]) -> Result<Vec<u8>, TokenError> {
        self.2.clone().map(|bytes| vec![7; bytes])
    }
}

const PUBLIC: &str = r#"{"kty":"EC","crv":"P-256","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs","y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA","kid":"1"}"#;

#[test]
fn keys_that_cannot_sign_proofs_are_refused_at_build() {
    let refused = |key: Foreign, expected: &str| {
        let error = Dpop::new(key).unwrap_err();
        assert_eq!(error.setting(), "dpop");
        assert!(error.to_string().contains(expected), "{error}");
    };
    let foreign = |algorithm, jwk| Foreign(algorithm, jwk, Ok(64));
    let es256 = |jwk| foreign(Algorithm::Es256, Some(jwk));
    refused(foreign(Algorithm::Es256, None), "public_jwk");
    // The public key can be supplied separately.
    let told = Dpop::with_public_jwk(foreign(Algorithm::Es256, None), PUBLIC).unwrap();
    assert_eq!(
        told.thumbprint(),
        Dpop::new(es256(PUBLIC)).unwrap().thumbprint()
    );
    refused(es256("canary"), "not a JWK");
    refused(
        foreign(Algorithm::EdDsa, Some(PUBLIC)),
        "does not fit EdDSA",
    );
    refused(es256(r#"{"kty":"EC","crv":"P-384"}"#), "`x`");
    refused(
        es256(r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#),
        "`x`",
    );
    let private = r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA","d":"AA"}"#;
    refused(es256(private), "private");
    for (algorithm, pem) in [
        (Algorithm::Rs256, sample!("rsa.pem")),
        (Algorithm::Es384, sample!("ec-384.pem")),
    ] {
        let error = Dpop::new(key(pem)).unwrap_err().to_string();
        assert!(
            error.contains(algorithm.name()) && error.contains("P-256"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_external_signer_is_awaited_and_checked() {
    let request = ProofRequest::new(&Method::GET, API);
    let dpop = Dpop::new(Foreign(Algorithm::Es256, Some(PUBLIC), Ok(64))).unwrap();
    let proof = prove(&dpop, request).await;
    assert_eq!(proof.signature, [7; 64]);
    assert_eq!(members(&proof.header["jwk"]), ["crv", "kty", "x", "y"]);
    let away = TokenError::unavailable("the token is not plugged in");
    for (signed, kind) in [
        (Ok(71), ErrorKind::Configuration),
        (Err(away), ErrorKind::Unavailable),
    ] {
        let dpop = Dpop::new(Foreign(Algorithm::Es256, Some(PUBLIC), signed)).unwrap();
        assert_eq!(dpop.prove(&request).await.unwrap_err().kind(), kind);
    }
}

// covers: F-70
#[tokio::test]
async fn a_clock_before_1970_is_an_error() {
    let clock = ManualClock::new();
    clock.set_wall(UNIX_EPOCH - Duration::from_secs(1));
    let dpop = es256().clock(clock);
    let error = dpop
        .prove(&ProofRequest::new(&Method::GET, API))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
}

// covers: F-99
#[tokio::test]
async fn debug_and_errors_show_no_key_token_or_proof() {
    let capture = leak::Capture::start();
    let jwk: Value = serde_json::from_str(sample!("ec-256.jwk")).unwrap();
    let private = jwk["d"].as_str().unwrap();
    let dpop = Dpop::new(SigningKey::from_jwk(sample!("ec-256.jwk")).unwrap()).unwrap();
    let token = token();
    let request = ProofRequest::new(&Method::GET, API).with_token(&token);
    dpop.store_nonce(&request, "a-nonce-that-is-none-of-yours");
    let proof = dpop.prove(&request).await.unwrap();
    let header = proof.header_value();
    let signature = header.to_str().unwrap().rsplit('.').next().unwrap();
    // Positive control: the key is in the input, and the proof is in its header.
    assert!(leak::find(sample!("ec-256.jwk"), private).is_some());
    assert!(leak::find(header.to_str().unwrap(), signature).is_some());
    let shown = format!(
        "{dpop:?} {dpop:#?} {request:?} {proof:?} {header:?} {}",
        capture.text()
    );
    assert!(shown.contains(dpop.thumbprint()), "{shown}");
    for canary in [private, TOKEN, signature, "a-nonce-that-is-none-of-yours"] {
        leak::assert_clean(&shown, canary);
    }
}
