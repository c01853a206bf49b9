//! The transport's stories in a program whose dependencies enable all features of reqwest, rustls and serde_json. None
//! of them may change what is sent, what is accepted and whom a client trusts.

#![allow(clippy::unwrap_used, dead_code)]

#[path = "../shared/child.rs"]
mod child;
#[path = "../stories/mtls.rs"]
mod mtls;
#[path = "../stories/mtls_server.rs"]
mod mtls_server;
mod providers;
#[path = "../shared/redis_server.rs"]
mod redis_server;
#[path = "../stories/support.rs"]
mod support;
#[path = "../stories/tls.rs"]
mod tls;
#[path = "../shared/tls_server.rs"]
mod tls_server;
#[path = "../stories/transport.rs"]
mod transport;

use hallpass::{
    ErrorKind, Secret, SecretSource as _, TokenRequest, TokenSource as _, secrets::VaultSecret,
};
use hallpass_testkit::raw::{self, RawServer};

const GOOD: &str = r#"{"access_token":"t","token_type":"Bearer","expires_in":3600}"#;

fn head(server: &RawServer) -> String {
    let request = server.requests().pop().unwrap();
    String::from_utf8_lossy(&request).to_lowercase()
}

#[tokio::test]
async fn no_compressed_answer_is_asked_for_or_taken() {
    let server = RawServer::always(raw::json(200, GOOD)).await;
    // Positive control: the features are enabled, and a client with reqwest's defaults uses them.
    let plain = reqwest::Client::builder().no_proxy().build().unwrap();
    plain.get(server.url("/")).send().await.unwrap();
    assert!(head(&server).contains("accept-encoding"));

    support::fetch(support::builder(&server.url("/")))
        .await
        .unwrap();
    assert!(
        !head(&server).contains("accept-encoding"),
        "{}",
        head(&server)
    );

    let headers = [
        ("content-type", "application/json"),
        ("content-encoding", "gzip"),
    ];
    let server = RawServer::always(raw::http(200, &headers, GOOD)).await;
    let error = support::fetch(support::builder(&server.url("/")))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnusableResponse);
    assert!(error.to_string().contains("compressed"), "{error}");
}

#[tokio::test]
async fn cookies_are_not_stored() {
    let headers = [("content-type", "application/json"), ("set-cookie", "a=b")];
    let server = RawServer::always(raw::http(200, &headers, GOOD)).await;
    let source = support::builder(&server.url("/")).build().unwrap();
    for _ in 0..2 {
        source.token(&TokenRequest::default()).await.unwrap();
    }
    assert!(!head(&server).contains("cookie"), "{}", head(&server));
}

#[tokio::test]
async fn vault_is_asked_as_without_them() {
    let answer = r#"{"data":{"data":{"key":"s3cr3t"},"metadata":{"version":1}}}"#;
    let server = RawServer::always(raw::json(200, answer)).await;
    let token = Secret::new("t0k3n").unwrap();
    let vault = VaultSecret::builder(server.url(""), token, "secret", "orders", "key")
        .danger_allow_http_on_loopback()
        .build()
        .unwrap();
    assert_eq!(vault.secret().await.unwrap().expose(), "s3cr3t");
    assert!(
        !head(&server).contains("accept-encoding"),
        "{}",
        head(&server)
    );
}

#[tokio::test]
async fn numbers_of_a_response_are_read_as_without_them() {
    // Positive control: the features are enabled.
    let number: serde_json::Value = serde_json::from_str("1.00").unwrap();
    assert_eq!(number.to_string(), "1.00");
    for (value, seconds) in [
        ("3599", Some(3_599)),
        ("3599.9", Some(3_599)),
        ("3.6e3", Some(3_600)),
        ("184467440737095516150", Some(86_400)),
        ("-0.5", None),
        (r#"{"1":2}"#, None),
    ] {
        let body = GOOD.replace("3600", value);
        let server = RawServer::always(raw::json(200, body)).await;
        let token = support::fetch(support::builder(&server.url("/"))).await;
        let lifetime = token.map(|token| token.lifetime().as_secs());
        assert_eq!(lifetime.ok(), seconds, "{value}");
    }
}
