//! Failures below HTTP: classified, described, and never answered by sending credentials elsewhere.

use std::{net::IpAddr, time::Duration};

use hallpass::{
    ErrorKind, TokenError, TokenRequest, TokenSource,
    endpoint::{HttpTransport, Retry, hints},
};
use hallpass_testkit::{
    leak,
    raw::{self, RawServer, Reply},
};

use crate::support::{CANARY, builder, fetch, hasty, secret};

/// A canary that can be part of a URL.
const LOCATION: &str = "CANARY-in-a-location";
const GOOD: &str = r#"{"access_token":"t","token_type":"Bearer","expires_in":3600}"#;

fn check(error: &TokenError, kind: ErrorKind, transient: bool, says: &str) {
    let text = leak::error_chain(error);
    assert_eq!(
        (error.kind(), error.is_transient()),
        (kind, transient),
        "{text}"
    );
    assert!(error.to_string().contains(says), "{text}");
    assert!(error.host().is_some(), "{text}");
    leak::assert_clean(&text, CANARY);
    leak::assert_clean(&text, LOCATION);
}

// covers: F-41
#[tokio::test]
async fn connection_refused() {
    let error = fetch(builder(&raw::refused_url().unwrap()))
        .await
        .unwrap_err();
    check(
        &error,
        ErrorKind::Unavailable,
        true,
        "no connection could be made: connection refused (127.0.0.1:",
    );
    assert_eq!(error.hint_name(), hints::SERVER.name());
}

// covers: F-40
#[tokio::test]
async fn an_unknown_host() {
    // RFC 6761 reserves the name: no resolver knows it.
    let error = fetch(builder("https://login.invalid/token"))
        .await
        .unwrap_err();
    check(
        &error,
        ErrorKind::Unavailable,
        true,
        "could not be resolved",
    );
}

// covers: F-42, F-44
#[tokio::test]
async fn a_connection_that_hangs() {
    // A listener that never starts TLS: the handshake waits for it.
    let server = RawServer::always(Reply::nothing().then_stall()).await;
    let url = server.url("/").replace("http:", "https:");
    let error = fetch(builder(&url).transport(hasty())).await.unwrap_err();
    check(&error, ErrorKind::Unavailable, true, "in time");
}

// covers: F-45
#[tokio::test]
async fn a_stall_before_and_after_the_headers() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 60\r\n\r\n{";
    for reply in [Reply::nothing(), Reply::bytes(head)] {
        let server = RawServer::always(reply.then_stall()).await;
        let error = fetch(builder(&server.url("/")).transport(hasty()))
            .await
            .unwrap_err();
        check(&error, ErrorKind::Unavailable, true, "within 300ms");
    }
}

// covers: F-03, F-47
#[tokio::test]
async fn an_answer_that_breaks_off() {
    let cut = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 60\r\n\r\n{\"access_token\":\"t";
    for reply in [
        Reply::bytes(cut).then_close(),
        Reply::bytes(cut).then_reset(),
    ] {
        let server = RawServer::always(reply).await;
        let error = fetch(builder(&server.url("/"))).await.unwrap_err();
        check(
            &error,
            ErrorKind::Unavailable,
            true,
            "in the middle of the response",
        );
        assert_eq!(server.request_count(), 1);
    }
}

/// A retry policy whose back-off never fits into the deadline, so that only a stale connection is replaced.
fn reconnects_only() -> Retry {
    Retry::new().min_delay(Duration::from_secs(3_600))
}

/// Starts a server whose first connection answers once, and is closed after it has read the second request.
async fn closing() -> RawServer {
    let lost = || Reply::nothing().then_close();
    RawServer::start([
        raw::json(200, GOOD),
        lost(),
        raw::json(200, GOOD),
        lost(),
        lost(),
    ])
    .await
}

// covers: F-48
#[tokio::test]
async fn a_stale_pooled_connection_is_replaced_once() {
    let server = closing().await;
    let source = builder(&server.url("/")).retry(reconnects_only());
    let source = source.build().unwrap();
    let request = TokenRequest::default();
    source.token(&request).await.unwrap();
    source.token(&request).await.unwrap();
    assert_eq!((server.request_count(), server.connection_count()), (3, 2));
    // The next request is lost on the pooled connection, and then on a new one, which is an ordinary failure.
    let error = source.token(&request).await.unwrap_err();
    check(
        &error,
        ErrorKind::Unavailable,
        true,
        "before a response arrived",
    );
    assert_eq!((server.request_count(), server.connection_count()), (5, 3));
}

// covers: F-48
#[tokio::test]
async fn a_request_with_an_invalid_response_is_not_repeated() {
    let invalid = Reply::bytes("no HTTP\r\n\r\n").then_close();
    let server = RawServer::start([raw::json(200, GOOD), invalid, raw::json(200, GOOD)]).await;
    let source = builder(&server.url("/")).retry(reconnects_only());
    let source = source.build().unwrap();
    let request = TokenRequest::default();
    source.token(&request).await.unwrap();
    // The connection is a pooled one, but the server has answered.
    let error = source.token(&request).await.unwrap_err();
    check(&error, ErrorKind::Unavailable, true, "not valid HTTP");
    assert_eq!((server.request_count(), server.connection_count()), (2, 1));
}

// covers: F-48
#[tokio::test]
async fn a_new_connection_that_is_lost_is_not_replaced() {
    for lost in [Reply::nothing().then_close(), Reply::nothing().then_reset()] {
        let server = RawServer::always(lost).await;
        let source = builder(&server.url("/")).retry(reconnects_only());
        let error = fetch(source).await.unwrap_err();
        check(
            &error,
            ErrorKind::Unavailable,
            true,
            "before a response arrived",
        );
        assert_eq!(server.request_count(), 1);
    }
}

// covers: F-48
#[tokio::test]
async fn without_retries_one_attempt_is_one_request() {
    for retry in [Retry::never(), Retry::new().max_retries(0)] {
        let server = closing().await;
        let source = builder(&server.url("/")).retry(retry).build().unwrap();
        let request = TokenRequest::default();
        source.token(&request).await.unwrap();
        source.token(&request).await.unwrap_err();
        assert_eq!((server.request_count(), server.connection_count()), (2, 1));
        source.token(&request).await.unwrap();
        source.token(&request).await.unwrap_err();
        assert_eq!((server.request_count(), server.connection_count()), (4, 2));
    }
}

/// For a transport that does not report whether it reused a connection.
#[tokio::test]
async fn the_connections_of_a_callers_client_are_not_replaced() {
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap();
    let server = closing().await;
    let source = builder(&server.url("/"))
        .transport(HttpTransport::danger_from_client(client))
        .retry(reconnects_only())
        .build()
        .unwrap();
    let request = TokenRequest::default();
    source.token(&request).await.unwrap();
    source.token(&request).await.unwrap_err();
    assert_eq!(server.request_count(), 2);
}

// covers: C-43, F-49, F-50, F-119, I-05
#[tokio::test]
async fn credentials_are_never_sent_along_a_redirect() {
    let target = RawServer::always(raw::json(200, GOOD)).await;
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = target.url(&format!("/{LOCATION}"));
        for (location, says) in [
            (
                elsewhere.as_str(),
                "redirects token requests to `http://127.0.0.1:",
            ),
            ("/the-same-host", "to `/the-same-host` on the same host"),
        ] {
            let server = RawServer::always(raw::http(status, &[("location", location)], "")).await;
            let error = fetch(builder(&server.url("/"))).await.unwrap_err();
            check(&error, ErrorKind::Configuration, false, says);
            assert_eq!(error.status().unwrap().as_u16(), status);
            assert_eq!(server.request_count(), 1);
        }
    }
    assert_eq!(target.connection_count(), 0);
}

// covers: F-59
#[tokio::test]
async fn a_second_answer_after_the_body_is_not_taken_for_the_next() {
    let twice = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{GOOD}HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 61\r\n\r\n{}",
        GOOD.len(),
        GOOD.replace(r#""t""#, r#""evil""#)
    );
    let server = RawServer::start([Reply::bytes(twice), raw::json(200, GOOD)]).await;
    let source = builder(&server.url("/")).build().unwrap();
    for _ in 0..2 {
        let token = source.token(&TokenRequest::default()).await.unwrap();
        assert_eq!(token.expose(), "t");
    }
    assert_eq!(server.connection_count(), 2);
}

// covers: F-60
#[tokio::test]
async fn a_proxy_is_used_and_its_refusals_name_it() {
    const REMOTE: &str = "https://login.example/token";
    let through = |proxy: &RawServer| HttpTransport::builder().proxy(proxy.url(""));
    let proxy = RawServer::always(raw::http(407, &[("proxy-authenticate", "Basic")], "")).await;
    let transport = through(&proxy).build().unwrap();
    let error = fetch(builder(REMOTE).transport(transport))
        .await
        .unwrap_err();
    check(
        &error,
        ErrorKind::Configuration,
        false,
        &format!("the proxy {} requires credentials", proxy.address()),
    );
    let transport = through(&proxy)
        .proxy_credentials("user", secret(CANARY))
        .build()
        .unwrap();
    let error = fetch(builder(REMOTE).transport(transport))
        .await
        .unwrap_err();
    check(&error, ErrorKind::Configuration, false, "proxy");
    let [without, with] = &proxy.requests()[..] else {
        panic!("{} requests", proxy.request_count());
    };
    let head = |request: &[u8]| String::from_utf8_lossy(request).to_lowercase();
    assert!(head(without).starts_with("connect login.example:443 http/1.1\r\n"));
    assert!(!head(without).contains("proxy-authorization"));
    assert!(head(with).contains("proxy-authorization: basic "));

    let proxy = RawServer::always(raw::http(502, &[], "")).await;
    let transport = through(&proxy).build().unwrap();
    let error = fetch(builder(REMOTE).transport(transport))
        .await
        .unwrap_err();
    check(
        &error,
        ErrorKind::Unavailable,
        true,
        &format!(
            "no connection could be made: the proxy {} refused it",
            proxy.address()
        ),
    );

    let closed = raw::refused_url().unwrap();
    let down = HttpTransport::builder().proxy(&closed).build().unwrap();
    let error = fetch(builder(REMOTE).transport(down)).await.unwrap_err();
    let closed = closed.trim_start_matches("http://").trim_end_matches('/');
    check(
        &error,
        ErrorKind::Unavailable,
        true,
        &format!("no connection could be made through the proxy {closed}: connection refused"),
    );
    assert_eq!(error.hint_name(), hints::PROXY.name());
    let unknown = HttpTransport::builder().proxy("http://no-such-host.invalid");
    let transport = unknown.build().unwrap();
    let error = fetch(builder(REMOTE).transport(transport))
        .await
        .unwrap_err();
    check(
        &error,
        ErrorKind::Unavailable,
        true,
        "the name of the proxy no-such-host.invalid:80 could not be resolved",
    );
}

/// A proxy may be on any host, and requests to loopback may be unencrypted.
#[tokio::test]
async fn no_proxy_sees_what_is_sent_to_loopback() {
    let proxy = RawServer::always(raw::json(200, GOOD)).await;
    let server = RawServer::always(raw::json(200, GOOD)).await;
    let transport = HttpTransport::builder()
        .proxy(proxy.url(""))
        .build()
        .unwrap();
    let localhost = format!("http://localhost:{}/", server.address().port());
    for url in [server.url("/"), localhost] {
        for _ in 0..2 {
            fetch(builder(&url).transport(transport.clone()))
                .await
                .unwrap();
        }
    }
    // Not in TLS either. The server waits for a request, so its handshake ends soon.
    let secure = server.url("/").replace("http:", "https:");
    let hasty = HttpTransport::builder()
        .proxy(proxy.url(""))
        .connect_timeout(Duration::from_millis(200));
    fetch(builder(&secure).transport(hasty.build().unwrap()))
        .await
        .unwrap_err();
    assert_eq!(server.request_count(), 4);
    // One for each host name, and the one without TLS.
    assert_eq!(server.connection_count(), 3);
    assert_eq!(proxy.connection_count(), 0);
}

#[tokio::test]
async fn connections_start_from_the_local_address_that_was_set() {
    let server = RawServer::always(raw::json(200, GOOD)).await;
    let from = |address: [u8; 4]| HttpTransport::builder().local_address(IpAddr::from(address));
    let transport = from([127, 0, 0, 9]).build().unwrap();
    fetch(builder(&server.url("/")).transport(transport))
        .await
        .unwrap();
    assert_eq!(server.peers()[0].ip(), IpAddr::from([127, 0, 0, 9]));
    // An address that does not belong to this machine.
    let transport = from([192, 0, 2, 1]).build().unwrap();
    let error = fetch(builder(&server.url("/")).transport(transport))
        .await
        .unwrap_err();
    check(
        &error,
        ErrorKind::Unavailable,
        true,
        "no connection could be made: address not available",
    );
}

// covers: I-05
#[tokio::test]
async fn a_client_of_ones_own_is_bounded_all_the_same() {
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap();
    let transport = HttpTransport::danger_from_client(client);
    let server =
        RawServer::start([raw::json(200, GOOD), raw::json(200, " ".repeat(2 << 20))]).await;
    let source = builder(&server.url("/"))
        .transport(transport)
        .build()
        .unwrap();
    source.token(&TokenRequest::default()).await.unwrap();
    let error = source.token(&TokenRequest::default()).await.unwrap_err();
    check(&error, ErrorKind::UnusableResponse, false, "larger than");
}

// covers: F-66
#[tokio::test]
async fn a_token_that_expired_on_its_way_is_not_returned() {
    let clock = hallpass_testkit::ManualClock::new();
    let answer = r#"{"access_token":"t","token_type":"Bearer","expires_in":1}"#;
    let late = raw::json(200, answer).delayed(Duration::from_millis(50));
    let server = RawServer::start([late]).await;
    let source = builder(&server.url("/"))
        .clock(clock.clone())
        .build()
        .unwrap();
    let request = TokenRequest::default();
    let fetch = source.token(&request);
    // Time passes between the request and its response.
    let pass = async {
        while server.request_count() == 0 {
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_secs(2));
    };
    let (result, ()) = tokio::join!(fetch, pass);
    check(
        &result.unwrap_err(),
        ErrorKind::UnusableResponse,
        true,
        "expired before it arrived",
    );
}

// covers: F-72
#[tokio::test]
async fn a_call_that_is_dropped_harms_no_other() {
    let server = RawServer::start([Reply::nothing().then_stall(), raw::json(200, GOOD)]).await;
    let source = builder(&server.url("/")).build().unwrap();
    let request = TokenRequest::default();
    tokio::select! {
        _ = source.token(&request) => panic!("the server stalls"),
        () = async {
            while server.request_count() == 0 {
                tokio::task::yield_now().await;
            }
        } => {}
    }
    source.token(&request).await.unwrap();
}
