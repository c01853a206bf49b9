//! Responses of a server through the whole stack: status, content type, length, and what surrounds the body.

use std::time::Duration;

use hallpass::{AccessToken, ErrorKind, TokenError, TokenRequest, TokenSource as _};
use hallpass_testkit::{
    leak,
    raw::{self, RawServer, Reply},
};

use crate::support::{CANARY, builder, fetch, hasty};

const GOOD: &str = r#"{"access_token":"t","token_type":"Bearer","expires_in":3600}"#;

async fn answer(reply: Reply) -> Result<AccessToken, TokenError> {
    let server = RawServer::always(reply).await;
    let result = fetch(builder(&server.url("/token")).transport(hasty())).await;
    assert_eq!(server.request_count(), 1);
    result
}

async fn refused(reply: Reply, kind: ErrorKind, transient: bool, says: &str) -> TokenError {
    let error = answer(reply).await.unwrap_err();
    let text = leak::error_chain(&error);
    assert_eq!(
        (error.kind(), error.is_transient()),
        (kind, transient),
        "{text}"
    );
    assert!(error.to_string().contains(says), "{text}");
    assert!(error.host().unwrap().starts_with("127.0.0.1:"), "{text}");
    leak::assert_clean(&text, CANARY);
    error
}

fn typed(content_type: &str) -> Reply {
    raw::http(200, &[("content-type", content_type)], GOOD)
}

// covers: C-17, F-38
#[tokio::test]
async fn only_200_is_success() {
    for status in [201, 202, 203, 206] {
        let reply = raw::json(status, GOOD);
        let error = refused(reply, ErrorKind::UnusableResponse, false, "other than 200").await;
        assert_eq!(error.status().unwrap().as_u16(), status);
    }
    let empty = Reply::bytes("HTTP/1.1 204 No Content\r\n\r\n");
    refused(empty, ErrorKind::UnusableResponse, false, "HTTP 204").await;
}

// covers: F-07, F-08, F-09
#[tokio::test]
async fn the_content_type_decides() {
    for fine in [
        "application/json",
        "application/json;charset=utf-8",
        "Application/JSON ; x=y",
    ] {
        assert!(answer(typed(fine)).await.is_ok(), "{fine}");
    }
    for other in [
        "text/plain",
        "application/jsonX",
        "application/jwt",
        "application/problem+json",
        "",
    ] {
        refused(
            typed(other),
            ErrorKind::UnusableResponse,
            false,
            "lenient_responses",
        )
        .await;
    }
    let untyped = raw::http(200, &[], GOOD);
    refused(
        untyped,
        ErrorKind::UnusableResponse,
        false,
        "lenient_responses",
    )
    .await;
    let page = raw::http(
        200,
        &[("content-type", "text/html; charset=utf-8")],
        "<html>",
    );
    refused(page, ErrorKind::UnusableResponse, true, "web page").await;
    let empty = raw::http(200, &[], "");
    refused(empty, ErrorKind::UnusableResponse, true, "empty").await;
}

// covers: F-07
#[tokio::test]
async fn a_lenient_source_takes_what_is_clear_all_the_same() {
    for (reply, taken) in [
        (raw::http(200, &[], GOOD), true),
        (typed("text/plain"), true),
        (typed("text/html"), false),
    ] {
        let server = RawServer::always(reply).await;
        let result = fetch(builder(&server.url("/")).lenient_responses()).await;
        assert_eq!(result.is_ok(), taken);
    }
}

// covers: F-09, F-31
#[tokio::test]
async fn an_error_counts_with_any_content_type() {
    let body = format!(r#"{{"error":"invalid_scope","detail":"{CANARY}"}}"#);
    for content_type in ["application/problem+json", "text/plain; charset=utf-8"] {
        let reply = raw::http(400, &[("content-type", content_type)], &body);
        let error = refused(reply, ErrorKind::RequestRefused, false, "`invalid_scope`").await;
        assert_eq!(error.oauth_error().unwrap().code(), "invalid_scope");
    }
}

// covers: F-09, F-31
#[tokio::test]
async fn a_refusal_in_any_form_shows_the_servers_words() {
    const FORM: &str = "error=invalid_client&error_description=no+such+client";
    const XML: &str = "<error><message>no such client</message></error>";
    for (content_type, body) in [
        ("text/plain", "no such client"),
        ("application/x-www-form-urlencoded", FORM),
        ("application/xml", XML),
        ("application/json", r#"[{"message":"no such client"}]"#),
    ] {
        let reply = raw::http(401, &[("content-type", content_type)], body);
        let kind = ErrorKind::CredentialsRefused;
        refused(reply, kind, false, "no such client").await;
    }
    let reply = raw::http(200, &[("content-type", "text/plain")], FORM);
    refused(
        reply,
        ErrorKind::CredentialsRefused,
        false,
        "no such client",
    )
    .await;
    for content_type in ["application/json", "text/plain"] {
        let body = r#"{"message":"no such client"}"#;
        let reply = raw::http(200, &[("content-type", content_type)], body);
        refused(reply, ErrorKind::UnusableResponse, false, "no such client").await;
    }
}

// covers: F-09
#[tokio::test]
async fn the_body_of_a_200_that_may_be_a_token_is_not_shown() {
    let quoted = format!("\"{CANARY}\"");
    let list = format!("[\"{CANARY}\"]");
    for body in [CANARY, &quoted, &list] {
        for content_type in ["text/plain", "application/json"] {
            let reply = raw::http(200, &[("content-type", content_type)], body);
            refused(reply, ErrorKind::UnusableResponse, false, "the response").await;
        }
    }
}

// covers: F-08
#[tokio::test]
async fn a_web_page_under_the_type_of_json_may_not_come_back() {
    let page = raw::json(200, "<html><title>Sign in &amp; go</title>");
    let error = refused(page, ErrorKind::UnusableResponse, true, "web page").await;
    assert_eq!(error.server_message(), Some("Sign in & go"));
}

// covers: F-33, C-27
#[tokio::test]
async fn an_echo_of_the_secret_is_taken_out() {
    let canary = serde_json::to_string(CANARY).unwrap();
    for echo in [
        canary.trim_matches('"'),
        "CANARY%2Fs3cr3t%2Bvalue%3D%C3%BC%25",
        "Q0FOQVJZL3MzY3IzdCt2YWx1ZT3DvCU=",
    ] {
        let body = format!(
            r#"{{"error":"invalid_client","error_description":"sent {echo} for {}"}}"#,
            crate::support::ID
        );
        let error = refused(
            raw::json(401, body),
            ErrorKind::CredentialsRefused,
            false,
            "[redacted]",
        )
        .await;
        assert!(error.to_string().contains("for orders-service"), "{error}");
    }
}

// covers: F-04, F-06
#[tokio::test]
async fn the_body_is_bounded_announced_or_not() {
    let announced = Reply::bytes(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 104857600\r\n\r\n",
    )
    .then_flood("        ".repeat(1_024));
    refused(
        announced,
        ErrorKind::UnusableResponse,
        false,
        "larger than 1048576 bytes",
    )
    .await;

    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
    let server = RawServer::always(Reply::bytes(head).then_flood(&chunk)).await;
    let error = fetch(builder(&server.url("/"))).await.unwrap_err();
    assert!(
        error.to_string().contains("larger than 1048576 bytes"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("max_body_bytes"));
    // The connection is dropped: only the kernel's buffers hold data beyond the limit.
    let sent = server.flooded_bytes();
    assert!(sent < 16 << 20, "{sent}");
}

// covers: F-01, F-41
#[tokio::test]
async fn a_status_counts_although_the_body_is_over_the_limit() {
    let page = "x".repeat(2 << 20);
    let headers = [("content-type", "text/html"), ("retry-after", "7")];
    for status in [429, 503] {
        let reply = raw::http(status, &headers, &page);
        let error = answer(reply).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    }
}

// covers: F-06, F-46
#[tokio::test]
async fn progress_does_not_extend_the_deadline() {
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let drip = Reply::bytes(head).then_drip("1\r\n \r\n", Duration::from_millis(20));
    refused(drip, ErrorKind::Unavailable, true, "within 300ms").await;
}

// covers: F-05
#[tokio::test]
async fn nothing_is_decompressed() {
    let server = RawServer::always(raw::json(200, GOOD)).await;
    fetch(builder(&server.url("/"))).await.unwrap();
    let request = String::from_utf8(server.requests().pop().unwrap()).unwrap();
    assert!(
        !request.to_lowercase().contains("accept-encoding"),
        "{request}"
    );

    let headers = [
        ("content-type", "application/json"),
        ("content-encoding", "gzip"),
    ];
    let zipped = raw::http(200, &headers, [0x1f, 0x8b, 8, 0]);
    refused(zipped, ErrorKind::UnusableResponse, false, "compressed").await;
    let plain = [
        ("content-type", "application/json"),
        ("content-encoding", "identity"),
    ];
    assert!(answer(raw::http(200, &plain, GOOD)).await.is_ok());
}

// covers: F-39
#[tokio::test]
async fn informational_responses_are_skipped() {
    let hints = format!(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{GOOD}",
        GOOD.len()
    );
    assert!(answer(Reply::bytes(hints)).await.is_ok());
}

// covers: F-61
#[tokio::test]
async fn cookies_are_not_stored() {
    let headers = [
        ("content-type", "application/json"),
        ("set-cookie", "session=1; Path=/"),
    ];
    let server = RawServer::always(raw::http(200, &headers, GOOD)).await;
    let source = builder(&server.url("/")).build().unwrap();
    for _ in 0..2 {
        hallpass::TokenSource::token(&source, &hallpass::TokenRequest::default())
            .await
            .unwrap();
    }
    let second = String::from_utf8(server.requests().pop().unwrap()).unwrap();
    assert!(!second.to_lowercase().contains("cookie"), "{second}");
}

// covers: C-01, C-04, C-07, C-09
#[tokio::test]
async fn the_request_is_a_form_sent_to_the_address_as_it_is() {
    let server = RawServer::always(raw::json(200, GOOD)).await;
    fetch(builder(&server.url("/token?tenant=a%20b&x")))
        .await
        .unwrap();
    let request = String::from_utf8(server.requests().pop().unwrap()).unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("POST /token?tenant=a%20b&x HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.contains("content-type: application/x-www-form-urlencoded\r\n"),
        "{head}"
    );
    assert!(
        body.starts_with("grant_type=client_credentials&client_id=orders-service&client_secret="),
        "{body}"
    );
    leak::assert_clean(head, CANARY);
    assert!(leak::find(body, CANARY).is_some());
}

#[tokio::test]
async fn a_quota_in_the_headers_comes_with_the_token() {
    let headers = [
        ("content-type", "application/json"),
        ("x-ratelimit-limit", "100"),
        ("x-ratelimit-remaining", "99"),
        ("auth0-client-quota-limit", "b=per_hour;q=10;r=7;t=3540"),
    ];
    let body = r#"{"access_token":"t","token_type":"Bearer","expires_in":60}"#;
    let server = RawServer::always(raw::http(200, &headers, body)).await;
    let source = builder(&server.url("/token")).build().unwrap();
    let token = source.token(&TokenRequest::default()).await.unwrap();
    let quotas: Vec<_> = token
        .quotas()
        .iter()
        .map(|quota| (quota.name(), quota.remaining()))
        .collect();
    assert_eq!(quotas, [("rate_limit", 99), ("client_per_hour", 7)]);
}
