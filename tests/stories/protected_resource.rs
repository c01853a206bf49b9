//! From the 401 of an API to a token of the authorization server that its metadata names (RFC 9728).

use std::time::Duration;

use hallpass::{
    ErrorKind, TokenError, TokenRequest, TokenSource as _,
    endpoint::{
        ClientCredentials, ClientSecretPost, ProtectedResource, ResourceDiscovery,
        ResourceDiscoveryBuilder, Retry,
    },
};
use hallpass_testkit::{
    leak,
    raw::{self, RawServer},
};
use http::HeaderMap;
use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{method, path},
};

use crate::{
    discovery::{self, document, ok},
    support::{ID, hasty, secret},
};

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// Starts a resource server that returns this at the well-known location of its resource `/mcp`.
async fn resource_server(answer: impl Fn(&str) -> ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    let answer = answer(&server.uri());
    Mock::given(method("GET"))
        .and(path(format!("{WELL_KNOWN}/mcp")))
        .respond_with(answer)
        .mount(&server)
        .await;
    server
}

fn metadata(resource: &str, issuers: &[&str]) -> Value {
    json!({ "resource": resource, "authorization_servers": issuers })
}

fn allowing(resource: &str, issuer: &str) -> ResourceDiscoveryBuilder {
    ResourceDiscovery::builder()
        .allow_resource(resource)
        .allow_issuer(issuer)
        .transport(hasty())
        .danger_allow_http_on_loopback()
}

fn challenge(value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("www-authenticate", value.parse().unwrap());
    headers
}

fn names(server: &MockServer) -> HeaderMap {
    let url = format!("{}{WELL_KNOWN}/mcp", server.uri());
    challenge(&format!(
        r#"Bearer error="invalid_token", resource_metadata="{url}""#
    ))
}

/// Triggers the event of a resource's metadata.
pub(crate) async fn emit() {
    let answer = |uri: &str| ok(metadata(&format!("{uri}/mcp"), &["https://login.example"]));
    discovered(answer).await.unwrap();
}

/// Discovers the resource `/mcp` of a server with this metadata, for the issuer `https://login.example`.
async fn discovered(
    answer: impl Fn(&str) -> ResponseTemplate,
) -> Result<ProtectedResource, TokenError> {
    let server = resource_server(answer).await;
    let client = allowing(&server.uri(), "https://login.example")
        .build()
        .unwrap();
    client.discover(&format!("{}/mcp", server.uri())).await
}

#[tokio::test]
async fn a_401_leads_to_a_token_for_its_resource() {
    let login = discovery::server(|issuer| ok(document(issuer))).await;
    let issuer = login.uri();
    let api = resource_server(|origin| {
        let issuers = ["https://other.example", &issuer];
        ok(metadata(&format!("{origin}/mcp"), &issuers))
    })
    .await;
    let client = allowing(&api.uri(), &issuer).build().unwrap();
    let resource = format!("{}/mcp", api.uri());
    let found = client.discover_from(&resource, &names(&api)).await.unwrap();
    assert_eq!((found.resource(), found.issuer()), (&*resource, &*issuer));
    let endpoint = found.authorization_server().build().unwrap();
    let authentication = ClientSecretPost::new(secret("s3cr3t"));
    let source = ClientCredentials::builder(endpoint, ID, authentication)
        .resource(found.resource())
        .danger_allow_http_on_loopback()
        .retry(Retry::never())
        .build()
        .unwrap();
    let token = source.token(&TokenRequest::default()).await.unwrap();
    assert_eq!(token.expose(), "t0k3n");
    let sent = login.received_requests().await.unwrap();
    let form = str::from_utf8(&sent.last().unwrap().body).unwrap();
    let form = reqwest::Url::parse(&format!("https://x.example/?{form}")).unwrap();
    let pairs = form.query_pairs().into_owned();
    let sent: Vec<_> = pairs.filter(|(name, _)| name == "resource").collect();
    assert_eq!(sent, [("resource".to_owned(), resource)]);
    assert_eq!(api.received_requests().await.unwrap().len(), 1);
}

#[tokio::test]
async fn nothing_is_sent_to_an_origin_that_is_not_allowed() {
    let api = resource_server(|_| ok(json!({}))).await;
    let client = allowing("https://api.example", "https://login.example");
    let client = client.build().unwrap();
    let url = format!("{}/mcp", api.uri());
    for error in [
        client.discover(&url).await.unwrap_err(),
        client.discover_from(&url, &names(&api)).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(
            error
                .to_string()
                .contains("origin of the resource is not allowed")
        );
        assert!(error.hint().unwrap().contains("`allow_resource`"));
    }
    assert_eq!(api.received_requests().await.unwrap().len(), 0);
}

#[tokio::test]
async fn an_issuer_that_is_not_allowed_is_not_used() {
    let login = discovery::server(|issuer| ok(document(issuer))).await;
    let hostile = login.uri();
    let error = discovered(|origin| {
        let issuers = [
            &*hostile,
            "https://login.example/",
            "https://LOGIN.example",
            "\u{1b}[2J",
        ];
        ok(metadata(&format!("{origin}/mcp"), &issuers))
    });
    let error = error.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    let text = error.to_string();
    assert!(
        text.contains("`https://login.example/`") && !text.contains('\u{1b}'),
        "{text}"
    );
    assert!(error.hint().unwrap().contains("`allow_issuer`"));
    assert_eq!(login.received_requests().await.unwrap().len(), 0);
}

#[tokio::test]
async fn metadata_are_those_of_the_resource_at_its_own_origin() {
    let other = resource_server(|origin| ok(metadata(origin, &["https://login.example"]))).await;
    let api = resource_server(|origin| {
        ok(metadata(
            &format!("{origin}/billing"),
            &["https://login.example"],
        ))
    })
    .await;
    let client = allowing(&api.uri(), "https://login.example")
        .build()
        .unwrap();
    let url = format!("{}/mcp", api.uri());
    for (headers, kind, expected) in [
        (
            names(&other),
            ErrorKind::Configuration,
            "another origin than its own",
        ),
        (
            names(&api),
            ErrorKind::Configuration,
            "another resource, `http://127.0.0.1",
        ),
        (
            challenge("Bearer realm=x"),
            ErrorKind::Configuration,
            "names no `resource_metadata`",
        ),
        (
            HeaderMap::new(),
            ErrorKind::Configuration,
            "names no `resource_metadata`",
        ),
        (
            challenge(r#"Bearer resource_metadata="/relative/CANARY""#),
            ErrorKind::UnusableResponse,
            "not an absolute URL",
        ),
        (
            challenge(r#"Bearer resource_metadata="http://api.example/CANARY""#),
            ErrorKind::UnusableResponse,
            "plain HTTP",
        ),
        (
            challenge(r#"Bearer resource_metadata="https://CANARY@api.example/""#),
            ErrorKind::UnusableResponse,
            "user name or password",
        ),
    ] {
        let error = client.discover_from(&url, &headers).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!leak::error_chain(&error).contains("CANARY"), "{error}");
    }
    assert_eq!(other.received_requests().await.unwrap().len(), 0);
    assert_eq!(api.received_requests().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_resource_above_the_request_is_accepted_by_choice() {
    let api = resource_server(|origin| ok(metadata(origin, &["https://login.example"]))).await;
    let builder = || allowing(&api.uri(), "https://login.example");
    let (strict, parents) = (builder(), builder().accept_parent_resource());
    let (strict, parents) = (strict.build().unwrap(), parents.build().unwrap());
    let url = format!("{}/mcp/tools", api.uri());
    let error = strict.discover_from(&url, &names(&api)).await.unwrap_err();
    assert!(error.hint().unwrap().contains("`accept_parent_resource`"));
    let found = parents.discover_from(&url, &names(&api)).await.unwrap();
    assert_eq!(found.resource(), api.uri());
    // A resource that was named is not replaced by another one.
    let named = format!("{}/mcp", api.uri());
    parents.discover(&named).await.unwrap_err();
}

#[tokio::test]
async fn hostile_documents_are_refused_within_bounds() {
    let json = |body: Value| ResponseTemplate::new(200).set_body_json(body);
    let raw = |body: String| ResponseTemplate::new(200).set_body_raw(body, "application/json");
    let issuer = "https://login.example";
    for (answer, kind, expected) in [
        (
            ResponseTemplate::new(302).insert_header("location", "https://evil.example/CANARY"),
            ErrorKind::Configuration,
            "redirects requests for its resource metadata to `evil.example`",
        ),
        (
            ResponseTemplate::new(404),
            ErrorKind::Configuration,
            "has no resource metadata at http://127.0.0.1",
        ),
        (
            ResponseTemplate::new(503),
            ErrorKind::Unavailable,
            "temporarily unavailable",
        ),
        (
            ResponseTemplate::new(200).set_body_raw("{}", "text/html"),
            ErrorKind::UnusableResponse,
            "content type",
        ),
        (
            raw(format!(r#"{{"x":"{}"}}"#, "CANARY".repeat(400_000))),
            ErrorKind::UnusableResponse,
            "larger than 1048576 bytes",
        ),
        (
            raw("[".repeat(500_000)),
            ErrorKind::UnusableResponse,
            "not an object",
        ),
        (
            raw(format!(r#"{{"resource":{}"#, "[".repeat(500_000))),
            ErrorKind::UnusableResponse,
            "not valid JSON",
        ),
        (
            json(json!({ "resource": "CANARY", "authorization_servers": [issuer] })),
            ErrorKind::UnusableResponse,
            "is not an `https` URL",
        ),
        (
            json(json!({ "resource": "https://a.example/#CANARY" })),
            ErrorKind::UnusableResponse,
            "is not an `https` URL",
        ),
    ] {
        let error = discovered(|_| answer.clone()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let text = error.to_string();
        assert!(text.contains(expected) && text.len() < 1_000, "{text}");
        assert!(!leak::error_chain(&error).contains("CANARY"), "{text}");
        assert!(error.host().unwrap().starts_with("127.0.0.1:"), "{text}");
    }
    let none = discovered(|origin| json(metadata(&format!("{origin}/mcp"), &[])));
    let none = none.await.unwrap_err().to_string();
    assert!(none.contains("no `authorization_servers`"), "{none}");
}

#[tokio::test]
async fn a_slow_resource_is_given_up_in_time() {
    let server = RawServer::always(raw::json(200, "{}").delayed(Duration::from_secs(60))).await;
    let client = allowing(&server.url(""), "https://login.example")
        .build()
        .unwrap();
    let error = client.discover(&server.url("/mcp")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_transient(), "{error}");
    assert_eq!(server.request_count(), 1);
}
