//! The other grants, against the embedded server.

mod id_jag;
mod jwt_bearer;
mod refresh_token;
mod token_exchange;

use std::{fmt, sync::Arc};

use hallpass::{
    AccessToken, TokenError, TokenRequest, TokenSource, cache::CachedTokenSource,
    endpoint::ClientSecretBasic,
};
use hallpass_testkit::{
    AuthorizationServer, Client,
    leak::{self, Capture},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers};

use crate::{
    shared::assertions::verify,
    support::{ID, secret},
};

const SECRET: &str = "CANARY-client-of-more-than-32-bytes";

async fn server() -> AuthorizationServer {
    let client = Client::new(ID, SECRET)
        .scopes("orders.read orders.write")
        .assertions(verify);
    AuthorizationServer::builder().client(client).start().await
}

fn basic() -> ClientSecretBasic {
    ClientSecretBasic::new(secret(SECRET))
}

async fn ask(source: &dyn TokenSource) -> Result<AccessToken, TokenError> {
    source.token(&TokenRequest::default()).await
}

fn statuses(server: &AuthorizationServer) -> Vec<u16> {
    let requests = server.token_requests();
    requests.iter().map(|request| request.status).collect()
}

/// Returns the parameters of the form, in the order in which they were sent.
fn sent(server: &AuthorizationServer) -> Vec<(String, String)> {
    server.token_requests().pop().unwrap().form
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    list.iter().map(owned).collect()
}

/// A request with everything that a caller may set, in every grant.
fn everything() -> TokenRequest {
    TokenRequest::new()
        .with_scopes("orders.read".parse().unwrap())
        .with_resource("https://a.example/")
        .unwrap()
        .with_resource("https://b.example/")
        .unwrap()
        .with_audience("billing")
        .unwrap()
        .with_audience("orders")
        .unwrap()
        .with_parameter("tenant", "t1")
        .unwrap()
}

const EVERYTHING: [(&str, &str); 6] = [
    ("scope", "orders.read"),
    ("resource", "https://a.example/"),
    ("resource", "https://b.example/"),
    ("audience", "billing"),
    ("audience", "orders"),
    ("tenant", "t1"),
];

/// Calls a cache a thousand times; the caller checks the number of requests.
async fn a_thousand_calls(source: impl TokenSource + 'static) {
    let cached = Arc::new(CachedTokenSource::new(source));
    let mut calls = JoinSet::new();
    for _ in 0..1_000 {
        let cached = cached.clone();
        calls.spawn(async move { ask(&*cached).await.is_ok() });
    }
    assert_eq!(calls.join_all().await, [true; 1_000]);
}

/// Starts a server with this response, in which `ECHO` is replaced by the parameter of this name.
async fn answering(status: u16, parameter: &'static str, body: Value) -> MockServer {
    let server = MockServer::start().await;
    let answer = move |request: &Request| {
        let form = url_decoded(&request.body);
        let echo = form.iter().find(|(name, _)| name == parameter);
        let echo = echo.map_or("", |(_, value)| value.as_str());
        let body = body.to_string().replace("ECHO", echo);
        ResponseTemplate::new(status).set_body_raw(body, "application/json")
    };
    Mock::given(matchers::any())
        .respond_with(answer)
        .mount(&server)
        .await;
    server
}

fn url_decoded(body: &[u8]) -> Vec<(String, String)> {
    let url = format!("http://x/?{}", std::str::from_utf8(body).unwrap());
    let url = reqwest::Url::parse(&url).unwrap();
    url.query_pairs().into_owned().collect()
}

/// Neither builder, source, error nor trace shows the canary, regardless of the response; echoed text is redacted.
async fn shows_nothing<B: fmt::Debug, S: TokenSource + fmt::Debug>(
    parameter: &'static str,
    canary: &str,
    build: impl Fn(&str) -> B,
    finish: impl Fn(B) -> S,
) {
    let capture = Capture::start();
    let echo = json!({ "error": "invalid_grant", "error_description": "I know not ECHO" });
    let granted = json!({
        "access_token": "granted", "token_type": "Bearer", "refresh_token": "CANARY-next",
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
    });
    for (status, body) in [(400, echo), (200, granted)] {
        let server = answering(status, parameter, body).await;
        let unbuilt = build(&server.uri());
        let mut shown = format!("{unbuilt:?} {unbuilt:#?}");
        let source = finish(unbuilt);
        shown += &format!("{source:?} {source:#?}");
        match ask(&source).await {
            Ok(token) => shown += &format!("{token:?}"),
            Err(error) => {
                let said = error.oauth_error().unwrap().description();
                assert_eq!(said, Some("I know not [redacted]"));
                shown += &leak::error_chain(&error);
            }
        }
        shown += &format!("{source:?}");
        for text in [&shown, &capture.text()] {
            for canary in [canary, SECRET, "CANARY-next"] {
                leak::assert_clean(text, canary);
            }
        }
        // Positive control: it was sent, and is found if it is shown.
        let body = server.received_requests().await.unwrap().remove(0).body;
        let form = format!("{:?}", url_decoded(&body));
        assert!(leak::find(&form, canary).is_some());
    }
    assert!(capture.text().contains("hyper_util"), "nothing was traced");
}
