//! The other grants against an authorization server that shares no code with ours.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use hallpass::{
    ErrorKind, OAuthError, SecretSource as _, SecretStore, TokenError, TokenRequest, TokenSource,
    cache::CachedTokenSource,
    endpoint::{
        AssertionSource, AuthenticationContext, ClientCredentials, ClientSecretBasic, JwtBearer,
        RefreshToken, SecretAssertion, SecurityToken, TokenExchange, TokenTypeUri,
    },
    jwt::{Algorithm, AssertionSettings, SignedAssertion, SigningKey},
};
use hallpass_testkit::{ManualClock, RotatingSecret};
use serde_json::Value;

use crate::{
    assertions::{assert_off, clocks_off},
    peer::OidcProvider,
    support::secret,
};

const EXCHANGE: &str = "exchange";
const REPORTS: &str = "reports";

fn basic(peer: &OidcProvider, id: &str) -> ClientSecretBasic {
    ClientSecretBasic::new(secret(peer.client_secret(id)))
}

fn settings(peer: &OidcProvider) -> AssertionSettings {
    AssertionSettings::new(peer.received("issuer")).unwrap()
}

/// Creates a source of assertions signed with the key that is registered for the client of this name.
fn signed(settings: AssertionSettings, peer: &OidcProvider, name: &str) -> SignedAssertion {
    let pem = Path::new(peer.received("keys")).join(format!("{name}.pem"));
    let key = SigningKey::from_pem(&fs::read_to_string(pem).unwrap());
    SignedAssertion::new(settings, key.unwrap().with_key_id(name))
        .issuer("key-es256")
        .subject("jane")
}

async fn jwt(source: &SignedAssertion) -> String {
    let context = AuthenticationContext::new(EXCHANGE, "https://login.example/token");
    let made = source.assertion(&context, &TokenRequest::default()).await;
    made.unwrap().expose().to_owned()
}

async fn bear(
    peer: &OidcProvider,
    assertion: impl AssertionSource + 'static,
) -> Result<(), TokenError> {
    let url = peer.received("token_endpoint");
    let source = JwtBearer::builder(url, EXCHANGE, basic(peer, EXCHANGE), assertion)
        .danger_allow_http_on_loopback()
        .scope("api:read")
        .build()
        .unwrap();
    let token = source.token(&TokenRequest::default()).await?;
    assert_eq!(token.scopes().as_str(), "api:read");
    Ok(())
}

async fn exchange(
    peer: &OidcProvider,
    subject: SecurityToken,
    actor: Option<SecurityToken>,
) -> Result<(), TokenError> {
    let url = peer.received("token_endpoint");
    let builder = TokenExchange::builder(url, EXCHANGE, basic(peer, EXCHANGE), subject)
        .danger_allow_http_on_loopback()
        .audience("billing")
        .audience("orders")
        .requested_token_type(TokenTypeUri::ACCESS_TOKEN)
        .scope("api:read");
    let builder = match actor {
        Some(actor) => builder.actor(actor),
        None => builder,
    };
    let token = builder
        .build()
        .unwrap()
        .token(&TokenRequest::default())
        .await?;
    assert_eq!(token.scopes().as_str(), "api:read");
    Ok(())
}

fn read(text: &str) -> SecurityToken {
    SecurityToken::from_secret(secret(text), TokenTypeUri::JWT)
}

fn refused(result: Result<(), TokenError>, code: &str) -> TokenError {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CredentialsRefused, "{error}");
    assert_eq!(
        error.oauth_error().map(OAuthError::code),
        Some(code),
        "{error}"
    );
    error
}

/// A defect of a JWT, and the server's message about it.
fn wrong(peer: &OidcProvider) -> [(&'static str, SignedAssertion); 4] {
    let elsewhere = AssertionSettings::new("https://elsewhere.example").unwrap();
    let (key, _) = SigningKey::generate(Algorithm::Es256).unwrap();
    let another_key = SignedAssertion::new(settings(peer), key.with_key_id("es256"));
    [
        ("VERIFICATION_FAILED", another_key.issuer("key-es256")),
        (
            "JWKS_NO_MATCHING_KEY",
            signed(settings(peer), peer, "es384"),
        ),
        ("CLAIM_VALIDATION_FAILED", signed(elsewhere, peer, "es256")),
        (
            "no keys here",
            signed(settings(peer), peer, "es256").issuer("basic"),
        ),
    ]
}

// covers: C-48, C-50
#[tokio::test]
async fn it_takes_an_assertion_once_and_no_wrong_one() {
    let Some(mut peer) = OidcProvider::start(&[]).await else {
        return;
    };
    let good = signed(settings(&peer), &peer, "es256");
    for _ in 0..2 {
        bear(&peer, good.clone()).await.unwrap();
        assert_eq!(peer.served().await, 200);
    }
    for (says, wrong) in wrong(&peer) {
        let error = refused(bear(&peer, wrong).await, "invalid_grant");
        let said = error.oauth_error().unwrap().description().unwrap();
        let hint = error.hint().unwrap();
        assert!(
            hint.starts_with("check that the server knows the key"),
            "{says}: {hint}"
        );
        // oidc-provider does not disclose the reason of an `invalid_grant`.
        assert_eq!(said, "grant request is invalid");
        assert_eq!(peer.served().await, 400, "{says}");
    }
    let recorded = secret(&jwt(&good).await);
    bear(&peer, SecretAssertion::new(recorded.clone()))
        .await
        .unwrap();
    assert_eq!(peer.served().await, 200);
    refused(
        bear(&peer, SecretAssertion::new(recorded)).await,
        "invalid_grant",
    );
    assert_eq!(peer.served().await, 400);
}

// covers: F-71
#[tokio::test]
async fn the_error_for_a_wrong_clock_has_the_difference() {
    let Some(peer) = OidcProvider::start(&[]).await else {
        return;
    };
    for (clock, side) in clocks_off() {
        let assertion = signed(settings(&peer).clock(clock), &peer, "es256");
        assert_off(
            &refused(bear(&peer, assertion).await, "invalid_grant"),
            side,
        );
    }
}

// covers: C-58, C-59, C-60
#[tokio::test]
async fn it_exchanges_what_it_can_verify() {
    let Some(mut peer) = OidcProvider::start(&[]).await else {
        return;
    };
    let good = signed(settings(&peer), &peer, "es256");
    exchange(&peer, read(&jwt(&good).await), None)
        .await
        .unwrap();
    assert_eq!(peer.served().await, 200);

    // Its own token as the actor, from a cache: one more request the first time.
    let url = peer.received("token_endpoint");
    let own = ClientCredentials::builder(url, EXCHANGE, basic(&peer, EXCHANGE))
        .danger_allow_http_on_loopback()
        .build()
        .unwrap();
    let own: Arc<dyn TokenSource> = Arc::new(CachedTokenSource::new(own));
    for _ in 0..2 {
        let actor = SecurityToken::from_source(own.clone());
        exchange(&peer, read(&jwt(&good).await), Some(actor))
            .await
            .unwrap();
    }
    for _ in 0..3 {
        assert_eq!(peer.served().await, 200);
    }

    for (says, wrong) in wrong(&peer) {
        let subject = read(&jwt(&wrong).await);
        let error = refused(exchange(&peer, subject, None).await, "invalid_request");
        let said = error.oauth_error().unwrap().description().unwrap();
        assert!(said.contains(says), "{said}");
        let actor = read(&jwt(&wrong).await);
        let subject = read(&jwt(&good).await);
        refused(
            exchange(&peer, subject, Some(actor)).await,
            "invalid_request",
        );
        assert_eq!([peer.served().await, peer.served().await], [400, 400]);
    }
    let expired = ManualClock::new();
    expired.set_wall(SystemTime::now() - Duration::from_secs(600));
    let expired = signed(settings(&peer).clock(expired), &peer, "es256");
    let error = exchange(&peer, read(&jwt(&expired).await), None).await;
    let error = refused(error, "invalid_request");
    let said = error.oauth_error().unwrap().description().unwrap();
    assert!(said.contains("ERR_JWT_EXPIRED"), "{said}");
    assert_eq!(peer.served().await, 400);
}

/// Obtains an initial refresh token, as an interactive sign-in would.
async fn sign_in(peer: &mut OidcProvider) -> String {
    let answer = reqwest::Client::new()
        .post(peer.received("token_endpoint"))
        .basic_auth(REPORTS, Some(peer.client_secret(REPORTS)))
        .header("content-type", "application/x-www-form-urlencoded")
        .body("grant_type=urn:peer:sign-in")
        .send()
        .await
        .unwrap();
    let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(peer.served().await, 200, "{answer}");
    answer["refresh_token"].as_str().unwrap().to_owned()
}

fn refreshing(peer: &OidcProvider, store: impl SecretStore + 'static) -> RefreshToken {
    let url = peer.received("token_endpoint");
    RefreshToken::builder(url, REPORTS, basic(peer, REPORTS), store)
        .danger_allow_http_on_loopback()
        .scope("api:read")
        .build()
        .unwrap()
}

#[tokio::test]
async fn it_rotates_refresh_tokens_and_refuses_one_that_was_used() {
    let Some(mut peer) = OidcProvider::start(&[]).await else {
        return;
    };
    let first = sign_in(&mut peer).await;
    let store = RotatingSecret::new(&first);
    let source = refreshing(&peer, store.clone());
    let request = TokenRequest::default();
    for saves in 1..=3 {
        let token = source.token(&request).await.unwrap();
        assert_eq!(token.scopes().as_str(), "api:read");
        assert_eq!((peer.served().await, store.saves()), (200, saves));
    }
    // The newest token stays valid until an old one is used: then all are revoked.
    let stolen = refreshing(&peer, secret_store(&first));
    let error = stolen.token(&request).await.unwrap_err();
    assert!(error.hint().unwrap().contains("sign in again"), "{error}");
    assert_eq!(peer.served().await, 400);
    refused(source.token(&request).await.map(|_| ()), "invalid_grant");
    assert_eq!(peer.served().await, 400);

    // A user signs in again, and the new token is stored.
    store.rotate(&sign_in(&mut peer).await);
    source.token(&request).await.unwrap();
    assert_eq!(peer.served().await, 200);
}

// covers: F-75
#[tokio::test]
async fn many_at_once_never_use_one_twice() {
    let Some(mut peer) = OidcProvider::start(&[]).await else {
        return;
    };
    let first = sign_in(&mut peer).await;
    let store = RotatingSecret::new(&first);
    let source = Arc::new(refreshing(&peer, store.clone()));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let source = source.clone();
        calls.spawn(async move { source.token(&TokenRequest::default()).await.is_ok() });
    }
    assert_eq!(calls.join_all().await, [true; 20]);
    for _ in 0..20 {
        assert_eq!(peer.served().await, 200);
    }
    assert!(store.secret().await.unwrap().expose() != first);
    assert_eq!(store.saves(), 20);
}

fn secret_store(text: &str) -> impl SecretStore + 'static {
    hallpass::secrets::MemorySecret::new(secret(text))
}
