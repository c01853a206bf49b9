//! Tests that hold for the keys of every service; each test file has its `start`, `signer` and `es256`, and the reply
//! for a key that is `disabled`.

use hallpass_core::{ErrorKind, TokenRequest, TokenSource as _};
use hallpass_jwt::{Algorithm, Signer as _};
use hallpass_testkit::{Gate, faults};

use super::{
    disabled, es256,
    kms::{self, HeldKey},
    peer, signer, start,
};

#[tokio::test]
async fn a_retry_after_the_server_failed_signs_again() {
    let (server, signer) = es256().await;
    let (login, source) = kms::authorization_server(signer).await;
    login.inject_faults([faults::named("status_503").unwrap()]);
    source.token(&TokenRequest::default()).await.unwrap();
    assert_eq!((server.call_count(), login.token_request_count()), (3, 2));
}

#[tokio::test]
async fn a_key_that_does_not_sign_sends_no_token_request() {
    let (server, signer) = es256().await;
    let (login, source) = kms::authorization_server(signer).await;
    server.inject([disabled()]);
    let error = source.token(&TokenRequest::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert_eq!((server.call_count(), login.token_request_count()), (2, 0));
}

#[tokio::test]
async fn a_cancelled_signature_leaves_the_signer_usable() {
    let (server, signer) = es256().await;
    let gate = Gate::new();
    server.gate(&gate);
    {
        let mut signing = signer.sign(b"message");
        tokio::select! {
            _ = &mut signing => panic!("the gate is closed"),
            () = gate.arrived(1) => {}
        }
    }
    gate.open();
    assert_eq!(signer.sign(b"message").await.unwrap().len(), 64);
    assert_eq!(server.call_count(), 3);
}

#[tokio::test]
async fn a_certified_server_accepts_its_assertions() {
    let Some(mut peer) = peer::OidcProvider::start(&[]).await else {
        return;
    };
    for (name, algorithm) in [
        ("es256", Algorithm::Es256),
        ("es384", Algorithm::Es384),
        ("ps256", Algorithm::Ps256),
        ("rs256", Algorithm::Rs256),
    ] {
        let path = std::path::Path::new(peer.received("keys")).join(format!("{name}.pem"));
        let pem = std::fs::read_to_string(path).unwrap();
        let server = start(HeldKey::new(algorithm, &pem)).await;
        let signer = signer(&server).await.with_algorithm(algorithm).unwrap();
        let signer = signer.with_key_id(name);
        kms::fetch_from(&peer, &format!("key-{name}"), signer).await;
        assert_eq!(
            (peer.served().await, server.call_count()),
            (200, 2),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_certified_server_binds_tokens_to_the_key() {
    let Some(mut peer) = peer::OidcProvider::start(&[]).await else {
        return;
    };
    let (server, signer) = es256().await;
    kms::fetch_bound_from(&peer, signer).await;
    assert_eq!((peer.served().await, server.call_count()), (200, 2));
}
