//! Requests that are retried with a new token, and those that are not.

use std::sync::Arc;

use hallpass_core::{AccessToken, Clock as _, SystemClock, TokenError, authorize::ApiRefusal};
use hallpass_reqwest::{RequestBuilderExt as _, TokenClient};
use hallpass_testkit::{
    ScriptedSource, StaticSource,
    raw::{self, RawServer, Reply},
};
use reqwest::{Body, Client, Response};

use crate::support::{Mint, allow, authorizations, client, get};

fn refused() -> Reply {
    raw::http(401, &[], "no")
}

fn is_refusal(response: &Response) -> bool {
    response.status() == 401 && response.extensions().get::<ApiRefusal>().is_some()
}

fn token(text: &str) -> AccessToken {
    let minute = std::time::Duration::from_secs(60);
    AccessToken::bearer(text, SystemClock.moment(), minute).unwrap()
}

// covers: C-35
#[tokio::test]
async fn a_retry_has_the_body_and_all_headers() {
    let server = RawServer::start([refused(), raw::json(200, "")]).await;
    let authorizer = allow(Arc::new(Mint::default()), &server).build().unwrap();
    let client = TokenClient::new(authorizer, Client::builder().no_proxy()).unwrap();
    let post = client.http().post(server.url("/orders?x=y#part"));
    let post = post.header("x-order", "7").body("order");
    assert_eq!(client.send(post).await.unwrap().status(), 200);
    let requests: Vec<_> = server
        .requests()
        .into_iter()
        .map(|bytes| String::from_utf8(bytes).unwrap())
        .collect();
    assert_eq!(requests[1], requests[0].replace("token-1", "token-2"));
    assert!(requests[0].starts_with("POST /orders?x=y ") && requests[0].ends_with("\r\n\r\norder"));
}

// covers: C-35
#[tokio::test]
async fn a_retry_has_the_version_and_the_timeout() {
    let server = RawServer::start([refused(), Reply::nothing().then_stall()]).await;
    let authorizer = allow(Arc::new(Mint::default()), &server).build().unwrap();
    let get = client()
        .get(server.url("/"))
        .version(reqwest::Version::HTTP_10)
        .timeout(std::time::Duration::from_secs(1));
    let error = get.send_with(&authorizer).await.unwrap_err();
    assert!(error.http_error().unwrap().is_timeout(), "{error}");
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert!(
        requests
            .iter()
            .all(|request| request.starts_with(b"GET / HTTP/1.0\r\n"))
    );
}

// covers: C-35
#[tokio::test]
async fn a_stream_is_sent_once_and_the_next_call_has_a_new_token() {
    let server = RawServer::start([refused(), raw::json(200, "")]).await;
    let authorizer = allow(Arc::new(Mint::default()), &server).build().unwrap();
    // A body that cannot be cloned; reqwest sends it in chunks.
    let stream = Body::wrap(http_body_util::Full::new(bytes::Bytes::from_static(
        b"order",
    )));
    assert!(stream.as_bytes().is_none());
    let post = client()
        .post(server.url("/"))
        .header("content-length", "5")
        .body(stream);
    assert!(is_refusal(&post.send_with(&authorizer).await.unwrap()));
    assert_eq!(get(&server, &authorizer).await.unwrap().status(), 200);
    let sent = ["token-1", "token-2"].map(|token| Some(format!("Bearer {token}")));
    assert_eq!(authorizations(&server), sent);
}

#[tokio::test]
async fn a_refused_token_is_not_sent_again() {
    let server = RawServer::always(refused()).await;
    let source = Arc::new(StaticSource::new(token("the-only-one")));
    let authorizer = allow(source, &server).build().unwrap();
    assert!(is_refusal(&get(&server, &authorizer).await.unwrap()));
    assert_eq!(server.request_count(), 1);
}

#[tokio::test]
async fn without_another_token_the_caller_gets_the_refusal() {
    let server = RawServer::always(refused()).await;
    let revoked = TokenError::credentials_refused("the client was refused");
    let source = Arc::new(ScriptedSource::new([Ok(token("first")), Err(revoked)]));
    let authorizer = allow(source, &server).build().unwrap();
    let error = get(&server, &authorizer).await.unwrap_err();
    assert_eq!(
        error.token_error().unwrap().to_string(),
        "the client was refused"
    );
    assert_eq!(server.request_count(), 1);
}

#[tokio::test]
async fn errors_of_reqwest_are_returned() {
    let server = RawServer::always(Reply::nothing().then_reset()).await;
    let authorizer = allow(Arc::new(Mint::default()), &server).build().unwrap();
    let error = get(&server, &authorizer).await.unwrap_err();
    assert!(error.http_error().unwrap().is_request() && error.token_error().is_none());
    let malformed = client()
        .get("not a url")
        .send_with(&authorizer)
        .await
        .unwrap_err();
    assert!(malformed.http_error().unwrap().is_builder());
}
