use std::{sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hallpass_cache::CachedTokenSource;
use hallpass_core::{
    ErrorKind, SecretSource as _, TokenError, TokenRequest, TokenSource as _, TokenSourceExt as _,
};
use hallpass_endpoint::{
    AuthenticationContext, ClientAuthentication as _, ClientCredentials, Credentials, Retry,
};
use hallpass_jwt::SpiffeJwt;
use hallpass_testkit::{
    leak::{self, Capture},
    raw::{self, RawServer},
};
use tokio::net::UnixListener;
use tonic::Code;

use crate::{
    WorkloadApi,
    messages::{JwtSvidMessage, JwtSvidResponse},
};

mod agent;
mod damage;
mod x509;

use agent::{Agent, api};

const ID: &str = "spiffe://acme.example/orders";
const ISSUER: &str = "https://login.example";

/// Returns an SVID with this text as its signature.
fn svid(id: &str, signature: &str) -> JwtSvidMessage {
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let claims = format!(r#"{{"sub":"{id}","aud":["{ISSUER}"],"exp":4102444800}}"#);
    JwtSvidMessage {
        spiffe_id: id.to_owned(),
        svid: format!(
            "{}.{}.{signature}",
            part(r#"{"alg":"ES256"}"#),
            part(&claims)
        ),
    }
}

fn response(svids: impl Into<Vec<JwtSvidMessage>>) -> JwtSvidResponse {
    JwtSvidResponse {
        svids: svids.into(),
    }
}

async fn credentials(api: &WorkloadApi) -> Result<Credentials, TokenError> {
    let context = AuthenticationContext::new(ID, "https://login.example/token");
    let authentication = SpiffeJwt::new(api.jwt_svid(ISSUER)).audience(ISSUER);
    authentication.credentials(&context).await
}

#[test]
fn the_endpoint_is_a_unix_socket() {
    for valid in ["unix:///run/agent.sock", "unix:/run/agent.sock"] {
        let api = WorkloadApi::new(valid).unwrap();
        assert_eq!(api.socket().to_str(), Some("/run/agent.sock"));
    }
    for other in [
        "",
        "/run/agent.sock",
        "unix:",
        "unix://",
        "unix:run/agent.sock",
        "unix://host/run",
        "unix:///run?x=CANARY",
        "tcp://127.0.0.1:8000",
    ] {
        let error = WorkloadApi::new(other).unwrap_err();
        assert!(!error.is_transient());
        assert!(!error.to_string().contains("CANARY"));
    }
}

#[tokio::test]
async fn the_agents_svid_is_requested_for_the_issuer_and_sent() {
    let agent = Agent::start();
    agent.issue_jwt(Ok(response([svid(ID, "first")])));
    let credentials = credentials(&agent.api()).await.unwrap();
    let sent: Vec<_> = credentials.expose_parameters().collect();
    assert_eq!(
        sent[1].1,
        "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"
    );
    assert_eq!(sent[2].1, svid(ID, "first").svid);
    let [request] = agent.requests().try_into().unwrap();
    assert_eq!(request.audience, [ISSUER]);
    assert_eq!(request.spiffe_id, "");
}

#[tokio::test]
async fn one_of_several_identities_is_selected() {
    const OTHER: &str = "spiffe://acme.example/other";
    let agent = Agent::start();
    agent.issue_jwt(Ok(response([svid(ID, "one"), svid(OTHER, "two")])));
    let source = agent.api().jwt_svid(ISSUER);
    assert_eq!(
        source.secret().await.unwrap().expose(),
        svid(ID, "one").svid
    );
    let other = source.clone().spiffe_id(OTHER);
    assert_eq!(
        other.secret().await.unwrap().expose(),
        svid(OTHER, "two").svid
    );
    assert_eq!(agent.requests()[1].spiffe_id, OTHER);
    let missing = source.spiffe_id("spiffe://acme.example/missing");
    let error = missing.secret().await.unwrap_err();
    assert!(
        error.to_string().contains("no SVID with this SPIFFE ID"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_calls_over_a_rotation_need_two_svids() {
    let agent = Agent::start();
    let token = |text: &str| {
        raw::json(
            200,
            format!(r#"{{"access_token":"{text}","token_type":"Bearer","expires_in":3600}}"#),
        )
    };
    let server = RawServer::start([token("one"), token("two")]).await;
    let authentication = SpiffeJwt::new(agent.api().jwt_svid(ISSUER)).audience(ISSUER);
    let source = ClientCredentials::builder(server.url("/token"), ID, authentication)
        .danger_allow_http_on_loopback()
        .retry(Retry::never())
        .build()
        .unwrap();
    let tokens = Arc::new(CachedTokenSource::new(source));
    for (round, expected) in ["one", "two"].into_iter().enumerate() {
        agent.issue_jwt(Ok(response([svid(ID, expected)])));
        let call = |tokens: Arc<CachedTokenSource<_>>| async move {
            tokens.access_token(&TokenRequest::default()).await.unwrap()
        };
        let calls: Vec<_> = (0..500)
            .map(|_| tokio::spawn(call(tokens.clone())))
            .collect();
        for call in calls {
            let token = call.await.unwrap();
            assert_eq!(token.expose(), expected);
        }
        assert_eq!(agent.requests().len(), round + 1);
        assert_eq!(server.request_count(), round + 1);
        let token = tokens.access_token(&TokenRequest::default()).await.unwrap();
        tokens.invalidate(&token);
    }
}

#[tokio::test]
async fn an_agent_that_is_not_there_is_unavailable() {
    let mut agent = Agent::new();
    agent.issue_jwt(Ok(response([svid(ID, "first")])));
    let api = agent.api();
    let error = credentials(&api).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("agent.sock"), "{error}");
    for _ in 0..2 {
        agent.run();
        credentials(&api).await.unwrap();
        agent.stop().await;
        let error = credentials(&api).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
    // A socket without a process.
    drop(UnixListener::bind(agent.socket()).unwrap());
    let error = credentials(&api).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(agent.requests().len(), 2);
    // No agent can have a socket with such a path.
    let long = WorkloadApi::new(&format!("unix:///{}", "a".repeat(200))).unwrap();
    let error = credentials(&long).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
}

#[tokio::test]
async fn each_status_of_the_agent_has_its_error_kind() {
    let agent = Agent::start();
    for (code, kind, says) in [
        (
            Code::PermissionDenied,
            ErrorKind::Configuration,
            "no identity for this process",
        ),
        (
            Code::InvalidArgument,
            ErrorKind::Configuration,
            "InvalidArgument",
        ),
        (
            Code::Unimplemented,
            ErrorKind::Configuration,
            "Unimplemented",
        ),
        (Code::Unavailable, ErrorKind::Unavailable, "Unavailable"),
        (
            Code::ResourceExhausted,
            ErrorKind::Unavailable,
            "ResourceExhausted",
        ),
        (Code::Internal, ErrorKind::Unavailable, "Internal"),
    ] {
        agent.issue_jwt(Err(code));
        let error = credentials(&agent.api()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{code:?}");
        assert!(error.to_string().contains(says), "{error}");
        leak::assert_clean(&leak::error_chain(&error), "CANARY");
    }
}

#[tokio::test]
async fn a_hostile_response_is_an_error_within_bounds() {
    let agent = Agent::start();
    let of = |svid: &str| JwtSvidMessage {
        spiffe_id: ID.to_owned(),
        svid: svid.to_owned(),
    };
    let two = format!("{} {}", svid(ID, "one").svid, svid(ID, "two").svid);
    for svids in [
        vec![],
        vec![of("")],
        vec![of("CANARY")],
        vec![of(&two)],
        vec![svid("CANARY", "one")],
        vec![of(&"A".repeat(2 << 20))],
        vec![svid(ID, &"A".repeat(20_000))],
        vec![svid(ID, "one"); 20_000],
    ] {
        agent.issue_jwt(Ok(response(svids)));
        let error = credentials(&agent.api()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        leak::assert_clean(&leak::error_chain(&error), "CANARY");
    }
    // The first of several is enough; the others do not spoil it.
    agent.issue_jwt(Ok(response([svid(ID, "one"), of("CANARY")])));
    credentials(&agent.api()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_answer_is_given_up() {
    let directory = tempfile::TempDir::new().unwrap();
    let socket = directory.path().join("agent.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    let started = tokio::time::Instant::now();
    let error = credentials(&api(&socket)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(started.elapsed().as_secs(), 5);
    let hasty = api(&socket).timeout(Duration::from_secs(1));
    credentials(&hasty).await.unwrap_err();
    assert_eq!(started.elapsed().as_secs(), 6);
}

#[tokio::test]
async fn what_is_no_workload_api_is_an_error() {
    let directory = tempfile::TempDir::new().unwrap();
    let socket = directory.path().join("agent.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        stream.writable().await.unwrap();
        stream
            .try_write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nCANARY")
            .unwrap();
        stream
    });
    let error = credentials(&api(&socket)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    leak::assert_clean(&leak::error_chain(&error), "CANARY");
    server.abort();
}

#[tokio::test]
async fn no_output_shows_an_svid() {
    let capture = Capture::start();
    let agent = Agent::start();
    agent.issue_jwt(Ok(response([svid(ID, "CANARY")])));
    let api = agent.api();
    let source = api.jwt_svid(ISSUER);
    let secret = source.secret().await.unwrap();
    // The positive control.
    assert!(leak::find(secret.expose(), "CANARY").is_some());
    let message = response([svid(ID, "CANARY")]);
    let shown = format!("{api:?} {source:?} {secret:?} {message:?}");
    leak::assert_clean(&shown, "CANARY");
    leak::assert_clean(&capture.text(), "CANARY");
}
