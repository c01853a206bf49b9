//! The main job against a certified authorization server that shares no code with ours.

use std::time::Duration;

use hallpass::{
    Clock as _, ErrorKind, OAuthError, SystemClock, TokenRequest, TokenSource,
    endpoint::{
        ClientAuthentication, ClientCredentials, ClientSecretBasic, ClientSecretPost,
        HttpTransport, SourceBuilder,
    },
};

use crate::{peer::OidcProvider, support::secret};

fn client(
    peer: &OidcProvider,
    id: &str,
    authentication: impl ClientAuthentication + 'static,
) -> SourceBuilder<ClientCredentials> {
    ClientCredentials::builder(peer.received("token_endpoint"), id, authentication)
        .danger_allow_http_on_loopback()
}

fn basic(peer: &OidcProvider, id: &str) -> SourceBuilder<ClientCredentials> {
    client(
        peer,
        id,
        ClientSecretBasic::new(secret(peer.client_secret(id))),
    )
}

fn post(peer: &OidcProvider, id: &str) -> SourceBuilder<ClientCredentials> {
    client(
        peer,
        id,
        ClientSecretPost::new(secret(peer.client_secret(id))),
    )
}

// covers: C-05, C-08, C-09, C-12, C-13, C-61, F-115
#[tokio::test]
async fn it_grants_what_is_asked_in_each_way_of_authentication() {
    let Some(mut peer) = OidcProvider::start(&["--ttl", "600"]).await else {
        return;
    };
    for builder in [
        basic(&peer, "basic"),
        basic(&peer, "basic:odd id"),
        post(&peer, "post"),
        post(&peer, "post-odd"),
    ] {
        let source = builder.scope("api:write api:read").build().unwrap();
        let token = source
            .token(&TokenRequest::default())
            .await
            .expect("a token");
        assert_eq!(token.scopes().as_str(), "api:read api:write");
        assert_eq!(token.lifetime(), Duration::from_secs(600));
        assert_eq!(peer.served().await, 200);
    }

    // With a resource the token is a JWT: a different format, handled alike.
    let source = basic(&peer, "basic").scope("api:read").build().unwrap();
    let request = TokenRequest::new()
        .with_resource("https://orders.example/api")
        .unwrap();
    let token = source.token(&request).await.unwrap();
    assert_eq!(token.expose().split('.').count(), 3);
    assert_eq!(token.scopes().as_str(), "api:read");
}

// covers: C-26, C-28, F-34
#[tokio::test]
async fn its_refusals_are_understood() {
    let Some(mut peer) = OidcProvider::start(&[]).await else {
        return;
    };
    let wrong = || ClientSecretBasic::new(secret("wrong"));
    let resource = TokenRequest::new()
        .with_resource("https://nobody.example/")
        .unwrap();
    let scope = TokenRequest::new().with_scopes("openid".parse().unwrap());
    let default = TokenRequest::default;
    for (builder, request, kind, code) in [
        (
            client(&peer, "basic", wrong()),
            default(),
            ErrorKind::CredentialsRefused,
            "invalid_client",
        ),
        (
            client(&peer, "nobody", wrong()),
            default(),
            ErrorKind::CredentialsRefused,
            "invalid_client",
        ),
        // Raw encoding of a secret that requires the RFC's encoding.
        (
            client(
                &peer,
                "post-odd",
                ClientSecretBasic::raw(secret(peer.client_secret("post-odd"))),
            ),
            default(),
            ErrorKind::RequestRefused,
            "invalid_request",
        ),
        (
            basic(&peer, "basic"),
            scope,
            ErrorKind::RequestRefused,
            "invalid_scope",
        ),
        (
            basic(&peer, "basic"),
            resource,
            ErrorKind::RequestRefused,
            "invalid_target",
        ),
    ] {
        let error = builder.build().unwrap().token(&request).await.unwrap_err();
        let said = error.oauth_error().map(OAuthError::code);
        assert_eq!((error.kind(), said), (kind, Some(code)), "{error}");
        assert!(!error.is_transient() && error.hint().is_some(), "{error}");
        // One request each: a refusal is not retried.
        assert!(matches!(peer.served().await, 400 | 401));
    }
}

/// The server drops unknown scopes and, if none remain, omits `scope` from its response, which RFC 6749 section 5.1
/// defines as "as requested". Only the API's 403 shows the difference.
// covers: C-23, I-08
#[tokio::test]
async fn an_unknown_scope_is_dropped_there() {
    let Some(peer) = OidcProvider::start(&[]).await else {
        return;
    };
    let source = basic(&peer, "basic").build().unwrap();
    for (asked, granted) in [("api:read unknown", "api:read"), ("unknown", "unknown")] {
        let request = TokenRequest::new().with_scopes(asked.parse().unwrap());
        let token = source.token(&request).await.unwrap();
        assert_eq!(token.scopes().as_str(), granted);
    }
    let strict = basic(&peer, "basic")
        .scope("api:read unknown")
        .require_granted_scopes();
    let error = strict
        .build()
        .unwrap()
        .token(&TokenRequest::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RequestRefused);
    assert!(
        error.to_string().contains("without the required `unknown`"),
        "{error}"
    );
}

// covers: C-21
#[tokio::test]
async fn a_token_expires_here_when_it_does_there() {
    let Some(peer) = OidcProvider::start(&["--ttl", "2"]).await else {
        return;
    };
    let source = basic(&peer, "basic").build().unwrap();
    let token = source.token(&TokenRequest::default()).await.unwrap();
    assert_eq!(token.lifetime(), Duration::from_secs(2));
    let introspect = format!("{}/token/introspection", peer.received("issuer"));
    let client = reqwest::Client::new();
    loop {
        let answer = client
            .post(&introspect)
            .basic_auth("basic", Some(peer.client_secret("basic")))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("token={}", token.expose()))
            .send()
            .await
            .unwrap();
        let answer = answer.bytes().await.unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        if answer["active"] == false {
            // It counts in whole seconds, so up to one second is lost when it issues the token.
            let left = token.deadline().saturating_since(SystemClock.now());
            assert!(left <= Duration::from_secs(1), "{left:?} left here");
            break;
        }
        let late = SystemClock.now().saturating_since(token.deadline());
        assert!(
            late < Duration::from_secs(1),
            "still active there {late:?} later"
        );
    }
}

// covers: C-30, F-43
#[tokio::test]
async fn its_certificate_must_be_trusted() {
    let Some(peer) = OidcProvider::start(&[]).await else {
        return;
    };
    let ca = std::fs::read(std::path::Path::new(peer.received("keys")).join("ca.crt")).unwrap();
    let over_tls = |transport: HttpTransport| {
        let authentication = ClientSecretBasic::new(secret(peer.client_secret("basic")));
        ClientCredentials::builder(peer.received("tls_token_endpoint"), "basic", authentication)
            .transport(transport)
            .build()
            .unwrap()
    };
    for builder in [
        HttpTransport::builder().add_root_certificates_pem(ca.clone()),
        HttpTransport::builder()
            .add_root_certificates_pem(ca)
            .only_added_root_certificates(),
    ] {
        let source = over_tls(builder.build().unwrap());
        assert!(source.token(&TokenRequest::default()).await.is_ok());
    }
    let source = over_tls(HttpTransport::builder().build().unwrap());
    let error = source.token(&TokenRequest::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(!error.is_transient());
    let text = error.to_string();
    assert!(
        text.contains("certificate authority that is not trusted")
            && text.contains("add_root_certificates_pem"),
        "{text}"
    );
}
