//! Token exchange: subject and actor tokens that are read, and those from another source.

use std::{sync::Arc, time::Duration};

use hallpass::{
    ErrorKind, TokenError, TokenRequest, TokenSource,
    cache::CachedTokenSource,
    endpoint::{
        ClientCredentials, Retry, SecurityToken, SourceBuilder, TokenExchange, TokenTypeUri,
    },
};
use hallpass_testkit::{
    AuthorizationServer, RotatingSecret, ScriptedSource, StaticSource,
    raw::{self, RawServer},
};
use serde_json::json;

use super::{
    EVERYTHING, a_thousand_calls, answering, ask, basic, everything, pairs, sent, server,
    shows_nothing, statuses,
};
use crate::support::{ID, secret};

const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const SUBJECT: &str = "CANARY-subject";

fn at(url: &str, subject: SecurityToken) -> SourceBuilder<TokenExchange> {
    TokenExchange::builder(url, ID, basic(), subject)
        .danger_allow_http_on_loopback()
        .retry(Retry::new())
}

fn builder(server: &AuthorizationServer, subject: SecurityToken) -> SourceBuilder<TokenExchange> {
    at(&server.token_endpoint(), subject)
}

fn read(text: &str) -> SecurityToken {
    SecurityToken::from_secret(secret(text), TokenTypeUri::JWT)
}

/// Returns the server's own token, the same for all calls.
fn own(server: &AuthorizationServer) -> Arc<dyn TokenSource> {
    let source = ClientCredentials::builder(server.token_endpoint(), ID, basic())
        .danger_allow_http_on_loopback()
        .build()
        .unwrap();
    Arc::new(CachedTokenSource::new(source))
}

// covers: C-10, C-58, C-59, C-61
#[tokio::test]
async fn subject_actor_and_what_is_asked_are_sent_with_their_types() {
    let server = server().await;
    server.trust_token(SUBJECT, JWT);
    server.trust_token("actor", "urn:example:token");
    let source = builder(&server, read(SUBJECT)).build().unwrap();
    let token = ask(&source).await.unwrap();
    assert_eq!(token.scopes().as_str(), "orders.read orders.write");
    assert_eq!(
        token.extra("issued_token_type"),
        Some(format!("{ACCESS_TOKEN:?}").as_str())
    );
    let mut expected = pairs(&[
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("subject_token", SUBJECT),
        ("subject_token_type", JWT),
    ]);
    assert_eq!(sent(&server), expected);

    let kind = TokenTypeUri::new("urn:example:token").unwrap();
    let source = builder(&server, read(SUBJECT))
        .actor(SecurityToken::from_secret(secret("actor"), kind))
        .requested_token_type(TokenTypeUri::JWT)
        .build()
        .unwrap();
    source.token(&everything()).await.unwrap();
    expected.extend(pairs(&[
        ("actor_token", "actor"),
        ("actor_token_type", "urn:example:token"),
        ("requested_token_type", JWT),
    ]));
    expected.extend(pairs(&EVERYTHING));
    assert_eq!(sent(&server), expected);
    assert_eq!(statuses(&server), [200, 200]);
}

#[test]
fn a_type_is_an_absolute_uri() {
    for wrong in ["", "jwt", "access token", "urn:ex ample"] {
        assert_eq!(
            TokenTypeUri::new(wrong).unwrap_err().setting(),
            "token_type"
        );
    }
    assert_eq!(TokenTypeUri::new(JWT).unwrap(), TokenTypeUri::JWT);
}

// covers: C-28, F-110
#[tokio::test]
async fn a_refused_token_is_read_again_and_used_if_it_changed() {
    let server = server().await;
    server.trust_token(SUBJECT, JWT);
    for parties in 1..=2 {
        let file = RotatingSecret::new("CANARY-stale");
        let party = SecurityToken::from_secret(file.clone(), TokenTypeUri::JWT);
        let source = if parties == 1 {
            builder(&server, party)
        } else {
            builder(&server, read(SUBJECT)).actor(party)
        };
        let source = source.build().unwrap();
        let before = statuses(&server).len();
        let error = ask(&source).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CredentialsRefused);
        assert!(
            error
                .hint()
                .unwrap()
                .starts_with("check the subject's token")
        );
        assert_eq!((file.reads(), file.refusals()), (2, 1));
        file.rotate_after_reading(SUBJECT);
        ask(&source).await.unwrap();
        assert_eq!(statuses(&server)[before..], [400, 400, 200]);
        assert_eq!(source.credential_epoch(), 1);
    }
}

/// Also as `invalid_grant`, which some servers return.
// covers: F-110
#[tokio::test]
async fn a_refused_subject_token_is_reported_and_read_again() {
    let server = server().await;
    let source = builder(&server, SecurityToken::from_source(own(&server)));
    let source = source.build().unwrap();
    ask(&source).await.unwrap();
    assert_eq!(statuses(&server), [200, 200]);
    ask(&source).await.unwrap();
    assert_eq!(statuses(&server), [200; 3], "the subject is from the cache");
    server.revoke_all_tokens();
    ask(&source).await.unwrap();
    assert_eq!(statuses(&server)[3..], [400, 200, 200]);

    let file = RotatingSecret::new("CANARY-stale");
    let refusing = answering(400, "none", json!({ "error": "invalid_grant" })).await;
    let party = SecurityToken::from_secret(file.clone(), TokenTypeUri::JWT);
    let source = at(&refusing.uri(), party).build().unwrap();
    let error = ask(&source).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CredentialsRefused);
    assert_eq!(file.refusals(), 1);
}

// covers: F-110
#[tokio::test]
async fn a_refused_token_that_its_source_returns_again_is_not_resent() {
    let refusal = raw::json(400, r#"{"error":"invalid_grant"}"#);
    let server = RawServer::always(refusal).await;
    let subject = SecurityToken::from_source(StaticSource::new("stale"));
    let source = at(&server.url("/token"), subject).build().unwrap();
    let error = ask(&source).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CredentialsRefused);
    assert_eq!(server.request_count(), 1);
}

// covers: C-22
#[tokio::test]
async fn it_lives_no_longer_than_what_it_was_exchanged_for() {
    const MINUTE: Duration = Duration::from_secs(60);
    let server = server().await;
    server.set_lifetime(MINUTE);
    let own = own(&server);
    let first = ask(&*own).await.unwrap();
    server.set_lifetime(Duration::from_secs(3_600));
    let source = builder(&server, SecurityToken::from_source(own));
    let token = ask(&source.build().unwrap()).await.unwrap();
    assert!(token.lifetime() <= MINUTE, "{:?}", token.lifetime());
    assert_eq!(token.deadline(), first.deadline());

    let forever = json!({
        "access_token": "t", "token_type": "Bearer", "issued_token_type": ACCESS_TOKEN,
    });
    let untold = answering(200, "none", forever).await;
    let subject = SecurityToken::from_source(ScriptedSource::new([Ok(first.clone())]));
    let token = ask(&at(&untold.uri(), subject).build().unwrap())
        .await
        .unwrap();
    assert_eq!(token.deadline(), first.deadline());
    // If nothing is specified, the defaults apply.
    let token = ask(&at(&untold.uri(), read(SUBJECT)).build().unwrap())
        .await
        .unwrap();
    assert_eq!(token.lifetime(), Duration::from_secs(300));
}

// covers: C-60
#[tokio::test]
async fn what_is_no_access_token_is_refused() {
    let refresh = "urn:ietf:params:oauth:token-type:refresh_token";
    for (token_type, issued, says) in [
        ("Bearer", json!(null), "no `issued_token_type`"),
        ("Bearer", json!(""), "no `issued_token_type`"),
        ("Bearer", json!(17), "no `issued_token_type`"),
        ("Bearer", json!(refresh), "a refresh token"),
        ("N_A", json!(ACCESS_TOKEN), "`token_type` is `N_A`"),
        ("n_a", json!(refresh), "`token_type` is `N_A`"),
    ] {
        let body = json!({
            "access_token": "t", "token_type": token_type, "issued_token_type": issued,
        });
        let server = answering(200, "none", body).await;
        let error = ask(&at(&server.uri(), read(SUBJECT)).build().unwrap()).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnusableResponse, "{issued}");
        assert!(error.to_string().contains(says), "{error}");
    }
}

/// A duplicate member that decides whether this is a token must be refused as ambiguous.
#[tokio::test]
async fn an_issued_token_type_that_comes_twice_is_refused() {
    let refresh = "urn:ietf:params:oauth:token-type:refresh_token";
    let answer = format!(
        r#"{{"access_token":"t","token_type":"Bearer","issued_token_type":"{ACCESS_TOKEN}","issued_token_type":"{refresh}"}}"#
    );
    let server = RawServer::always(raw::json(200, answer)).await;
    let error = ask(&at(&server.url("/"), read(SUBJECT)).build().unwrap()).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnusableResponse);
    assert!(error.to_string().contains("twice"), "{error}");
}

#[tokio::test]
async fn where_there_is_no_subject_nothing_is_sent() {
    let server = server().await;
    let down = TokenError::unavailable("the other server is down")
        .with_retry_after(Duration::from_secs(7));
    let subject = SecurityToken::from_source(ScriptedSource::new([Err(down)]));
    let error = ask(&builder(&server, subject).build().unwrap()).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    let expected = "the subject's token could not be obtained: the other server is down";
    assert!(error.to_string().starts_with(expected), "{error}");
    assert_eq!(server.token_request_count(), 0);
}

#[tokio::test]
async fn a_source_is_asked_for_what_was_set() {
    let server = server().await;
    let request = TokenRequest::new().with_audience("exchange").unwrap();
    let subject = SecurityToken::from_source(own(&server)).request(request);
    let source = builder(&server, subject.token_type(TokenTypeUri::ACCESS_TOKEN));
    ask(&source.build().unwrap()).await.unwrap();
    let requests = server.token_requests();
    assert_eq!(requests[0].parameter("audience"), Some("exchange"));
    assert_eq!(requests[1].parameter("audience"), None);
}

// covers: F-75
#[tokio::test]
async fn the_cache_makes_one_request_of_a_thousand_calls() {
    let server = server().await;
    server.trust_token(SUBJECT, JWT);
    a_thousand_calls(builder(&server, read(SUBJECT)).build().unwrap()).await;
    assert_eq!(server.token_request_count(), 1);
}

// covers: C-15, F-33, F-37, F-99, F-100, F-101
#[tokio::test]
async fn subject_and_actor_are_neither_shown_nor_traced() {
    const ACTOR: &str = "CANARY-actor";
    for (parameter, canary) in [("subject_token", SUBJECT), ("actor_token", ACTOR)] {
        let build = |url: &str| at(url, read(SUBJECT)).actor(read(ACTOR));
        shows_nothing(parameter, canary, build, |builder| builder.build().unwrap()).await;
    }
}
