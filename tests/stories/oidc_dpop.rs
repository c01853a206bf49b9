//! DPoP-bound tokens from a certified authorization server that shares no code with ours.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use hallpass::{
    AccessToken, ErrorKind, OAuthError, TokenError, TokenRequest, TokenSource, TokenType,
    endpoint::{ClientCredentials, ClientSecretBasic, SourceBuilder},
    jwt::{Dpop, SigningKey},
};
use hallpass_testkit::ManualClock;

use crate::{assertions::assert_off, peer::OidcProvider, support::secret};

fn source(peer: &OidcProvider) -> SourceBuilder<ClientCredentials> {
    let authentication = ClientSecretBasic::new(secret(peer.client_secret("dpop")));
    ClientCredentials::builder(peer.received("token_endpoint"), "dpop", authentication)
        .danger_allow_http_on_loopback()
        .scope("api:read")
}

async fn fetch(source: SourceBuilder<ClientCredentials>) -> Result<AccessToken, TokenError> {
    source
        .build()
        .unwrap()
        .token(&TokenRequest::default())
        .await
}

/// Returns the server's description of a token: the type, and the hash of the key to which it is bound.
async fn introspect(peer: &OidcProvider, token: &AccessToken) -> (String, String) {
    let form = format!("token={}", token.expose());
    let answer = reqwest::Client::new()
        .post(format!("{}/token/introspection", peer.received("issuer")))
        .basic_auth("dpop", Some(peer.client_secret("dpop")))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form)
        .send()
        .await
        .unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    (text(&answer["token_type"]), text(&answer["cnf"]["jkt"]))
}

// covers: C-40, C-66, C-67
#[tokio::test]
async fn it_binds_tokens_to_either_kind_of_key() {
    let Some(mut peer) = OidcProvider::start(&[]).await else {
        return;
    };
    let pem = include_str!("../../crates/jwt/src/key/samples/ed25519.pem");
    let keys = [
        Dpop::generate().unwrap(),
        Dpop::new(SigningKey::from_pem(pem).unwrap()).unwrap(),
    ];
    let mut tokens = Vec::new();
    for dpop in &keys {
        tokens.push(fetch(source(&peer).dpop(dpop.clone())).await.unwrap());
        assert_eq!(peer.served().await, 200);
    }
    for (dpop, token) in keys.iter().zip(&tokens) {
        assert_eq!(token.token_type(), TokenType::Dpop);
        let bound = ("DPoP".to_owned(), dpop.thumbprint().to_owned());
        assert_eq!(introspect(&peer, token).await, bound);
    }
}

// covers: C-70, C-71
#[tokio::test]
async fn it_demands_nonces_and_many_callers_at_once_have_theirs() {
    let Some(mut peer) = OidcProvider::start(&["--dpop-nonce"]).await else {
        return;
    };
    let source = Arc::new(
        source(&peer)
            .dpop(Dpop::generate().unwrap())
            .build()
            .unwrap(),
    );
    source.token(&TokenRequest::default()).await.unwrap();
    // The challenge and the response to it; then the nonce is known.
    assert_eq!((peer.served().await, peer.served().await), (400, 200));
    source.token(&TokenRequest::default()).await.unwrap();
    assert_eq!(peer.served().await, 200);

    // With the nonce, and without one at the start.
    let cold = Arc::new(
        self::source(&peer)
            .dpop(Dpop::generate().unwrap())
            .build()
            .unwrap(),
    );
    for source in [source, cold] {
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let source = source.clone();
            calls.spawn(async move { source.token(&TokenRequest::default()).await });
        }
        for token in calls.join_all().await {
            assert_eq!(token.unwrap().token_type(), TokenType::Dpop);
        }
    }
}

/// Creates a client whose clock shows this time.
fn off(peer: &OidcProvider, wall: SystemTime) -> SourceBuilder<ClientCredentials> {
    let clock = ManualClock::new();
    clock.set_wall(wall);
    source(peer).dpop(Dpop::generate().unwrap().clock(clock))
}

const OFF: Duration = Duration::from_secs(600);

// covers: F-71
#[tokio::test]
async fn the_error_for_a_wrong_clock_has_the_difference() {
    let Some(mut peer) = OidcProvider::start(&["--dpop-dated"]).await else {
        return;
    };
    let now = SystemTime::now();
    for (wall, side) in [
        (now - OFF, "behind the server's"),
        (now + OFF, "ahead of the server's"),
    ] {
        let error = fetch(off(&peer, wall)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RequestRefused, "{error}");
        let code = error.oauth_error().map(OAuthError::code);
        assert_eq!(code, Some("invalid_dpop_proof"), "{error}");
        assert_off(&error, side);
        assert_eq!(peer.served().await, 400, "it is not tried again");
    }
}

// covers: C-70, F-71
#[tokio::test]
async fn with_nonces_it_asks_nobody_for_the_time() {
    let Some(mut peer) = OidcProvider::start(&[]).await else {
        return;
    };
    fetch(off(&peer, SystemTime::now() - OFF)).await.unwrap();
    assert_eq!((peer.served().await, peer.served().await), (400, 200));
}

// covers: C-72, F-28
#[tokio::test]
async fn a_client_with_bound_tokens_gets_none_without_a_proof() {
    let Some(mut peer) = OidcProvider::start(&[]).await else {
        return;
    };
    let error = fetch(source(&peer)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RequestRefused, "{error}");
    assert_eq!(peer.served().await, 400);
}
