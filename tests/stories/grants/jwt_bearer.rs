//! JWT bearer grant: assertions that are signed here, and assertions that are read.

use std::collections::HashSet;

use hallpass::{
    ErrorKind, SecretSource, TokenRequest, TokenSource,
    endpoint::{
        Anonymous, AssertionSource, AuthenticationContext, JwtBearer, Retry, SecretAssertion,
        SourceBuilder,
    },
    jwt::{AssertionSettings, SignedAssertion},
};
use hallpass_testkit::{AuthorizationServer, RotatingSecret, faults};

use super::{
    EVERYTHING, SECRET, a_thousand_calls, ask, basic, everything, pairs, sent, server,
    shows_nothing, statuses,
};
use crate::{
    assertions::{assert_off, clocks_off},
    shared::assertions::key,
    support::{ID, secret},
};

const OTHER: &str = "CANARY-another-of-more-than-32-bytes";

fn settings(server: &AuthorizationServer) -> AssertionSettings {
    AssertionSettings::new(&server.issuer()).unwrap()
}

fn signed(server: &AuthorizationServer, text: &str) -> SignedAssertion {
    SignedAssertion::new(settings(server), key(text)).subject("jane")
}

fn builder(
    server: &AuthorizationServer,
    assertion: impl AssertionSource + 'static,
) -> SourceBuilder<JwtBearer> {
    JwtBearer::builder(server.token_endpoint(), ID, Anonymous::new(), assertion)
        .danger_allow_http_on_loopback()
}

/// An assertion as another program creates it.
async fn jwt(source: &SignedAssertion) -> String {
    let context = AuthenticationContext::new(ID, "https://login.example/token");
    let made = source.assertion(&context, &TokenRequest::default()).await;
    made.unwrap().expose().to_owned()
}

// covers: C-50, C-10, C-61
#[tokio::test]
async fn an_assertion_stands_alone_or_beside_a_client() {
    let server = server().await;
    let source = builder(&server, signed(&server, SECRET)).build().unwrap();
    let token = ask(&source).await.unwrap();
    assert_eq!(token.scopes().as_str(), "orders.read orders.write");
    let [grant, assertion] = <[_; 2]>::try_from(sent(&server)).unwrap();
    assert_eq!(grant.1, "urn:ietf:params:oauth:grant-type:jwt-bearer");
    assert_eq!(assertion.0, "assertion");
    let request = server.token_requests().remove(0);
    assert_eq!(request.header("authorization"), None);

    let both = JwtBearer::builder(
        server.token_endpoint(),
        ID,
        basic(),
        signed(&server, SECRET),
    )
    .danger_allow_http_on_loopback()
    .build()
    .unwrap();
    let token = both.token(&everything()).await.unwrap();
    assert_eq!(token.scopes().as_str(), "orders.read");
    assert_eq!(sent(&server).split_off(2), pairs(&EVERYTHING));
    assert_eq!(statuses(&server), [200, 200]);
}

// covers: C-48
#[tokio::test]
async fn each_retry_has_an_assertion_of_its_own() {
    let server = server().await;
    let down = faults::named("status_503").unwrap();
    server.inject_faults([down, down]);
    let source = builder(&server, signed(&server, SECRET)).build().unwrap();
    ask(&source).await.unwrap();
    let requests = server.token_requests();
    let assertions = requests
        .iter()
        .map(|request| request.parameter("assertion"));
    assert_eq!(assertions.collect::<HashSet<_>>().len(), 3);
    assert_eq!(statuses(&server), [503, 503, 200]);
}

// covers: C-28, F-110
#[tokio::test]
async fn one_that_was_made_is_refused_once_unless_its_key_changed() {
    let server = server().await;
    let wrong = builder(&server, signed(&server, OTHER)).build().unwrap();
    let error = ask(&wrong).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CredentialsRefused);
    assert!(!error.is_transient());
    let hint = error.hint().unwrap();
    assert!(
        hint.starts_with("check that the server knows the key"),
        "{hint}"
    );
    assert_eq!(statuses(&server), [400]);

    let file = RotatingSecret::new(OTHER);
    file.rotate_after_reading(SECRET);
    let read = |text: &str| Ok(key(text));
    let rotating = SignedAssertion::from_source(settings(&server), file.clone(), read);
    let source = builder(&server, rotating).build().unwrap();
    ask(&source).await.unwrap();
    assert_eq!(statuses(&server), [400, 400, 200]);
    assert_eq!((file.reads(), file.refusals()), (2, 1));
}

// covers: F-110
#[tokio::test]
async fn one_that_was_read_is_read_again_and_tried_if_it_changed() {
    let server = server().await;
    let file = RotatingSecret::new(&jwt(&signed(&server, OTHER)).await);
    let source = builder(&server, SecretAssertion::new(file.clone()))
        .build()
        .unwrap();
    let error = ask(&source).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CredentialsRefused);
    assert_eq!(statuses(&server), [400]);
    assert_eq!((file.reads(), file.refusals()), (2, 1));

    file.rotate_after_reading(&jwt(&signed(&server, SECRET)).await);
    ask(&source).await.unwrap();
    assert_eq!(statuses(&server), [400, 400, 200]);
    assert_eq!(source.credential_epoch(), SecretSource::epoch(&file));
}

// covers: C-48
#[tokio::test]
async fn one_that_came_before_is_refused() {
    let server = server().await;
    let recorded = secret(&jwt(&signed(&server, SECRET)).await);
    let source = builder(&server, SecretAssertion::new(recorded))
        .build()
        .unwrap();
    ask(&source).await.unwrap();
    let error = ask(&source).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CredentialsRefused);
    assert_eq!(statuses(&server), [200, 400]);
}

#[tokio::test]
async fn a_refused_client_is_not_a_refused_assertion() {
    let server = server().await;
    let file = RotatingSecret::new(&jwt(&signed(&server, SECRET)).await);
    let client = hallpass::endpoint::ClientSecretPost::new(secret(OTHER));
    let source = JwtBearer::builder(
        server.token_endpoint(),
        ID,
        client,
        SecretAssertion::new(file.clone()),
    )
    .danger_allow_http_on_loopback()
    .build()
    .unwrap();
    let error = ask(&source).await.unwrap_err();
    assert_eq!(error.oauth_error().unwrap().code(), "invalid_client");
    assert_eq!((statuses(&server), file.refusals()), (vec![401], 0));
}

// covers: F-71
#[tokio::test]
async fn the_error_for_a_wrong_clock_has_the_difference() {
    let server = server().await;
    for (clock, side) in clocks_off() {
        let assertion = SignedAssertion::new(settings(&server).clock(clock), key(SECRET));
        let source = builder(&server, assertion).build().unwrap();
        assert_off(&ask(&source).await.unwrap_err(), side);
    }
}

// covers: F-75
#[tokio::test]
async fn the_cache_makes_one_request_of_a_thousand_calls() {
    let server = server().await;
    let source = builder(&server, signed(&server, SECRET)).build().unwrap();
    a_thousand_calls(source).await;
    assert_eq!(server.token_request_count(), 1);
}

// covers: C-15, F-33, F-37, F-99, F-100, F-101
#[tokio::test]
async fn an_assertion_is_neither_shown_nor_traced() {
    let stale = "aGVhZGVy.eyJzdWIiOiJqYW5lIn0.CANARY-signature";
    let build = |url: &str| {
        JwtBearer::builder(url, ID, basic(), SecretAssertion::new(secret(stale)))
            .danger_allow_http_on_loopback()
            .retry(Retry::never())
    };
    shows_nothing("assertion", stale, build, |builder| {
        builder.build().unwrap()
    })
    .await;
}
