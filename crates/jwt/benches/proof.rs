//! Compares a DPoP proof for an API request with a bare signature of as many bytes by the same library.
//!
//! The two alternate, and each round compares them directly, so that a slow machine slows both.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../../benches/rows.rs"]
mod rows;

use std::{
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
};
use hallpass_core::{AccessToken, Clock as _, ProofRequest, Prover as _, SystemClock, TokenType};
use hallpass_jwt::{Dpop, SigningKey};
use http::Method;

const URL: &str = "https://api.example/v1/customers/0123456789/orders";
const NONCE: &str = "eyJ7S_zG.eyJH0-Z.HX4w-7v-eyJ7S_zG.eyJH0-Z.HX4w-7v";

/// Polls a future once: a key in memory needs no runtime.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

/// Measured rounds, rounds of warm-up, and signatures per round.
const TURNS: usize = 2_000;
const WARM_UP: usize = 200;
const SIGNATURES: u32 = 20;

fn dpop(pem: &str) -> Dpop {
    Dpop::new(SigningKey::from_pem(pem).unwrap()).unwrap()
}

/// Measures proofs of this key against `bare`, which signs as many bytes.
fn measure<T>(algorithm: &str, dpop: &Dpop, bare: impl Fn(&[u8]) -> T) {
    let lifetime = Duration::from_secs(60);
    // The length of a token that is a JWT.
    let token = "x".repeat(900);
    let token = AccessToken::new(TokenType::Dpop, &token, SystemClock.moment(), lifetime).unwrap();
    let method = Method::POST;
    let request = ProofRequest::new(&method, URL).with_token(&token);
    dpop.store_nonce(&request, NONCE);
    let proof = now(dpop.prove(&request)).unwrap();
    assert_eq!(proof.nonce(), Some(NONCE));
    let proof = proof.header_value().to_str().unwrap();
    let message = proof.rsplit_once('.').unwrap().0.as_bytes();

    let ours = || drop(black_box(now(dpop.prove(&request)).unwrap()));
    let theirs = || drop(black_box(bare(message)));
    let (mut our_times, mut bare_times) = (Vec::new(), Vec::new());
    for turn in 0..WARM_UP + TURNS {
        let times = (time(&ours), time(&theirs));
        if turn >= WARM_UP {
            our_times.push(times.0);
            bare_times.push(times.1);
        }
    }
    let pairs = our_times.iter().zip(&bare_times);
    let mut ratios: Vec<_> = pairs.map(|(ours, bare)| ours / bare).collect();
    let (ours, bare) = (
        format!("proof/{algorithm}/hallpass"),
        format!("proof/{algorithm}/bare"),
    );
    rows::report(
        &format!("{ours}/over/{bare}"),
        rows::median(&mut ratios),
        "times",
    );
    rows::report(&ours, rows::median(&mut our_times), "ns");
    rows::report(&bare, rows::median(&mut bare_times), "ns");
}

/// Returns the nanoseconds per signature.
fn time(sign: &impl Fn()) -> f64 {
    let began = Instant::now();
    for _ in 0..SIGNATURES {
        sign();
    }
    began.elapsed().as_secs_f64() * 1e9 / f64::from(SIGNATURES)
}

fn main() {
    let random = SystemRandom::new();
    let bare = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let sign = |message: &[u8]| bare.sign(&random, message).unwrap();
    measure(
        "es256",
        &dpop(include_str!("../src/key/samples/ec-256.pem")),
        sign,
    );
    let bare = Ed25519KeyPair::generate().unwrap();
    let sign = |message: &[u8]| bare.sign(message);
    measure(
        "eddsa",
        &dpop(include_str!("../src/key/samples/ed25519.pem")),
        sign,
    );
}
