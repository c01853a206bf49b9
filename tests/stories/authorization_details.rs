//! Authorization details (RFC 9396): requested, granted, cached, shared and refused.

use std::{sync::Arc, time::Duration};

use hallpass::{
    AccessToken, AuthorizationDetails, ErrorKind, SystemClock, TokenError, TokenRequest,
    TokenSource as _,
    cache::{CachedTokenSource, MemoryTokenStore, TokenStore},
    endpoint::{ClientCredentials, SourceBuilder},
    redis_store::RedisTokenStore,
};
use hallpass_testkit::{
    AuthorizationServer, Client, leak,
    raw::{self, RawServer},
};
use serde_json::{Value, json};

use crate::{
    discovery::{self, discover, document, ok},
    shared::redis_server::RedisServer,
    support::{CANARY, ID, builder, fetch, secret},
};

const PAYMENT: &str = r#"[{"type":"payment","amount":"12.50"}]"#;
const KEY: &str = "a2V5IG9uZSBrZXkgb25lIGtleSBvbmUga2V5IG9uZSA=";

async fn server() -> AuthorizationServer {
    let client = Client::new(ID, CANARY);
    AuthorizationServer::builder().client(client).start().await
}

fn details(json: &str) -> AuthorizationDetails {
    json.parse().unwrap()
}

fn request(json: &str) -> TokenRequest {
    TokenRequest::new().with_authorization_details(details(json))
}

/// Requests [`PAYMENT`] from a server that grants this.
async fn granted(
    member: &str,
    change: fn(SourceBuilder<ClientCredentials>) -> SourceBuilder<ClientCredentials>,
) -> Result<AccessToken, TokenError> {
    let body = format!(r#"{{"access_token":"t","token_type":"Bearer","expires_in":60{member}}}"#);
    let server = RawServer::always(raw::json(200, body)).await;
    let builder = builder(&server.url("/token")).authorization_details(PAYMENT);
    let result = fetch(change(builder)).await;
    assert_eq!(server.request_count(), 1);
    result
}

#[tokio::test]
async fn each_set_of_details_has_a_token_of_its_own() {
    let server = server().await;
    let source = builder(&server.token_endpoint()).build().unwrap();
    let tokens = CachedTokenSource::new(source);
    let same = r#" [ {"amount" : "12.50", "type":"payment"} ]"#;
    let other = r#"[{"type":"payment","amount":"12.51"}]"#;
    for json in [PAYMENT, same, other, PAYMENT] {
        let token = tokens.token(&request(json)).await.unwrap();
        assert_eq!(token.authorization_details().unwrap(), Some(details(json)));
    }
    let plain = tokens.token(&TokenRequest::default()).await.unwrap();
    assert_eq!(plain.authorization_details().unwrap(), None);
    let sent = server.token_requests();
    let sent = sent
        .iter()
        .map(|sent| sent.parameter("authorization_details"));
    let sent: Vec<_> = sent.collect();
    assert_eq!(sent.len(), 3);
    assert_eq!(sent[0], Some(details(PAYMENT).as_str()));
    assert_eq!(sent[2], None);
}

#[tokio::test]
async fn a_json_request_has_the_details_as_an_array() {
    let token = r#"{"access_token":"t","token_type":"Bearer","expires_in":60}"#;
    let server = RawServer::always(raw::json(200, token)).await;
    let builder = builder(&server.url("/token")).authorization_details(PAYMENT);
    fetch(builder.json_requests()).await.unwrap();
    let sent = server.requests().concat();
    let body = sent.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    let sent: Value = serde_json::from_slice(&sent[body..]).unwrap();
    let expected = json!([{"type": "payment", "amount": "12.50"}]);
    assert_eq!(sent["authorization_details"], expected);
}

#[tokio::test]
async fn a_missing_type_is_an_error_if_it_is_required() {
    let strict = SourceBuilder::require_granted_authorization_details;
    let richer = r#","authorization_details":[{"type":"payment","id":7},{"type":"x"}]"#;
    let other = r#","authorization_details":[{"type":"account"}]"#;
    granted(richer, strict).await.unwrap();
    let none = [
        "",
        r#","authorization_details":null"#,
        r#","authorization_details":[ ]"#,
    ];
    for narrower in none.into_iter().chain([other]) {
        granted(narrower, |builder| builder).await.unwrap();
        let error = granted(narrower, strict).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RequestRefused);
        assert!(error.to_string().contains("type `payment`"), "{error}");
    }
}

#[tokio::test]
async fn odd_details_in_a_response_are_refused_within_bounds() {
    let long = format!(
        r#","authorization_details":[{{"type":"{}"}}]"#,
        CANARY.repeat(5_000)
    );
    let deep = format!(
        r#","authorization_details":[{{"type":"a","x":{}{}}}]"#,
        "[".repeat(60),
        "]".repeat(60)
    );
    for (member, expected) in [
        (
            r#","authorization_details":{"type":"CANARY"}"#,
            "not a JSON array",
        ),
        (r#","authorization_details":"CANARY""#, "not a JSON array"),
        (r#","authorization_details":[{"type":7}]"#, "no `type`"),
        (
            r#","authorization_details":[{"type":"a","type":"a"}]"#,
            "member twice",
        ),
        (
            r#","authorization_details":[],"authorization_details":[]"#,
            "twice",
        ),
        (&long, "more than the limit of 32768"),
        (&deep, "16 levels"),
    ] {
        let error = granted(member, |builder| builder).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnusableResponse);
        let text = leak::error_chain(&error);
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains("CANARY"), "{text}");
        leak::assert_clean(&text, CANARY);
    }
    // A source that requests none does not need them.
    let body = r#"{"access_token":"t","token_type":"Bearer","authorization_details":7}"#;
    let server = RawServer::always(raw::json(200, body)).await;
    let token = fetch(builder(&server.url("/token"))).await.unwrap();
    token.authorization_details().unwrap_err();
}

#[tokio::test]
async fn a_refusal_of_the_details_has_a_hint() {
    let body = r#"{"error":"invalid_authorization_details"}"#;
    let server = RawServer::always(raw::json(400, body)).await;
    let builder = builder(&server.url("/token")).authorization_details(PAYMENT);
    let error = fetch(builder).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RequestRefused);
    let text = error.to_string();
    assert!(text.contains("requested authorization details"), "{text}");
    assert!(error.hint().unwrap().contains("RFC 9396 section 5"));
}

#[tokio::test]
async fn a_type_that_the_metadata_lacks_is_not_requested() {
    for (listed, requests) in [
        (json!(["account"]), 0),
        (json!(["payment", "account"]), 1),
        (json!("payment"), 1),
        (Value::Null, 1),
    ] {
        let server = discovery::server(|issuer| {
            let mut document = document(issuer);
            document["authorization_details_types_supported"] = listed.clone();
            ok(document)
        })
        .await;
        let endpoint = discover(&server.uri()).build().unwrap();
        let source = discovery::source(endpoint);
        let result = source.token(&request(PAYMENT)).await;
        let received = server.received_requests().await.unwrap();
        let token_requests = received.iter().filter(|sent| sent.url.path() == "/token");
        assert_eq!(token_requests.count(), requests, "{listed}");
        match result {
            Ok(_) => assert_eq!(requests, 1),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::RequestRefused);
                assert!(error.to_string().contains("type `payment`"), "{error}");
            }
        }
    }
}

/// Requests [`PAYMENT`] in one process and reads its token in another.
async fn shared(cache: impl Fn() -> CachedTokenSource<ClientCredentials>) {
    let first = cache();
    let written = first.token(&request(PAYMENT)).await.unwrap();
    first.shutdown().await;
    let read = cache().token(&request(PAYMENT)).await.unwrap();
    assert!(read.is_same(&written));
    let granted = read.authorization_details().unwrap();
    assert_eq!(granted, Some(details(PAYMENT)));
}

fn sharing(
    source: SourceBuilder<ClientCredentials>,
    store: impl TokenStore + 'static,
) -> CachedTokenSource<ClientCredentials> {
    CachedTokenSource::builder(source.build().unwrap())
        .store(store, "issuer client")
        // The machine may be busy.
        .store_timeout(Duration::from_secs(5))
        .build()
}

#[tokio::test]
async fn details_survive_a_shared_store() {
    let server = server().await;
    let store = Arc::new(MemoryTokenStore::new(SystemClock));
    shared(|| {
        let source = builder(&server.token_endpoint());
        sharing(
            source.require_granted_authorization_details(),
            store.clone(),
        )
    })
    .await;
    assert_eq!(server.token_request_count(), 1);
}

#[tokio::test]
async fn details_survive_an_encrypted_entry_in_redis() {
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    let server = server().await;
    shared(|| {
        let store = RedisTokenStore::builder(redis.text("url")).keys(secret(KEY));
        sharing(builder(&server.token_endpoint()), store.build().unwrap())
    })
    .await;
    assert_eq!(server.token_request_count(), 1);
}

#[tokio::test]
async fn a_shared_token_without_a_required_type_is_not_used() {
    let token = r#"{"access_token":"t","token_type":"Bearer","expires_in":3600}"#;
    let server = RawServer::always(raw::json(200, token)).await;
    let store = Arc::new(MemoryTokenStore::new(SystemClock));
    let source = || builder(&server.url("/token"));
    let lenient = sharing(source(), store.clone());
    lenient.token(&request(PAYMENT)).await.unwrap();
    lenient.shutdown().await;
    let strict = sharing(source().require_granted_authorization_details(), store);
    let error = strict.token(&request(PAYMENT)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RequestRefused);
    assert_eq!(server.request_count(), 2);
}
