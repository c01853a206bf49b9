//! Servers whose requests or responses have a format of their own.

use std::time::Duration;

use hallpass::{
    ErrorKind, Secret, SecretSource as _, TokenRequest, TokenSource as _,
    endpoint::{
        ClientCredentials, ClientSecretBasic, PublicClient, RefreshToken, Retry, SourceBuilder,
        hints,
    },
    jwt::Dpop,
};
use hallpass_testkit::{
    RotatingSecret,
    leak::{self, Capture},
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

#[tokio::test]
async fn a_lifetime_of_more_than_a_day_is_traced_and_capped() {
    for (lifetime, traced) in [(86_400, false), (86_401, true)] {
        let capture = Capture::start();
        let body =
            format!(r#"{{"access_token":"t","token_type":"Bearer","expires_in":{lifetime}}}"#);
        let server = RawServer::always(raw::json(200, body)).await;
        let token = fetch(builder(&server.url("/token"))).await.unwrap();
        assert_eq!(token.lifetime(), Duration::from_secs(86_400));
        assert_eq!(capture.text().contains("lifetime over 24 h"), traced);
    }
}

#[tokio::test]
async fn the_default_lifetime_is_capped_too() {
    let body = r#"{"access_token":"t","token_type":"Bearer"}"#;
    let server = RawServer::always(raw::json(200, body)).await;
    let source = builder(&server.url("/token"));
    let source = source.default_lifetime(Duration::from_secs(900));
    let token = fetch(source.max_lifetime(Duration::from_secs(60))).await;
    assert_eq!(token.unwrap().lifetime(), Duration::from_secs(60));
}

fn typed(token_type: &str) -> String {
    format!(r#"{{"access_token":"t","token_type":"{token_type}","expires_in":60}}"#)
}

// covers: C-19, F-28
#[tokio::test]
async fn a_servers_name_for_bearer_tokens_is_accepted_if_set() {
    for (token_type, accepted) in [
        ("Application Access Token", true),
        ("application access token", true),
        ("bearer", true),
        ("Application", false),
        ("BearerToken", false),
        ("DPoP", false),
        ("N_A", false),
    ] {
        let server = RawServer::always(raw::json(200, typed(token_type))).await;
        let source = builder(&server.url("/token"));
        let token = fetch(source.token_type_name("Application Access Token")).await;
        assert_eq!(token.is_ok(), accepted, "{token_type}");
        let plain = fetch(builder(&server.url("/token"))).await;
        assert_eq!(plain.is_ok(), token_type == "bearer", "{token_type}");
    }
    let other = RawServer::always(raw::json(200, typed("Application"))).await;
    let error = fetch(builder(&other.url("/token"))).await.unwrap_err();
    assert_eq!(error.hint_name(), hints::TOKEN_TYPE.name());
}

#[test]
fn a_name_of_another_token_type_is_refused() {
    for name in ["", "DPoP", "dpop", "PoP", "MAC", "n_a"] {
        let source = builder("http://127.0.0.1/token").token_type_name(name);
        assert_eq!(source.build().unwrap_err().setting(), "token_type_name");
    }
    let dpop = Dpop::generate().unwrap();
    let source = builder("http://127.0.0.1/token").dpop(dpop);
    let error = source.token_type_name("Access").build().unwrap_err();
    assert!(error.to_string().contains("`dpop`"), "{error}");
}

// covers: F-02, F-99
#[tokio::test]
async fn only_the_member_that_is_set_has_the_token() {
    const FORM: &str = "application/x-www-form-urlencoded";
    let form = "access_token=c4nary&token_type=Bearer&jwt=c4nary";
    let json = "application/json";
    for (pointer, content_type, body, says) in [
        ("/data/jwt", FORM, form, "not valid JSON"),
        ("/jwt", FORM, form, "not valid JSON"),
        ("/0/t", json, r#"[{"t":"c4nary"}]{}"#, "not valid JSON"),
        ("/0/t", json, r#"[{"t":"c4nary"},"#, "in the middle"),
        (
            "/data/jwt",
            json,
            r#"{"access_token":"c4nary","message":"c4nary is issued"}"#,
            "[redacted] is issued",
        ),
        (
            "/data/jwt",
            json,
            r#"{"access_token":"c4nary","data":{},"message":"c4nary is issued"}"#,
            "[redacted] is issued",
        ),
        (
            "/jwt",
            json,
            r#"{"access_token":"c4nary","message":"c4nary is issued"}"#,
            "[redacted] is issued",
        ),
    ] {
        let reply = raw::http(200, &[("content-type", content_type)], body);
        let server = RawServer::always(reply).await;
        let source = builder(&server.url("/token")).lenient_responses();
        let error = fetch(source.token_member(pointer)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnusableResponse);
        let text = leak::error_chain(&error);
        assert!(text.contains(says), "{body}: {text}");
        leak::assert_clean(&text, "c4nary");
    }
    // A refusal counts in a form too.
    let refusal = raw::http(400, &[("content-type", FORM)], "error=invalid_scope");
    let server = RawServer::always(refusal).await;
    let source = builder(&server.url("/token")).token_member("/jwt");
    let error = fetch(source).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RequestRefused);
}

// covers: F-02
#[tokio::test]
async fn a_rotated_refresh_token_is_saved_from_its_place() {
    for (pointer, body, saved) in [
        (
            "/d/t",
            r#"{"d":{"t":"t","token_type":"Bearer","refresh_token":"new"}}"#,
            Some("new"),
        ),
        (
            "/d/t",
            r#"{"d":{"t":"t","scope":"a","scope":"b","refresh_token":"new"}}"#,
            Some("new"),
        ),
        (
            "/refresh_token",
            r#"{"access_token":"a","token_type":"Bearer","refresh_token":"t"}"#,
            None,
        ),
    ] {
        let server = RawServer::always(raw::json(200, body)).await;
        let stored = RotatingSecret::new("old");
        let url = server.url("/token");
        let source = RefreshToken::builder(url, "app", PublicClient::new(), stored.clone());
        let source = source.token_member(pointer).retry(Retry::never());
        let source = source.danger_allow_http_on_loopback().build().unwrap();
        let _ = source.token(&TokenRequest::default()).await;
        let secret = stored.secret().await.unwrap();
        assert_eq!(secret.expose(), saved.unwrap_or("old"), "{body}");
        assert_eq!(stored.saves(), usize::from(saved.is_some()), "{body}");
    }
}
