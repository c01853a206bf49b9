//! The tokens of a platform, such as GitHub Actions, GitLab or Kubernetes, in exchange for those of Microsoft Entra ID
//! and of Google, as their documentation describes it.

use hallpass::{
    AccessToken, ErrorKind, TokenError, TokenRequest, TokenSource,
    endpoint::{Anonymous, SecurityToken, TokenExchange, TokenTypeUri, presets::ENTRA_ID},
    jwt::WorkloadIdentity,
    secrets::FileSecret,
};
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{body_string_contains, method},
};

use crate::support::ID;

/// A token of the platform. The signature is not verified here.
const PLATFORM: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJyZXBvOmFjbWUvb3JkZXJzIn0.c2ln";
const PROVIDER: &str =
    "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/ci/providers/acme";

/// Starts a server that issues a token for requests with all of these parameters, and refuses others.
async fn serve(form: &[&str], answer: &str, refusal: (u16, &str)) -> MockServer {
    let server = MockServer::start().await;
    let mut right = Mock::given(method("POST"));
    for parameter in form {
        right = right.and(body_string_contains(*parameter));
    }
    let json = |status, body: &str| {
        ResponseTemplate::new(status).set_body_raw(body.to_owned(), "application/json")
    };
    let right = right.and(|request: &Request| !request.headers.contains_key("authorization"));
    right
        .respond_with(json(200, answer))
        .with_priority(1)
        .mount(&server)
        .await;
    let (status, body) = refusal;
    Mock::given(method("POST"))
        .respond_with(json(status, body))
        .mount(&server)
        .await;
    server
}

/// Writes what a platform writes, and returns the source of it.
fn file(text: &str) -> (tempfile::NamedTempFile, FileSecret) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let secret = FileSecret::new(file.path());
    (file, secret)
}

fn kind_of(result: Result<AccessToken, TokenError>) -> ErrorKind {
    let error = result.unwrap_err();
    assert!(!error.is_transient(), "{error}");
    error.kind()
}

#[tokio::test]
async fn entra_id_takes_a_platforms_token_as_the_assertion() {
    let server = serve(
        &[
            "grant_type=client_credentials",
            "client_id=orders-service",
            "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer",
            &format!("client_assertion={PLATFORM}"),
            "scope=https%3A%2F%2Fgraph.microsoft.com%2F.default",
        ],
        r#"{"token_type":"Bearer","expires_in":3599,"access_token":"eyJ.a.b"}"#,
        (
            400,
            r#"{"error":"invalid_request","error_description":"AADSTS70021: No matching federated identity record found for presented assertion.","error_codes":[70021]}"#,
        ),
    )
    .await;
    let fetch = async |text: &str| {
        let (_file, secret) = file(text);
        let builder = ENTRA_ID.builder_at(server.uri(), ID, WorkloadIdentity::new(secret));
        let builder = builder.scope("https://graph.microsoft.com/.default");
        let source = builder.danger_allow_http_on_loopback().build().unwrap();
        source.token(&TokenRequest::default()).await
    };
    // GitLab and Kubernetes write the token, GitHub an object around it.
    let github = format!(r#"{{"count":1,"value":"{PLATFORM}"}}"#);
    for text in [PLATFORM, &github] {
        let token = fetch(text).await.unwrap();
        assert_eq!(token.lifetime().as_secs(), 3_599);
    }
    let other = PLATFORM.replace("c2ln", "b3Ro");
    assert_eq!(kind_of(fetch(&other).await), ErrorKind::RequestRefused);
    assert_eq!(server.received_requests().await.unwrap().len(), 3);
}

#[tokio::test]
async fn google_exchanges_a_platforms_token_for_an_access_token() {
    let server = serve(
        &[
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange",
            "audience=%2F%2Fiam.googleapis.com%2Fprojects%2F1%2Flocations%2Fglobal%2FworkloadIdentityPools%2Fci%2Fproviders%2Facme",
            "scope=https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fcloud-platform",
            "requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token",
            &format!("subject_token={PLATFORM}"),
            "subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt",
        ],
        r#"{"access_token":"ya29.d.abc","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":3599}"#,
        (
            400,
            r#"{"error":"invalid_request","error_description":"the token is not acceptable"}"#,
        ),
    )
    .await;
    let fetch = async |text: &str| {
        let (_file, secret) = file(text);
        let subject = SecurityToken::from_secret(secret, TokenTypeUri::JWT);
        let source = TokenExchange::builder(server.uri(), ID, Anonymous::new(), subject)
            .requested_token_type(TokenTypeUri::ACCESS_TOKEN)
            .audience(PROVIDER)
            .scope("https://www.googleapis.com/auth/cloud-platform")
            .danger_allow_http_on_loopback()
            .build()
            .unwrap();
        source.token(&TokenRequest::default()).await
    };
    let token = fetch(PLATFORM).await.unwrap();
    assert_eq!(token.lifetime().as_secs(), 3_599);
    let other = PLATFORM.replace("c2ln", "b3Ro");
    let kind = kind_of(fetch(&other).await);
    assert_eq!(kind, ErrorKind::CredentialsRefused);
    assert_eq!(server.received_requests().await.unwrap().len(), 2);
}
