//! A proof for an API request, beside the bare signature of as many bytes by the same library.

#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
};
use criterion::{Criterion, criterion_group, criterion_main};
use hallpass_core::{AccessToken, Clock as _, ProofRequest, Prover as _, SystemClock, TokenType};
use hallpass_jwt::{Dpop, SigningKey};
use http::Method;

const URL: &str = "https://api.example/v1/customers/0123456789/orders";
const NONCE: &str = "eyJ7S_zG.eyJH0-Z.HX4w-7v-eyJ7S_zG.eyJH0-Z.HX4w-7v";

/// A key in memory needs no runtime.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

/// Measures a proof, and yields what it has signed.
fn proof(criterion: &mut Criterion, row: &str, key: SigningKey) -> Vec<u8> {
    let dpop = Dpop::new(key).unwrap();
    let lifetime = Duration::from_secs(60);
    // As long as a token that is a JWT.
    let token = "x".repeat(900);
    let token = AccessToken::new(TokenType::DPoP, &token, SystemClock.moment(), lifetime).unwrap();
    let method = Method::POST;
    let request = ProofRequest::new(&method, URL).with_token(&token);
    dpop.keep_nonce(&request, NONCE);
    criterion.bench_function(row, |bencher| {
        bencher.iter(|| now(dpop.prove(&request)).unwrap());
    });
    let proof = now(dpop.prove(&request)).unwrap();
    assert_eq!(proof.nonce(), Some(NONCE));
    let proof = proof.header_value().to_str().unwrap();
    proof.rsplit_once('.').unwrap().0.as_bytes().to_vec()
}

fn es256(criterion: &mut Criterion) {
    let pem = include_str!("../src/key/samples/ec-256.pem");
    let key = SigningKey::from_pem(pem).unwrap();
    let message = proof(criterion, "proof/es256/hallpass", key);
    let random = SystemRandom::new();
    let bare = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    criterion.bench_function("proof/es256/bare", |bencher| {
        bencher.iter(|| bare.sign(&random, &message).unwrap());
    });
}

fn eddsa(criterion: &mut Criterion) {
    let pem = include_str!("../src/key/samples/ed25519.pem");
    let key = SigningKey::from_pem(pem).unwrap();
    let message = proof(criterion, "proof/eddsa/hallpass", key);
    let bare = Ed25519KeyPair::generate().unwrap();
    criterion.bench_function("proof/eddsa/bare", |bencher| {
        bencher.iter(|| bare.sign(&message));
    });
}

criterion_group!(benches, es256, eddsa);
criterion_main!(benches);
