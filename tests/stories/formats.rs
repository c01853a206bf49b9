//! Servers whose requests or responses have a format of their own.

use hallpass::{
    Secret, TokenRequest, TokenSource as _,
    endpoint::{ClientCredentials, ClientSecretBasic, PublicClient, Retry, SourceBuilder},
};
use hallpass_testkit::{
    RotatingSecret, leak,
    raw::{self, RawServer},
};

use crate::support::{builder, fetch};

/// A header takes visible ASCII only.
const CANARY: &str = "k3y/c+nary==";

const GOOD: &str = r#"{"access_token":"t","token_type":"Bearer","expires_in":3600}"#;

fn header(request: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(request).into_owned();
    let (head, _) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    let found = lines.find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.to_owned())
}

// covers: C-35, F-98
#[tokio::test]
async fn a_rotated_header_is_sent_after_a_refusal() {
    type Builder = SourceBuilder<ClientCredentials>;
    let with_secret: fn(&str) -> Builder = builder;
    let without: fn(&str) -> Builder =
        |url| ClientCredentials::builder(url, "orders-service", PublicClient::new());
    for client in [with_secret, without] {
        let refused = raw::json(401, r#"{"error":"invalid_client"}"#);
        let server = RawServer::start([refused, raw::json(200, GOOD)]).await;
        let key = RotatingSecret::new("old-key");
        key.rotate_after_reading("new-key");
        let source = client(&server.url("/token")).retry(Retry::default());
        let source = source.danger_allow_http_on_loopback();
        let source = source.request_header("x-api-key", key).build().unwrap();
        source.token(&TokenRequest::new()).await.unwrap();
        let sent = server.requests();
        let sent: Vec<_> = sent
            .iter()
            .map(|request| header(request, "x-api-key").unwrap())
            .collect();
        assert_eq!(sent, ["old-key", "new-key"]);
    }
}

// covers: F-99
#[tokio::test]
async fn a_header_is_in_no_error_and_in_no_debug_output() {
    let echo =
        format!(r#"{{"error":"invalid_client","error_description":"key {CANARY} is unknown"}}"#);
    let server = RawServer::always(raw::json(401, echo)).await;
    let key = Secret::new(CANARY).unwrap();
    let source =
        ClientCredentials::builder(server.url("/token"), "orders-service", PublicClient::new())
            .danger_allow_http_on_loopback()
            .request_header("x-api-key", key)
            .build()
            .unwrap();
    let error = source.token(&TokenRequest::new()).await.unwrap_err();
    leak::assert_clean(&leak::error_chain(&error), CANARY);
    leak::assert_clean(&format!("{source:?}"), CANARY);
    let sent = server.requests().pop().unwrap();
    assert_eq!(header(&sent, "x-api-key").as_deref(), Some(CANARY));
}

#[tokio::test]
async fn a_json_request_has_a_basic_header_and_no_secret_in_its_body() {
    let server = RawServer::always(raw::json(200, GOOD)).await;
    let secret = Secret::new(CANARY).unwrap();
    let source = ClientCredentials::builder(
        server.url("/token"),
        "orders-service",
        ClientSecretBasic::new(secret),
    );
    let source = source.json_requests().scope("a b");
    fetch(source.danger_allow_http_on_loopback()).await.unwrap();
    let sent = server.requests().pop().unwrap();
    assert!(
        header(&sent, "authorization")
            .unwrap()
            .starts_with("Basic ")
    );
    let text = String::from_utf8(sent).unwrap();
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, r#"{"grant_type":"client_credentials","scope":"a b"}"#);
}

#[test]
fn a_header_that_is_set_twice_is_refused() {
    let key = || Secret::new("k").unwrap();
    let source = builder("https://login.example/token");
    let source = source.request_header("x-key", key());
    let error = source.request_header("X-Key", key()).build().unwrap_err();
    assert_eq!(error.setting(), "request_header");
}
