use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use hallpass_core::{AccessToken, Clock as _, SystemClock, TokenSource, authorize::Authorizer};
use hallpass_testkit::{
    FakeTokens, ScriptedSource, StaticSource,
    bridge::{self, Adapter, BoxError, Credential, Rule},
    leak,
    raw::{self, RawServer, Reply},
};
use serde_json::{Value, json};

use super::*;

const CANARY: &str = "CANARY-0123456789";

fn client(server: &RawServer, source: impl TokenSource + 'static) -> ServiceClient {
    let authorizer = Authorizer::builder(source)
        .allow_origin(&server.url(""))
        .danger_allow_http_on_loopback()
        .build()
        .unwrap();
    let client = ServiceClient::new("the test service", authorizer).unwrap();
    client.hints(|status, _| (status == 403).then_some("grant the role"))
}

fn texts(server: &RawServer) -> Vec<String> {
    let requests = server.requests();
    let text = |request: &Vec<u8>| String::from_utf8_lossy(request).into_owned();
    requests.iter().map(text).collect()
}

async fn post(client: &ServiceClient, server: &RawServer) -> Result<Value, TokenError> {
    client.post(&server.url("/keys/1"), &json!({"a": 1})).await
}

async fn failed(reply: Reply) -> (TokenError, usize) {
    let server = RawServer::always(reply).await;
    let client = client(&server, StaticSource::new(CANARY));
    let error = post(&client, &server).await.unwrap_err();
    leak::assert_clean(&leak::error_chain(&error), CANARY);
    leak::assert_clean(&format!("{client:?}"), CANARY);
    assert!(error.host().is_some(), "{error}");
    (error, server.request_count())
}

#[tokio::test]
async fn a_request_has_the_token_and_the_body_as_json() {
    let server = RawServer::always(raw::json(200, r#"{"b":2}"#)).await;
    let client = client(&server, StaticSource::new(CANARY));
    assert_eq!(post(&client, &server).await.unwrap(), json!({"b": 2}));
    let read: Value = client.get(&server.url("/keys/1")).await.unwrap();
    assert_eq!(read, json!({"b": 2}));
    let [post, get] = &texts(&server)[..] else {
        panic!("2 requests");
    };
    assert!(
        post.starts_with("POST /keys/1 ") && post.ends_with(r#"{"a":1}"#),
        "{post}"
    );
    assert!(get.starts_with("GET /keys/1 "), "{get}");
    for request in [post, get] {
        assert!(leak::find(request, CANARY).is_some());
    }
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let server = RawServer::start([raw::json(401, "{}"), raw::json(200, "{}")]).await;
    let moment = SystemClock.moment();
    let tokens = ["first-token", "other-token"]
        .map(|text| Ok(AccessToken::bearer(text, moment, Duration::from_secs(60)).unwrap()));
    let source = Arc::new(ScriptedSource::new(tokens));
    assert!(
        post(&client(&server, source.clone()), &server)
            .await
            .is_ok()
    );
    assert_eq!((source.calls(), server.request_count()), (2, 2));
    assert!(texts(&server)[1].contains("other-token"));
    let (error, requests) = failed(raw::json(401, "{}")).await;
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert_eq!(requests, 1);
}

#[tokio::test]
async fn the_status_decides_whether_a_retry_may_succeed() {
    let echo = format!(r#"{{"error":{{"code":"Busy","message":"got {CANARY}"}}}}"#);
    for (status, transient) in [
        (400, false),
        (403, false),
        (404, false),
        (408, true),
        (429, true),
        (500, true),
        (501, false),
        (503, true),
    ] {
        let reply = raw::http(status, &[("retry-after", "7")], &echo);
        let (error, requests) = failed(reply).await;
        assert_eq!(error.is_transient(), transient, "{error}");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        assert_eq!(error.server_message(), Some("Busy: got [redacted]"));
        assert_eq!(error.hint() == Some("grant the role"), status == 403);
        assert_eq!(requests, 1);
    }
}

#[tokio::test]
async fn other_responses_are_errors() {
    let redirect = raw::http(307, &[("location", "https://other.example/")], "");
    for (reply, expected) in [
        (redirect, "redirects to `other.example`"),
        (raw::json(200, "[]x"), "not the expected JSON"),
        (
            raw::http(
                200,
                &[("content-type", "text/html")],
                "<html><title>Blocked",
            ),
            "web page",
        ),
        (
            raw::http(200, &[("content-encoding", "gzip")], "{}"),
            "compressed",
        ),
        (
            Reply::bytes("HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n"),
            "larger than",
        ),
    ] {
        let (error, requests) = failed(reply).await;
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(requests, 1);
    }
}

#[tokio::test]
async fn an_origin_that_is_not_allowed_gets_nothing() {
    let server = RawServer::always(raw::json(200, "{}")).await;
    let other = RawServer::always(raw::json(200, "{}")).await;
    let client = client(&server, StaticSource::new(CANARY));
    let error = client.get::<Value>(&other.url("/")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert_eq!(other.request_count(), 0);
    let error = client.get::<Value>("keys").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
}

#[tokio::test]
async fn credentials_refused_elsewhere_are_a_configuration_error() {
    let server = RawServer::always(raw::json(200, "{}")).await;
    let refused = FakeTokens::failing(ErrorKind::CredentialsRefused);
    let error = post(&client(&server, refused), &server).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    let cause = std::error::Error::source(&error).unwrap();
    let cause = cause.downcast_ref::<TokenError>().unwrap();
    assert_eq!(cause.kind(), ErrorKind::CredentialsRefused);
    let down = FakeTokens::failing(ErrorKind::Unavailable);
    let error = post(&client(&server, down), &server).await.unwrap_err();
    assert!(
        error.is_transient() && server.request_count() == 0,
        "{error}"
    );
}

#[tokio::test]
async fn a_certificate_that_is_refused_is_a_configuration_error() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// A fatal alert, `access_denied` (RFC 8446 section 6).
    const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        // All of it: closing a connection with unread data resets it.
        let mut head = [0; 5];
        stream.read_exact(&mut head).await.unwrap();
        let length = u16::from_be_bytes([head[3], head[4]]);
        let mut hello = vec![0; usize::from(length)];
        stream.read_exact(&mut hello).await.unwrap();
        stream.write_all(&ALERT).await.unwrap();
    });
    let authorizer = Authorizer::builder(StaticSource::new(CANARY));
    let authorizer = authorizer.allow_origin(&origin).build().unwrap();
    let client = ServiceClient::new("the test service", authorizer).unwrap();
    let error = client.get::<Value>(&origin).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(
        error
            .to_string()
            .contains("no connection for the test service"),
        "{error}"
    );
    assert_eq!(error.hint(), Some(CERTIFICATE));
}

#[tokio::test]
async fn a_closed_idle_connection_is_replaced() {
    let reply = || raw::json(200, "{}");
    let server = RawServer::start([reply(), Reply::nothing().then_close(), reply()]).await;
    let client = client(&server, StaticSource::new(CANARY));
    assert!(post(&client, &server).await.is_ok());
    assert!(post(&client, &server).await.is_ok());
    assert_eq!(server.request_count(), 3);
}

/// A client as an adapter: each call is to a server of its own.
struct Service(Arc<dyn TokenSource>, ServiceClient);

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.1.fmt(f)
    }
}

impl Service {
    fn new(source: Arc<dyn TokenSource>) -> Self {
        let authorizer = Authorizer::builder(source.clone())
            .allow_origin("https://kms.example")
            .build()
            .unwrap();
        Self(
            source,
            ServiceClient::new("the test service", authorizer).unwrap(),
        )
    }

    /// Returns the token of the last of these requests.
    async fn call(&self, replies: &[u16]) -> Result<String, TokenError> {
        let replies = replies.iter().map(|status| raw::json(*status, "{}"));
        let server = RawServer::start(replies).await;
        let client = client(&server, self.0.clone());
        client.get::<Value>(&server.url("/")).await?;
        let request = texts(&server).pop().unwrap();
        let (_, token) = request.split_once("Bearer ").unwrap();
        Ok(token.lines().next().unwrap().to_owned())
    }
}

#[async_trait]
impl Adapter for Service {
    async fn credential(&self) -> Result<Credential, BoxError> {
        Ok(Credential::new(self.call(&[200]).await?).shown(&self.1))
    }

    async fn refuse(&self, token: &str) {
        if self.call(&[200]).await.unwrap() == token {
            self.call(&[401, 200]).await.unwrap();
        }
    }
}

#[tokio::test]
async fn it_keeps_the_rules_for_adapters() {
    let exceptions = [(Rule::ReportsExpiry, "a service checks the expiry itself")];
    let violations = bridge::check(Service::new, &exceptions).await;
    assert_eq!(violations, []);
}
