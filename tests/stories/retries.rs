//! Retries: which errors, when, and when not.

use std::time::Duration;

use hallpass::{
    ErrorKind, TokenRequest, TokenSource,
    endpoint::{ClientCredentials, Retry},
};
use hallpass_testkit::{
    leak::Capture,
    raw::{self, RawServer, Reply},
};

use tokio::time;

use crate::support::builder;

const GOOD: &str = r#"{"access_token":"t","token_type":"Bearer","expires_in":3600}"#;

/// Two retries with almost no delay.
fn quick() -> Retry {
    Retry::new().min_delay(Duration::from_millis(1))
}

fn source(server: &RawServer, retry: Retry) -> ClientCredentials {
    builder(&server.url("/")).retry(retry).build().unwrap()
}

// covers: C-28, F-35, F-47, F-52, F-55, F-56
#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let cut = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 60\r\n\r\n{";
    for fault in [
        raw::http(503, &[], ""),
        raw::http(429, &[], ""),
        raw::http(502, &[], ""),
        raw::json(500, r#"{"error":"server_error"}"#),
        raw::json(400, r#"{"error":"temporarily_unavailable"}"#),
        raw::json(200, ""),
        raw::json(200, r#"{"access_token""#),
        raw::http(200, &[("content-type", "text/html")], "<html>"),
        Reply::bytes(cut).then_reset(),
    ] {
        let server = RawServer::start([fault.clone(), raw::json(200, GOOD)]).await;
        let token = source(&server, quick())
            .token(&TokenRequest::default())
            .await;
        assert!(token.is_ok(), "{fault:?}: {token:?}");
        assert_eq!(server.request_count(), 2, "{fault:?}");
    }
}

// covers: C-28, C-29, F-30, F-31, F-43, F-57
#[tokio::test]
async fn what_will_not_pass_is_asked_once() {
    for fault in [
        raw::json(401, r#"{"error":"invalid_client"}"#),
        raw::json(400, r#"{"error":"invalid_scope"}"#),
        raw::json(400, r#"{"error":"unheard_of"}"#),
        raw::json(200, r#"{"error":"invalid_client"}"#),
        raw::http(400, &[], ""),
        raw::http(403, &[], ""),
        raw::http(404, &[], ""),
        raw::http(501, &[], ""),
        raw::http(302, &[("location", "/")], ""),
        raw::json(200, r#"{"access_token":17}"#),
    ] {
        let server = RawServer::always(fault.clone()).await;
        let error = source(&server, quick())
            .token(&TokenRequest::default())
            .await
            .unwrap_err();
        assert!(!error.is_transient(), "{fault:?}: {error}");
        assert_eq!(server.request_count(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn retries_end() {
    let server = RawServer::always(raw::http(503, &[], "")).await;
    let error = source(&server, quick())
        .token(&TokenRequest::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(server.request_count(), 3);
}

/// The seconds of a wait that a server asks for.
const WAIT: u64 = 20;

/// Returns a server that asks for a wait before the second request.
async fn limited() -> RawServer {
    let wait = [("retry-after", &*WAIT.to_string())];
    let (limited, good) = (raw::http(429, &wait, ""), raw::json(200, GOOD));
    RawServer::start([limited, good.clone(), good]).await
}

/// Moves the clock past the wait when it has begun; checks that no request was sent before its second half.
async fn pass_wait(server: &RawServer, capture: &Capture) {
    while !capture.text().contains("token request failed, retrying") {
        tokio::task::yield_now().await;
    }
    let advance = async || {
        time::pause();
        time::advance(Duration::from_secs(WAIT / 2)).await;
        time::resume();
    };
    advance().await;
    // A request to another server has its response while one to this server would have arrived.
    let other = RawServer::always(raw::json(200, GOOD)).await;
    let token = source(&other, quick())
        .token(&TokenRequest::default())
        .await;
    token.unwrap();
    assert_eq!(server.request_count(), 1);
    advance().await;
}

// covers: F-52, F-53
#[tokio::test]
async fn a_wait_that_the_server_asks_for_is_respected() {
    let capture = Capture::start();
    let server = limited().await;
    let source = source(&server, quick());
    let request = TokenRequest::default();
    let (token, ()) = tokio::join!(source.token(&request), pass_wait(&server, &capture));
    token.unwrap();
    assert_eq!(server.request_count(), 2);
}

// covers: F-52
#[tokio::test]
async fn a_wait_that_the_server_asks_for_holds_for_other_calls() {
    let capture = Capture::start();
    let server = limited().await;
    let source = source(&server, quick());
    let request = TokenRequest::default();
    let other = async {
        while !capture.text().contains("token request failed, retrying") {
            tokio::task::yield_now().await;
        }
        source.token(&request).await
    };
    let (token, other, ()) =
        tokio::join!(source.token(&request), other, pass_wait(&server, &capture));
    assert!(token.is_ok() && other.is_ok());
    assert_eq!(server.request_count(), 3);
}

// covers: F-54
#[tokio::test]
async fn a_wait_past_the_deadline_is_not_begun() {
    for (name, value) in [
        ("retry-after", "86400"),
        ("retry-after", "Tue, 31 Dec 2999 23:59:59 GMT"),
    ] {
        let server = RawServer::always(raw::http(503, &[(name, value)], "")).await;
        let error = source(&server, quick())
            .token(&TokenRequest::default())
            .await
            .unwrap_err();
        assert!(error.is_transient());
        assert!(error.retry_after().unwrap() >= Duration::from_secs(86_400));
        assert_eq!(server.request_count(), 1);
    }
}

#[tokio::test]
async fn the_deadline_bounds_the_attempts_too() {
    let server = RawServer::always(Reply::nothing().then_stall()).await;
    let retry = quick().deadline(Duration::from_millis(150));
    let error = source(&server, retry)
        .token(&TokenRequest::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(server.request_count(), 1);
}

// covers: C-08, C-48
#[tokio::test]
async fn each_attempt_has_fresh_client_authentication() {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hallpass::{
        TokenError, async_trait,
        endpoint::{AuthenticationContext, ClientAuthentication, Credentials},
    };

    #[derive(Debug, Default)]
    struct Counting(AtomicUsize);

    #[async_trait]
    impl ClientAuthentication for Counting {
        async fn credentials(
            &self,
            _: &AuthenticationContext<'_>,
        ) -> Result<Credentials, TokenError> {
            let nth = self.0.fetch_add(1, Ordering::SeqCst).to_string();
            Ok(Credentials::parameters([("client_assertion", nth)]))
        }
    }

    let server = RawServer::start([raw::http(503, &[], ""), raw::json(200, GOOD)]).await;
    let source = builder(&server.url("/"))
        .authentication(Counting::default())
        .retry(quick())
        .build()
        .unwrap();
    source.token(&TokenRequest::default()).await.unwrap();
    let bodies: Vec<_> = server
        .requests()
        .into_iter()
        .map(|request| String::from_utf8(request).unwrap())
        .collect();
    assert!(
        bodies[0].ends_with("&client_assertion=0") && bodies[1].ends_with("&client_assertion=1")
    );
}
