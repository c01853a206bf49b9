use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use http::HeaderValue;

use super::*;
use crate::{Clock as _, SystemClock, TokenType};

const API: &str = "https://api.example/orders";

/// A prover that records its calls; a proof is its number.
#[derive(Debug, Default)]
struct Witness {
    asked: Mutex<Vec<(String, Option<String>)>>,
    kept: Mutex<Vec<(bool, String, String)>>,
}

#[async_trait]
impl Prover for Witness {
    async fn prove(&self, request: &ProofRequest<'_>) -> Result<Proof, TokenError> {
        let mut asked = self.asked.lock().unwrap();
        let what = format!("{} {}", request.method(), request.url());
        asked.push((what, request.nonce().map(ToOwned::to_owned)));
        let proof = Proof::new(format!("CANARY-{}", asked.len()), SystemTime::UNIX_EPOCH)?;
        Ok(match request.nonce() {
            Some(nonce) => proof.with_nonce(nonce),
            None => proof,
        })
    }

    fn store_nonce(&self, request: &ProofRequest<'_>, nonce: &str) {
        let api = request.expose_token().is_some();
        let kept = (api, request.origin().to_owned(), nonce.to_owned());
        self.kept.lock().unwrap().push(kept);
    }

    fn shared_key(&self) -> Option<&str> {
        Some("thumbprint")
    }
}

fn token() -> AccessToken {
    let lifetime = Duration::from_secs(60);
    AccessToken::new(TokenType::Dpop, "CANARY", SystemClock.moment(), lifetime).unwrap()
}

fn with_nonces(nonces: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for nonce in nonces {
        headers.append(
            DPOP_NONCE,
            HeaderValue::from_bytes(nonce.as_bytes()).unwrap(),
        );
    }
    headers
}

// covers: C-67, C-70
#[tokio::test]
async fn a_nonce_that_was_not_tried_is_used_once() {
    let witness = Witness::default();
    let mut proofs = Proofs::new(Method::POST, API);
    let first = proofs.next(&witness, None).await.unwrap();
    assert!(proofs.accept_nonce(&with_nonces(&["one"])) && proofs.is_demanded());
    let second = proofs.next(&witness, None).await.unwrap();
    assert_ne!(first.header_value(), second.header_value());
    assert!(!proofs.is_demanded());
    assert!(!proofs.accept_nonce(&with_nonces(&["one"])));
    assert!(proofs.accept_nonce(&with_nonces(&["two"])));
    proofs.next(&witness, None).await.unwrap();
    // Neither is the one before the last.
    assert!(!proofs.accept_nonce(&with_nonces(&["one"])));
    assert!(!proofs.accept_nonce(&with_nonces(&[])) && !proofs.is_demanded());
    let asked = witness.asked.into_inner().unwrap();
    let nonces: Vec<_> = asked.iter().map(|(_, nonce)| nonce.as_deref()).collect();
    assert_eq!(nonces, [None, Some("one"), Some("two")]);
    assert!(asked.iter().all(|(what, _)| *what == format!("POST {API}")));
}

// covers: C-70
#[tokio::test]
async fn a_server_that_demands_for_ever_is_answered_five_times() {
    let witness = Witness::default();
    let mut proofs = Proofs::new(Method::POST, API);
    let mut demands = 0;
    loop {
        proofs.next(&witness, None).await.unwrap();
        if !proofs.accept_nonce(&with_nonces(&[&format!("nonce-{demands}")])) {
            break;
        }
        demands += 1;
    }
    assert_eq!(demands, 5);
    assert_eq!(witness.asked.lock().unwrap().len(), 6);
}

// covers: C-71
#[test]
fn nonces_are_stored_with_their_origin() {
    let witness = Witness::default();
    let proofs = Proofs::new(Method::POST, API);
    let token = token();
    proofs.store_nonce(&witness, None, &with_nonces(&["for-tokens"]));
    proofs.store_nonce(&witness, Some(&token), &with_nonces(&["for-calls"]));
    proofs.store_nonce(&witness, Some(&token), &HeaderMap::new());
    let origin = || "https://api.example".to_owned();
    let expected = [
        (false, origin(), "for-tokens".to_owned()),
        (true, origin(), "for-calls".to_owned()),
    ];
    assert_eq!(*witness.kept.lock().unwrap(), expected);
}

#[test]
fn what_cannot_stand_in_a_proof_is_no_nonce() {
    let longest = "x".repeat(MAX_NONCE_BYTES);
    let longer = "x".repeat(MAX_NONCE_BYTES + 1);
    assert_eq!(nonce(&with_nonces(&[&longest])), Some(&*longest));
    assert_eq!(nonce(&with_nonces(&["!#[]~"])), Some("!#[]~"));
    for wrong in [
        &[][..],
        &[""],
        &["a b"],
        &["a\"b"],
        &["a\\b"],
        &["nön"],
        &[&longer],
        &["a", "a"],
    ] {
        assert_eq!(nonce(&with_nonces(wrong)), None, "{wrong:?}");
    }
}

// covers: F-99
#[tokio::test]
async fn nothing_of_it_is_shown() {
    let witness = Witness::default();
    let token = token();
    let mut proofs = Proofs::new(Method::GET, "https://api.example/CANARY");
    let proof = proofs.next(&witness, Some(&token)).await.unwrap();
    let header = proof.header_value();
    assert!(header.is_sensitive() && header.to_str().unwrap().contains("CANARY"));
    let request = ProofRequest::new(&Method::GET, "https://api.example/CANARY");
    let request = request.with_token(&token).with_nonce("CANARY");
    let shown = format!("{proof:?} {proofs:?} {request:?}");
    assert!(
        shown.contains("api.example") && !shown.contains("CANARY"),
        "{shown}"
    );
    let error = Proof::new("CANARY\n".into(), SystemTime::UNIX_EPOCH).unwrap_err();
    assert!(!format!("{error:?} {error}").contains("CANARY"));
}

#[tokio::test]
async fn pointers_forward_every_method() {
    async fn all_methods(prover: impl Prover) {
        let request = ProofRequest::new(&Method::GET, API);
        prover.prove(&request).await.unwrap();
        prover.store_nonce(&request, "one");
        assert_eq!(prover.shared_key(), Some("thumbprint"));
    }
    let witness = Arc::new(Witness::default());
    all_methods(witness.clone()).await;
    all_methods(witness.clone() as Arc<dyn Prover>).await;
    all_methods(Box::new(witness.clone()) as Box<dyn Prover>).await;
    assert_eq!(witness.asked.lock().unwrap().len(), 3);
    assert_eq!(witness.kept.lock().unwrap().len(), 3);
}
