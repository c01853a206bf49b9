//! Refresh tokens: the newest one is never lost, and none is used twice.

use std::{sync::Arc, time::Duration};

use hallpass::{
    ErrorKind, Secret, SecretError, SecretSource, SecretStore, TokenRequest, TokenSource,
    async_trait,
    cache::CachedTokenSource,
    endpoint::{RefreshToken, Retry, SourceBuilder},
    secrets::{FileSecret, MemorySecret},
};
use hallpass_testkit::{
    AuthorizationServer, Gate, RotatingSecret, faults,
    leak::{self, Capture},
    raw::{self, RawServer, Reply},
};
use serde_json::json;
use tokio::task::JoinSet;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers};

use super::{
    EVERYTHING, a_thousand_calls, answering, ask, basic, everything, pairs, sent, server,
    shows_nothing, statuses,
};
use crate::support::{ID, secret};

const FIRST: &str = "CANARY-first-refresh-token";
const SECOND: &str = "CANARY-second-refresh-token";

async fn signed_in() -> AuthorizationServer {
    let server = server().await;
    server.issue_refresh_token(ID, FIRST, "orders.read orders.write");
    server
}

fn at(url: &str, store: impl SecretStore + 'static) -> SourceBuilder<RefreshToken> {
    RefreshToken::builder(url, ID, basic(), store)
        .danger_allow_http_on_loopback()
        .retry(Retry::new())
}

fn source(server: &AuthorizationServer, store: impl SecretStore + 'static) -> Arc<RefreshToken> {
    Arc::new(at(&server.token_endpoint(), store).build().unwrap())
}

/// Checks that the stored token is the valid one.
async fn in_step(server: &AuthorizationServer, store: &RotatingSecret) {
    let stored = store.secret().await.unwrap();
    assert!(
        server.live_refresh_tokens() == [stored.expose()],
        "out of step"
    );
}

/// Returns the refresh tokens in the order of use.
fn used(server: &AuthorizationServer) -> Vec<String> {
    let requests = server.token_requests();
    let used = requests
        .iter()
        .map(|request| request.parameter("refresh_token"));
    used.map(|token| token.unwrap().to_owned()).collect()
}

// covers: C-10, C-61
#[tokio::test]
async fn each_exchange_uses_the_newest_and_saves_the_next() {
    let (server, store) = (signed_in().await, RotatingSecret::new(FIRST));
    let source = source(&server, store.clone());
    for saves in 1..=3 {
        let token = ask(&*source).await.unwrap();
        assert_eq!(token.scopes().as_str(), "orders.read orders.write");
        assert_eq!(store.saves(), saves);
        in_step(&server, &store).await;
    }
    assert_eq!(
        sent(&server)[..1],
        pairs(&[("grant_type", "refresh_token")])
    );
    source.token(&everything()).await.unwrap();
    assert_eq!(sent(&server).split_off(2), pairs(&EVERYTHING));
    assert_eq!(statuses(&server), [200; 4]);
    // Storing its own new token does not count as a change of credentials.
    assert_eq!(source.credential_epoch(), 0);
}

#[tokio::test]
async fn a_server_that_does_not_rotate_has_nothing_saved() {
    let (server, store) = (signed_in().await, RotatingSecret::new(FIRST));
    server.stop_rotation();
    let source = source(&server, store.clone());
    for _ in 0..3 {
        ask(&*source).await.unwrap();
    }
    assert_eq!(
        (used(&server), store.saves()),
        (vec![FIRST.to_owned(); 3], 0)
    );
}

/// The server has revoked the previous token.
#[tokio::test]
async fn a_refresh_token_beside_what_cannot_be_read_is_saved() {
    for odd in [
        r#""expires_in":60,"expires_in":60"#,
        r#""expires_in":1e999"#,
        r#""expires_in":-1"#,
        r#""expires_in":"soon""#,
    ] {
        let answer = format!(
            r#"{{"access_token":"t","token_type":"Bearer",{odd},"refresh_token":"{SECOND}"}}"#
        );
        let server = RawServer::always(raw::json(200, answer)).await;
        let store = RotatingSecret::new(FIRST);
        let source = at(&server.url("/"), store.clone()).retry(Retry::never());
        let error = ask(&source.build().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnusableResponse, "{odd}");
        let stored = store.secret().await.unwrap();
        assert_eq!(stored.expose(), SECOND, "{odd}");
        assert_eq!(server.request_count(), 1);
    }
}

/// A server that read the token may have revoked it.
#[tokio::test]
async fn without_retries_a_refresh_token_is_presented_once() {
    let lost = Reply::nothing().then_close();
    let server = RawServer::always(lost).await;
    let source = at(&server.url("/"), RotatingSecret::new(FIRST)).retry(Retry::never());
    let error = ask(&source.build().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(server.request_count(), 1);
}

// covers: F-75, I-13
#[tokio::test]
async fn many_at_once_take_turns() {
    let (server, store) = (signed_in().await, RotatingSecret::new(FIRST));
    let source = source(&server, store.clone());
    let mut calls = JoinSet::new();
    for number in 0..50 {
        let source = source.clone();
        let request = TokenRequest::new()
            .with_audience(&format!("api-{}", number % 5))
            .unwrap();
        calls.spawn(async move { source.token(&request).await.is_ok() });
    }
    assert_eq!(calls.join_all().await, [true; 50]);
    let mut used = used(&server);
    used.sort();
    used.dedup();
    assert_eq!((statuses(&server), used.len()), (vec![200; 50], 50));
    assert_eq!(store.saves(), 50);
    in_step(&server, &store).await;
}

// covers: F-75
#[tokio::test]
async fn the_cache_makes_one_request_of_a_thousand_calls() {
    let (server, store) = (signed_in().await, RotatingSecret::new(FIRST));
    a_thousand_calls(source(&server, store.clone())).await;
    assert_eq!((server.token_request_count(), store.saves()), (1, 1));
}

/// Each cache key has its own flight; the source serializes them.
// covers: C-62
#[tokio::test]
async fn several_keys_of_a_cache_take_turns_too() {
    let (server, store) = (signed_in().await, RotatingSecret::new(FIRST));
    let cached = Arc::new(CachedTokenSource::new(source(&server, store.clone())));
    let mut calls = JoinSet::new();
    for number in 0..1_000 {
        let cached = cached.clone();
        let request = TokenRequest::new()
            .with_audience(&format!("api-{}", number % 10))
            .unwrap();
        calls.spawn(async move { cached.token(&request).await.is_ok() });
    }
    assert_eq!(calls.join_all().await, [true; 1_000]);
    assert_eq!(statuses(&server), [200; 10]);
    in_step(&server, &store).await;
}

/// A store that saves when the gate is open.
#[derive(Debug)]
struct SlowStore(RotatingSecret, Gate);

#[async_trait]
impl SecretSource for SlowStore {
    async fn secret(&self) -> Result<Secret, SecretError> {
        self.0.secret().await
    }
}

#[async_trait]
impl SecretStore for SlowStore {
    async fn save(&self, secret: &Secret) -> Result<(), SecretError> {
        self.1.pass().await;
        self.0.save(secret).await
    }
}

// covers: F-72
#[tokio::test]
async fn a_call_that_is_dropped_loses_nothing_and_stops_nobody() {
    let (server, store) = (signed_in().await, RotatingSecret::new(FIRST));
    let gate = Gate::new();
    let source = source(&server, SlowStore(store.clone(), gate.clone()));
    let call = || {
        let source = source.clone();
        tokio::spawn(async move { ask(&*source).await.is_ok() })
    };
    let dropped = call();
    gate.arrived(1).await;
    let (waiting, leaving) = (call(), call());
    dropped.abort();
    leaving.abort();
    assert!(dropped.await.unwrap_err().is_cancelled());
    gate.open();
    assert!(waiting.await.unwrap());
    // The caller that left while waiting sent no request.
    assert_eq!((statuses(&server), store.saves()), (vec![200, 200], 2));
    in_step(&server, &store).await;
}

#[tokio::test]
async fn where_saving_fails_the_new_one_is_used_and_saved_later() {
    let capture = Capture::start();
    let (server, store) = (signed_in().await, RotatingSecret::new(FIRST));
    let source = source(&server, store.clone());
    store.fail_saving(Some(SecretError::unavailable("the disk is full")));
    for saves in [1, 3] {
        ask(&*source).await.unwrap();
        // From the second on, the previous token is tried first.
        assert_eq!(store.saves(), saves);
    }
    assert!(capture.text().contains("WARN") && capture.text().contains("the disk is full"));
    store.fail_saving(None);
    ask(&*source).await.unwrap();
    assert_eq!((statuses(&server), store.saves()), (vec![200; 3], 5));
    in_step(&server, &store).await;
    for token in server.refresh_tokens() {
        leak::assert_clean(&capture.text(), &token);
        leak::assert_clean(&format!("{source:?}"), &token);
    }
}

#[tokio::test]
async fn one_that_was_not_saved_gives_way_to_a_new_sign_in() {
    let (server, store) = (signed_in().await, RotatingSecret::new(FIRST));
    let source = source(&server, store.clone());
    store.fail_saving(Some(SecretError::unavailable("the disk is full")));
    ask(&*source).await.unwrap();
    server.issue_refresh_token(ID, SECOND, "orders.read");
    store.rotate(SECOND);
    store.fail_saving(None);
    ask(&*source).await.unwrap();
    assert_eq!(used(&server), [FIRST, SECOND]);
    let stored = store.secret().await.unwrap();
    assert!(
        server
            .live_refresh_tokens()
            .contains(&stored.expose().to_owned())
    );
}

// covers: C-28, F-110
#[tokio::test]
async fn after_a_refusal_a_newer_token_from_the_store_is_used() {
    let (server, store) = (signed_in().await, RotatingSecret::new(SECOND));
    let source = source(&server, store.clone());
    let error = ask(&*source).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.is_transient()),
        (ErrorKind::CredentialsRefused, false)
    );
    assert!(error.hint().unwrap().contains("sign in again"));
    assert_eq!((statuses(&server), store.refusals()), (vec![400], 1));

    store.rotate_after_reading(FIRST);
    ask(&*source).await.unwrap();
    assert_eq!(statuses(&server), [400, 400, 200]);
    in_step(&server, &store).await;
}

#[tokio::test]
async fn one_that_is_used_twice_voids_all() {
    let server = signed_in().await;
    let thief = source(&server, MemorySecret::new(secret(FIRST)));
    let source = source(&server, MemorySecret::new(secret(FIRST)));
    ask(&*source).await.unwrap();
    assert!(ask(&*thief).await.is_err());
    assert!(ask(&*source).await.is_err());
    assert!(server.live_refresh_tokens().is_empty());
}

// covers: C-23, C-28
#[tokio::test]
async fn more_than_was_granted_is_refused_and_costs_no_refresh_token() {
    let server = server().await;
    server.issue_refresh_token(ID, FIRST, "orders.read");
    let store = RotatingSecret::new(FIRST);
    let source = source(&server, store.clone());
    let more = TokenRequest::new().with_scopes("orders.write".parse().unwrap());
    let error = source.token(&more).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RequestRefused);
    assert_eq!((store.refusals(), store.saves()), (0, 0));
    ask(&*source).await.unwrap();
}

#[tokio::test]
async fn a_failure_in_passing_is_tried_again_with_the_same() {
    let (server, store) = (signed_in().await, RotatingSecret::new(FIRST));
    server.inject_faults([faults::named("status_503").unwrap()]);
    let source = RefreshToken::builder(server.token_endpoint(), ID, basic(), store.clone())
        .danger_allow_http_on_loopback()
        .retry(Retry::new().min_delay(Duration::from_millis(1)))
        .build()
        .unwrap();
    ask(&source).await.unwrap();
    assert_eq!(used(&server), [FIRST, FIRST]);
    in_step(&server, &store).await;
}

/// The server has revoked the previous token, regardless of other errors in its response.
#[tokio::test]
async fn an_access_token_that_cannot_be_used_does_not_lose_it() {
    for body in [
        json!({ "access_token": "t", "token_type": "mac", "refresh_token": SECOND }),
        json!({ "access_token": "", "token_type": "Bearer", "refresh_token": SECOND }),
        json!({ "token_type": "Bearer", "refresh_token": SECOND }),
        json!({ "access_token": "t", "token_type": "Bearer", "scope": [], "refresh_token": SECOND }),
    ] {
        let server = answering(200, "none", body).await;
        let store = RotatingSecret::new(FIRST);
        let source = at(&server.uri(), store.clone()).build().unwrap();
        let error = ask(&source).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnusableResponse);
        assert_eq!(store.secret().await.unwrap().expose(), SECOND);
    }
    let body = json!({ "access_token": "t", "token_type": "Bearer", "refresh_token": SECOND });
    let answer = ResponseTemplate::new(200).set_body_raw(body.to_string(), "text/plain");
    let server = MockServer::start().await;
    let mock = Mock::given(matchers::any()).respond_with(answer);
    mock.mount(&server).await;
    let store = RotatingSecret::new(FIRST);
    let source = at(&server.uri(), store.clone()).build().unwrap();
    let error = ask(&source).await.unwrap_err();
    assert!(error.to_string().contains("content type"), "{error}");
    assert_eq!(store.secret().await.unwrap().expose(), SECOND);

    // No new token: the previous one remains valid.
    for refresh_token in [json!(null), json!(""), json!(17)] {
        let body = json!({
            "access_token": "t", "token_type": "Bearer", "refresh_token": refresh_token,
        });
        let server = answering(200, "none", body).await;
        let store = RotatingSecret::new(FIRST);
        let source = at(&server.uri(), store.clone()).build().unwrap();
        ask(&source).await.unwrap();
        assert_eq!(store.saves(), 0);
    }
}

#[tokio::test]
async fn a_file_carries_it_from_one_run_to_the_next() {
    let folder = std::env::temp_dir().join(format!("hallpass-refresh-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("token");
    std::fs::write(&path, FIRST).unwrap();
    let server = signed_in().await;
    for _ in 0..3 {
        ask(&*source(&server, FileSecret::new(&path)))
            .await
            .unwrap();
    }
    let saved = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(server.live_refresh_tokens() == [saved.trim_end()]);
    assert_eq!(statuses(&server), [200; 3]);
}

// covers: C-10, C-61
#[tokio::test]
async fn two_sources_of_one_file_may_be_used_in_turn() {
    let folder = std::env::temp_dir().join(format!("hallpass-in-turn-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("token");
    std::fs::write(&path, FIRST).unwrap();
    let server = signed_in().await;
    let sources = [(); 2].map(|()| source(&server, FileSecret::new(&path)));
    let mut results = Vec::new();
    for _ in 0..3 {
        for source in &sources {
            results.push(ask(&**source).await.map(drop));
        }
    }
    let saved = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert!(server.live_refresh_tokens() == [saved.trim_end()]);
    let mut used = used(&server);
    used.dedup();
    assert_eq!((statuses(&server), used.len()), (vec![200; 6], 6));
}

// covers: F-33, F-99, F-100, F-101
#[tokio::test]
async fn refresh_tokens_are_neither_shown_nor_traced() {
    let build = |url: &str| at(url, MemorySecret::new(secret(FIRST)));
    shows_nothing("refresh_token", FIRST, build, |builder| {
        builder.build().unwrap()
    })
    .await;
}
