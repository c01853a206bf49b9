//! From a client id to an API call, against the embedded server.

use std::{sync::Arc, time::Duration};

use hallpass::{
    ErrorKind, TokenRequest, TokenSource,
    camall::{Authentication, Camall, CamallBuilder},
};
use hallpass_testkit::{AuthMethod, AuthorizationServer, Client};

use crate::support::{ID, secret};

/// All characters that are easily encoded wrongly in Basic or in a form.
const ODD: &str = "p@ss:w%rd+with &=/?#~\"\\ spaces";

async fn server() -> AuthorizationServer {
    AuthorizationServer::builder()
        .client(Client::new(ID, ODD).scopes("orders.read orders.write"))
        .client(Client::new("raw client", ODD).methods([AuthMethod::BasicRaw]))
        .api_scope("orders.read")
        .lifetime(Duration::from_secs(1_200))
        .start()
        .await
}

fn camall(server: &AuthorizationServer, id: &str, secret_text: &str) -> CamallBuilder {
    Camall::builder(id, secret(secret_text))
        .token_endpoint(server.token_endpoint())
        .danger_allow_http_on_loopback()
}

async fn call(server: &AuthorizationServer, token: &hallpass::AccessToken) -> u16 {
    let request = reqwest::Client::new().get(server.api_url("/orders"));
    let answer = request
        .header("authorization", token.header_value().clone())
        .send()
        .await;
    answer.unwrap().status().as_u16()
}

// covers: C-01, C-08, C-09, C-12, C-14, C-21, C-32
#[tokio::test]
async fn a_token_is_had_and_opens_the_api() {
    let server = server().await;
    let source: Arc<dyn TokenSource> = Arc::new(
        camall(&server, ID, ODD)
            .scope("orders.read")
            .build()
            .unwrap(),
    );
    let token = source.token(&TokenRequest::default()).await.unwrap();

    assert_eq!(token.token_type().as_str(), "Bearer");
    assert_eq!(token.scopes().as_str(), "orders.read");
    assert_eq!(token.lifetime(), Duration::from_secs(1_200));
    assert_eq!(call(&server, &token).await, 200);
    assert_eq!(server.token_request_count(), 1);
    assert_eq!(server.api_call_count(), 1);
}

// covers: C-05, C-06, C-08, F-115
#[tokio::test]
async fn each_way_of_authentication_carries_odd_characters() {
    let server = server().await;
    for (way, id, seen) in [
        (Authentication::Post, ID, AuthMethod::Post),
        (Authentication::Basic, ID, AuthMethod::Basic),
        (Authentication::BasicRaw, "raw client", AuthMethod::BasicRaw),
    ] {
        let source = camall(&server, id, ODD)
            .authentication(way)
            .build()
            .unwrap();
        source.token(&TokenRequest::default()).await.unwrap();
        let request = server.token_requests().pop().unwrap();
        assert_eq!(request.method, Some(seen), "{way:?}");
        assert_eq!(request.client_id.as_deref(), Some(id), "{way:?}");
        let in_form = request
            .form
            .iter()
            .any(|(name, _)| name.starts_with("client_"));
        assert_eq!(in_form, way == Authentication::Post, "{way:?}");
    }
}

// covers: C-10, C-26, F-34
#[tokio::test]
async fn refusals_name_who_is_at_fault_and_what_to_do() {
    let server = server().await;
    let refusal = async |builder: CamallBuilder, request: TokenRequest| {
        builder.build().unwrap().token(&request).await.unwrap_err()
    };
    let default = TokenRequest::default;
    for builder in [
        camall(&server, ID, "wrong"),
        camall(&server, "nobody", ODD),
        camall(&server, ID, ODD).authentication(Authentication::BasicRaw),
    ] {
        let error = refusal(builder, default()).await;
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::CredentialsRefused, "{text}");
        assert!(!error.is_transient());
        for part in [
            "`invalid_client`",
            "127.0.0.1",
            "HTTP 401",
            "`CAMALL_CLIENT_SECRET`",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
    let scope = TokenRequest::new().with_scopes("orders.admin".parse().unwrap());
    let error = refusal(camall(&server, ID, ODD), scope).await;
    assert_eq!(error.kind(), ErrorKind::RequestRefused);
    assert_eq!(error.oauth_error().unwrap().code(), "invalid_scope");
    assert!(error.hint().unwrap().contains("CAMALL_SCOPE"));
    // Each was one request: a refusal is not retried.
    assert_eq!(server.token_request_count(), 4);
}

// covers: C-10, C-61
#[tokio::test]
async fn a_request_adds_to_what_the_source_was_built_for() {
    let server = server().await;
    let source = camall(&server, ID, ODD)
        .scope("orders.read")
        .with_endpoint(|endpoint| endpoint.parameter("tenant", "blue").audience("default"))
        .build()
        .unwrap();
    let request = TokenRequest::new()
        .with_resource("https://a.example/")
        .unwrap()
        .with_resource("https://b.example/")
        .unwrap()
        .with_audience("orders")
        .unwrap();
    source.token(&request).await.unwrap();
    let seen = server.token_requests().pop().unwrap().form;
    let values = |name: &str| -> Vec<&str> {
        let named = seen.iter().filter(|(known, _)| known == name);
        named.map(|(_, value)| value.as_str()).collect()
    };
    assert_eq!(values("grant_type"), ["client_credentials"]);
    assert_eq!(values("scope"), ["orders.read"]);
    assert_eq!(
        values("resource"),
        ["https://a.example/", "https://b.example/"]
    );
    assert_eq!(values("audience"), ["orders"]);
    assert_eq!(values("tenant"), ["blue"]);
}

// covers: C-23, F-36
#[tokio::test]
async fn fewer_scopes_than_asked_fail_where_they_are_required() {
    let server = AuthorizationServer::builder()
        .client(Client::new(ID, ODD).scopes("orders.read"))
        .start()
        .await;
    let source = camall(&server, ID, ODD).build().unwrap();
    let token = source.token(&TokenRequest::default()).await.unwrap();
    assert_eq!(token.scopes().as_str(), "orders.read");
    let error = token
        .require_scopes(&"orders.write".parse().unwrap())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RequestRefused);
}
