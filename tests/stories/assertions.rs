//! Signed assertions against the embedded server, which accepts each once and verifies all claims.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

use hallpass::{
    ErrorKind, TokenError, TokenRequest, TokenSource,
    cache::CachedTokenSource,
    endpoint::{ClientAuthentication, ClientCredentials, Retry, SourceBuilder},
    jwt::{AssertionSettings, ClientSecretJwt, PrivateKeyJwt, WorkloadIdentity},
};
use hallpass_testkit::{
    AuthMethod, AuthorizationServer, Client, ManualClock, RotatingSecret, TokenRequestRecord,
    faults,
    leak::{self, Capture},
};
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers};

use crate::{
    shared::assertions::{key, verify},
    support::{ID, secret},
};

const FIRST: &str = "CANARY-first-of-more-than-32-bytes";
const SECOND: &str = "CANARY-second-of-more-than-32-bytes";

pub(crate) async fn server(client_secret: &str) -> AuthorizationServer {
    let client = Client::new(ID, client_secret)
        .assertions(verify)
        .methods([AuthMethod::Assertion]);
    AuthorizationServer::builder().client(client).start().await
}

fn settings(server: &AuthorizationServer) -> AssertionSettings {
    AssertionSettings::new(&server.issuer()).unwrap()
}

fn builder(
    server: &AuthorizationServer,
    authentication: impl ClientAuthentication + 'static,
) -> SourceBuilder<ClientCredentials> {
    ClientCredentials::builder(server.token_endpoint(), ID, authentication)
        .danger_allow_http_on_loopback()
}

fn statuses(server: &AuthorizationServer) -> Vec<u16> {
    let requests = server.token_requests();
    requests.iter().map(|request| request.status).collect()
}

fn assertion(record: &TokenRequestRecord) -> &str {
    record.parameter("client_assertion").unwrap()
}

// covers: C-44, C-45, C-46, C-47, C-08
#[tokio::test]
async fn each_method_authenticates_the_client() {
    let server = server(FIRST).await;
    for builder in [
        builder(&server, PrivateKeyJwt::new(settings(&server), key(FIRST))),
        builder(
            &server,
            ClientSecretJwt::new(settings(&server), secret(FIRST)),
        ),
    ] {
        let source = builder.build().unwrap();
        for _ in 0..3 {
            assert!(source.token(&TokenRequest::default()).await.is_ok());
        }
    }
    let requests = server.token_requests();
    assert_eq!(statuses(&server), [200; 6]);
    for request in &requests {
        assert_eq!(request.method, Some(AuthMethod::Assertion));
        assert_eq!(request.parameter("client_secret"), None);
        assert_eq!(request.header("authorization"), None);
    }
}

// covers: C-48
#[tokio::test]
async fn each_retry_has_an_assertion_of_its_own() {
    let server = server(FIRST).await;
    server.inject_faults([
        faults::named("status_503").unwrap(),
        faults::named("status_503").unwrap(),
    ]);
    let source = builder(&server, PrivateKeyJwt::new(settings(&server), key(FIRST)))
        .build()
        .unwrap();
    assert!(source.token(&TokenRequest::default()).await.is_ok());
    let requests = server.token_requests();
    let sent: HashSet<&str> = requests.iter().map(assertion).collect();
    assert_eq!((statuses(&server), sent.len()), (vec![503, 503, 200], 3));
}

/// Clocks that are off by ten minutes in either direction.
pub(crate) fn clocks_off() -> [(ManualClock, &'static str); 2] {
    const OFF: Duration = Duration::from_secs(600);
    let now = SystemTime::now();
    let off = |wall| {
        let clock = ManualClock::new();
        clock.set_wall(wall);
        clock
    };
    [
        (off(now + OFF), "ahead of the server's"),
        (off(now - OFF), "behind the server's"),
    ]
}

/// Off by ten minutes, within the duration of the test.
pub(crate) fn assert_off(error: &TokenError, side: &str) {
    let hint = error.hint().unwrap();
    let off = (590..=720).any(|off| hint.contains(&format!("{off}s {side}")));
    assert!(off, "{hint}");
}

// covers: F-71
#[tokio::test]
async fn the_error_for_a_wrong_clock_has_the_difference() {
    let server = server(FIRST).await;
    for (clock, side) in clocks_off() {
        let authentication = PrivateKeyJwt::new(settings(&server).clock(clock), key(FIRST));
        // An adapter's own hint does not hide it.
        let source = builder(&server, authentication).hints(|_| Some("call the help desk".into()));
        let source = source.build().unwrap();
        let error = source.token(&TokenRequest::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CredentialsRefused);
        assert_off(&error, side);
    }
    // A correct clock is not blamed.
    let authentication = PrivateKeyJwt::new(settings(&server), key(SECOND));
    let source = builder(&server, authentication).build().unwrap();
    let error = source.token(&TokenRequest::default()).await.unwrap_err();
    assert!(
        error
            .hint()
            .unwrap()
            .starts_with("check that the server knows the key")
    );
}

// covers: F-110, I-15
#[tokio::test]
async fn a_key_that_rotated_during_the_request_is_tried_again() {
    let server = server(SECOND).await;
    let file = RotatingSecret::new(FIRST);
    file.rotate_after_reading(SECOND);
    let authentication =
        PrivateKeyJwt::from_source(settings(&server), file.clone(), |text| Ok(key(text)));
    let source = builder(&server, authentication).build().unwrap();
    assert!(source.token(&TokenRequest::default()).await.is_ok());
    assert_eq!(statuses(&server), [401, 200]);
    assert_eq!((file.reads(), file.refusals()), (2, 1));
}

/// A refusal remembered by the cache ends when the key changes.
// covers: F-98, F-110
#[tokio::test]
async fn a_new_key_ends_a_remembered_refusal() {
    let server = server(SECOND).await;
    let file = RotatingSecret::new(FIRST);
    let authentication =
        PrivateKeyJwt::from_source(settings(&server), file.clone(), |text| Ok(key(text)));
    let source = CachedTokenSource::builder(builder(&server, authentication).build().unwrap())
        .refusal_ttl(Duration::from_secs(3_600))
        .min_interval(Duration::ZERO)
        .build();
    for _ in 0..3 {
        let error = source.token(&TokenRequest::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CredentialsRefused);
    }
    assert_eq!(statuses(&server), [401]);
    file.rotate(SECOND);
    assert!(source.token(&TokenRequest::default()).await.is_ok());
    assert_eq!(statuses(&server), [401, 200]);
}

// covers: F-99, F-100, F-101
#[tokio::test]
async fn neither_key_nor_assertion_is_shown_or_traced() {
    let capture = Capture::start();
    let server = server(FIRST).await;
    let stale = "aGVhZGVy.eyJzdWIiOiJvcmRlcnMtc2VydmljZSJ9.CANARY-signature";
    for (authentication, granted) in [
        (
            Box::new(PrivateKeyJwt::new(settings(&server), key(FIRST)))
                as Box<dyn ClientAuthentication>,
            true,
        ),
        (
            Box::new(ClientSecretJwt::new(settings(&server), secret(FIRST))),
            true,
        ),
        (
            Box::new(PrivateKeyJwt::new(settings(&server), key(SECOND))),
            false,
        ),
        (Box::new(WorkloadIdentity::new(secret(stale))), false),
    ] {
        let unbuilt = builder(&server, authentication);
        let mut shown = format!("{unbuilt:?} {unbuilt:#?}");
        let source = unbuilt.build().unwrap();
        shown += &format!("{source:?} {source:#?}");
        let result = source.token(&TokenRequest::default()).await;
        assert_eq!(result.is_ok(), granted);
        if let Err(error) = result {
            shown += &leak::error_chain(&error);
        }
        let record = server.token_requests().pop().unwrap();
        shown += &format!("{record:?}");
        let sent = assertion(&record);
        let (_, signature) = sent.rsplit_once('.').unwrap();
        for text in [&shown, &capture.text()] {
            for canary in [sent, signature, FIRST, SECOND] {
                leak::assert_clean(text, canary);
            }
        }
        // Positive control.
        assert!(leak::find(sent, signature).is_some());
    }
    assert!(capture.text().contains("hyper_util"), "nothing was traced");
}

// covers: F-33, F-100
#[tokio::test]
async fn an_echo_of_the_assertion_is_taken_out() {
    let server = MockServer::start().await;
    let echo = |request: &Request| {
        let form = std::str::from_utf8(&request.body).unwrap();
        let (_, assertion) = form.rsplit_once("client_assertion=").unwrap();
        let body = serde_json::json!({
            "error": "invalid_client",
            "error_description": format!("cannot verify {assertion}"),
        });
        ResponseTemplate::new(401).set_body_json(body)
    };
    Mock::given(matchers::any())
        .respond_with(echo)
        .mount(&server)
        .await;
    let settings = AssertionSettings::new(&server.uri()).unwrap();
    let authentication = PrivateKeyJwt::new(settings, key(FIRST));
    let source = ClientCredentials::builder(server.uri(), ID, authentication)
        .danger_allow_http_on_loopback()
        .retry(Retry::never())
        .build()
        .unwrap();
    let error = source.token(&TokenRequest::default()).await.unwrap_err();
    let said = error.oauth_error().unwrap().description();
    assert_eq!(said, Some("cannot verify [redacted]"));
}
