//! The other grants.

use std::sync::Arc;

use hallpass::{
    TokenRequest, TokenSource,
    cache::CachedTokenSource,
    endpoint::{JwtBearer, RefreshToken, SecurityToken, TokenExchange, TokenTypeUri},
    jwt::SignedAssertion,
};
use hallpass_testkit::RotatingSecret;
use serde_json::Value;
use tokio::task::JoinSet;

use super::running::{Outcome, Running, Seen};

const EXCHANGE: &str = "exchange";
const REPORTS: &str = "reports";

/// Creates a source of assertions by a client whose key the server knows.
fn signed(peer: &Running) -> SignedAssertion {
    SignedAssertion::new(peer.settings(), peer.key("es256"))
        .issuer(peer.id("key-es256"))
        .subject("jane")
}

pub(super) async fn jwt_bearer(peer: &Running) -> Outcome {
    let url = peer.token_endpoint();
    let source = JwtBearer::builder(url, peer.id(EXCHANGE), peer.basic(EXCHANGE), signed(peer))
        .transport(peer.transport())
        .scope("api:read")
        .build()
        .unwrap();
    let token = source.token(&TokenRequest::default()).await?;
    assert_eq!(token.scopes().as_str(), "api:read");
    Ok(())
}

/// Exchanges a token of the server's own, with another as the actor.
pub(super) async fn token_exchange(peer: &Running) -> Outcome {
    let own = peer.source(EXCHANGE, peer.basic(EXCHANGE)).build().unwrap();
    let own: Arc<dyn TokenSource> = Arc::new(CachedTokenSource::new(own));
    let url = peer.token_endpoint();
    let subject = SecurityToken::from_source(own);
    let source = TokenExchange::builder(url, peer.id(EXCHANGE), peer.basic(EXCHANGE), subject)
        .transport(peer.transport())
        .requested_token_type(TokenTypeUri::ACCESS_TOKEN)
        .scope("api:read")
        .build()
        .unwrap();
    let token = source.token(&TokenRequest::default()).await?;
    assert_eq!(token.scopes().as_str(), "api:read");
    Ok(())
}

/// Obtains an initial refresh token, as an interactive sign-in would.
async fn sign_in(peer: &Running) -> Result<String, Seen> {
    let authority = std::fs::read(peer.file("ca.crt")).unwrap();
    let client = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&authority).unwrap()])
        .build()
        .unwrap();
    let answer = client
        .post(peer.token_endpoint())
        .basic_auth(peer.id(REPORTS), Some(peer.secret(REPORTS)))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(peer.sign_in().to_owned())
        .send()
        .await
        .unwrap();
    let answer = answer.text().await.unwrap();
    let parsed: Value = serde_json::from_str(&answer).unwrap_or_default();
    let token = parsed["refresh_token"].as_str().map(str::to_owned);
    token.ok_or_else(|| Seen(format!("no refresh token: {answer}")))
}

fn refreshing(peer: &Running, store: RotatingSecret) -> RefreshToken {
    let url = peer.token_endpoint();
    RefreshToken::builder(url, peer.id(REPORTS), peer.basic(REPORTS), store)
        .transport(peer.transport())
        .scope("api:read")
        .build()
        .unwrap()
}

pub(super) async fn refresh_token(peer: &Running) -> Outcome {
    let store = RotatingSecret::new(&sign_in(peer).await?);
    let source = refreshing(peer, store.clone());
    for saves in 1..=3 {
        let token = source.token(&TokenRequest::default()).await?;
        assert_eq!(token.scopes().as_str(), "api:read");
        if store.saves() != saves {
            return Err(Seen("not rotated".to_owned()));
        }
    }
    Ok(())
}

pub(super) async fn cached_refresh(peer: &Running) -> Outcome {
    let store = RotatingSecret::new(&sign_in(peer).await?);
    let source = Arc::new(CachedTokenSource::new(refreshing(peer, store.clone())));
    let mut calls = JoinSet::new();
    for _ in 0..20 {
        let source = source.clone();
        calls.spawn(async move { source.token(&TokenRequest::default()).await });
    }
    for token in calls.join_all().await {
        token?;
    }
    assert_eq!(store.saves(), 1);
    Ok(())
}
