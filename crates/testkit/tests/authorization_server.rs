//! The embedded server checks requests like a real one, and responds as in RFC 6749 and RFC 6750.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use hallpass_testkit::{AuthMethod, AuthorizationServer, Client};
use reqwest::{Method, Response};
use serde_json::Value;

const FORM: &str = "application/x-www-form-urlencoded";
const GRANT: &str = "grant_type=client_credentials";
const GOOD: &str = "grant_type=client_credentials&client_id=id&client_secret=s%26+t";

async fn server() -> AuthorizationServer {
    AuthorizationServer::builder()
        .client(Client::new("id", "s& t").scopes("read write"))
        .client(Client::new("basic", "s").methods([AuthMethod::Basic]))
        .api_scope("read")
        .start()
        .await
}

/// Sends a token request; `basic` holds the user name and password of Basic authentication.
async fn send(
    server: &AuthorizationServer,
    method: Method,
    basic: Option<(&str, &str)>,
    body: &str,
) -> (u16, Value) {
    let mut request = reqwest::Client::new()
        .request(method, server.token_endpoint())
        .header("content-type", FORM)
        .body(body.to_owned());
    if let Some((id, secret)) = basic {
        request = request.basic_auth(id, Some(secret));
    }
    read(request.send().await.unwrap()).await
}

async fn read(answer: Response) -> (u16, Value) {
    let status = answer.status().as_u16();
    assert_eq!(answer.headers()["cache-control"], "no-store");
    assert_eq!(
        answer.headers().contains_key("www-authenticate"),
        status == 401
    );
    let body = answer.bytes().await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

// covers: C-01, C-08, C-10, C-12, C-13, C-61
#[tokio::test]
async fn token_requests_are_checked() {
    let server = server().await;
    let with = |more: &str| format!("{GOOD}&{more}");
    for (method, basic, body, status, code) in [
        (Method::GET, None, GOOD.to_owned(), 405, "invalid_request"),
        (Method::POST, None, String::new(), 400, "invalid_request"),
        (
            Method::POST,
            None,
            with("scope=read&scope=write"),
            400,
            "invalid_request",
        ),
        (
            Method::POST,
            None,
            GOOD.replace("client_credentials", "password"),
            400,
            "unsupported_grant_type",
        ),
        (Method::POST, None, GRANT.to_owned(), 401, "invalid_client"),
        (
            Method::POST,
            None,
            GOOD.replace("s%26+t", "wrong"),
            401,
            "invalid_client",
        ),
        (
            Method::POST,
            None,
            GOOD.replace("=id", "=nobody"),
            401,
            "invalid_client",
        ),
        (
            Method::POST,
            Some(("id", "s%26%20t")),
            GOOD.to_owned(),
            400,
            "invalid_request",
        ),
        (
            Method::POST,
            None,
            format!("{GRANT}&client_id=basic&client_secret=s"),
            401,
            "invalid_client",
        ),
        (
            Method::POST,
            None,
            with("scope=admin"),
            400,
            "invalid_scope",
        ),
        (Method::POST, None, with("scope=%22"), 400, "invalid_scope"),
        (
            Method::POST,
            None,
            with("resource=orders"),
            400,
            "invalid_target",
        ),
        (
            Method::POST,
            None,
            with("resource=https%3A%2F%2Fx.example%2F%23part"),
            400,
            "invalid_target",
        ),
    ] {
        let (seen, answer) = send(&server, method, basic, &body).await;
        assert_eq!(
            (seen, answer["error"].as_str()),
            (status, Some(code)),
            "{body}"
        );
    }
    assert_eq!(server.issued_count(), 0);
    for (basic, body) in [
        (
            None,
            with("scope=read&resource=https%3A%2F%2Fx.example%2F&resource=urn%3Ay&vendor=1"),
        ),
        // `+` and `%20` are both a space in form-encoding.
        (Some(("id", "s%26+t")), GRANT.to_owned()),
        (Some(("id", "s%26%20t")), GRANT.to_owned()),
    ] {
        let (status, answer) = send(&server, Method::POST, basic, &body).await;
        assert_eq!(
            (status, answer["token_type"].as_str()),
            (200, Some("Bearer")),
            "{body}"
        );
    }
    assert_eq!(
        (server.issued_count(), server.token_request_count()),
        (3, 16)
    );
}

// covers: C-07, C-09
#[tokio::test]
async fn only_form_bodies_are_read_and_no_query() {
    let server = server().await;
    let endpoint = server.token_endpoint();
    for (url, content_type) in [
        (endpoint.clone(), "application/json"),
        (format!("{endpoint}?client_secret=x"), FORM),
    ] {
        let post = reqwest::Client::new()
            .post(url)
            .header("content-type", content_type);
        let (status, answer) = read(post.body(GOOD).send().await.unwrap()).await;
        assert_eq!(
            (status, answer["error"].as_str()),
            (400, Some("invalid_request"))
        );
    }
}

#[tokio::test]
async fn scopes_default_to_the_clients_and_secrets_rotate() {
    let server = server().await;
    let (_, answer) = send(&server, Method::POST, None, GOOD).await;
    assert_eq!(
        (&answer["scope"], &answer["expires_in"]),
        (&"read write".into(), &3_600.into())
    );
    server.set_lifetime(Duration::from_secs(60));
    server.rotate_secret("id", "new");
    assert_eq!(send(&server, Method::POST, None, GOOD).await.0, 401);
    let (_, answer) = send(&server, Method::POST, None, &GOOD.replace("s%26+t", "new")).await;
    assert_eq!(answer["expires_in"], 60);
    let statuses: Vec<u16> = server
        .token_requests()
        .iter()
        .map(|request| request.status)
        .collect();
    assert_eq!(statuses, [200, 401, 200]);
}

// covers: C-32, C-33, C-35, C-36
#[tokio::test]
async fn the_api_accepts_tokens_as_rfc_6750_specifies() {
    let server = server().await;
    let token = async |scope: &str| {
        let (_, answer) = send(
            &server,
            Method::POST,
            None,
            &format!("{GOOD}&scope={scope}"),
        )
        .await;
        answer["access_token"].as_str().unwrap().to_owned()
    };
    let call = async |path: &str, header: Option<String>| {
        let mut request = reqwest::Client::new().get(server.api_url(path));
        if let Some(header) = header {
            request = request.header("authorization", header);
        }
        let answer = request.send().await.unwrap();
        let challenge = answer.headers().get("www-authenticate");
        let challenge = challenge.map(|value| value.to_str().unwrap().to_owned());
        (answer.status().as_u16(), challenge.unwrap_or_default())
    };
    let (read, write) = (token("read").await, token("write").await);
    assert_eq!(call("/orders", Some(format!("Bearer {read}"))).await.0, 200);
    let metadata = format!(
        "{}/.well-known/oauth-protected-resource/api",
        server.issuer()
    );
    let named = format!(r#"Bearer realm="api", resource_metadata="{metadata}""#);
    assert_eq!(call("/orders", None).await, (401, named));
    assert_eq!(
        call(&format!("/orders?access_token={read}"), None).await.0,
        400
    );
    let (status, challenge) = call("/orders", Some(format!("Bearer {write}"))).await;
    assert!(
        status == 403 && challenge.contains(r#"scope="read""#),
        "{status} {challenge}"
    );
    for refused in [format!("Bearer {read}x"), format!("Basic {read}")] {
        let (status, challenge) = call("/orders", Some(refused)).await;
        assert!(
            status == 401 && challenge.contains("invalid_token"),
            "{challenge}"
        );
    }
    server.revoke_all_tokens();
    assert_eq!(call("/orders", Some(format!("Bearer {read}"))).await.0, 401);
    server.set_lifetime(Duration::ZERO);
    let expired = token("read").await;
    assert_eq!(
        call("/orders", Some(format!("Bearer {expired}"))).await.0,
        401
    );
    assert_eq!(server.api_call_count(), 8);
}
