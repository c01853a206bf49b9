//! Mutual TLS against a certified authorization server that shares no code with ours.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use hallpass::{
    AccessToken, ErrorKind, OAuthError, TokenError, TokenRequest, TokenSource,
    endpoint::{
        ClientAuthentication, ClientCredentials, Endpoint, HttpTransport, MutualTls, PublicClient,
        TokenManagement,
    },
    secrets::FileSecret,
};
use serde_json::Value;

use crate::{peer::OidcProvider, support::secret};

fn file(peer: &OidcProvider, name: &str) -> PathBuf {
    Path::new(peer.received("keys")).join(name)
}

fn read(peer: &OidcProvider, name: &str) -> String {
    fs::read_to_string(file(peer, name)).unwrap()
}

/// Reads the identity from the two files of this name.
fn certified(peer: &OidcProvider, name: &str) -> MutualTls {
    let of = |ending| FileSecret::new(file(peer, &format!("{name}.{ending}")));
    MutualTls::from_pair(of("crt"), of("key"))
}

fn transport(peer: &OidcProvider) -> HttpTransport {
    HttpTransport::builder()
        .add_root_certificates_pem(read(peer, "ca.crt"))
        .only_added_root_certificates()
        .build()
        .unwrap()
}

async fn ask(
    peer: &OidcProvider,
    id: &str,
    authentication: impl ClientAuthentication + 'static,
) -> Result<AccessToken, TokenError> {
    let source =
        ClientCredentials::builder(peer.received("tls_token_endpoint"), id, authentication)
            .transport(transport(peer))
            .scope("api:read")
            .resource("https://orders.example/api")
            .build()
            .unwrap();
    source.token(&TokenRequest::default()).await
}

/// Returns the hash of a certificate (RFC 8705 section 3.1), computed by another library.
fn thumbprint(pem: &str) -> String {
    let base64 = pem.lines().filter(|line| !line.starts_with('-'));
    let der = BASE64_STANDARD.decode(base64.collect::<String>()).unwrap();
    BASE64_URL_SAFE_NO_PAD.encode(ring::digest::digest(&ring::digest::SHA256, &der))
}

/// Returns the hash of the certificate to which the server has bound a token, which is a JWT.
fn bound_to(token: &AccessToken) -> String {
    let claims = token.expose().split('.').nth(1).unwrap();
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    claims["cnf"]["x5t#S256"].as_str().unwrap().to_owned()
}

// covers: C-08, C-63, C-65
#[tokio::test]
async fn certificates_of_both_kinds_work_and_bind_the_tokens() {
    let Some(mut peer) = OidcProvider::start(&[]).await else {
        return;
    };
    for (id, name) in [
        ("mtls", "client"),
        ("mtls", "client-renewed"),
        ("mtls-self-signed", "self-signed"),
        ("mtls-self-signed", "self-signed-rsa"),
    ] {
        let token = ask(&peer, id, certified(&peer, name)).await.expect(name);
        let certificate = read(&peer, &format!("{name}.crt"));
        assert_eq!(bound_to(&token), thumbprint(&certificate), "{name}");
        assert!(token.binding().is_some());
        assert_eq!(peer.served().await, 200);
    }
    // Both in one text.
    let text = read(&peer, "client.key") + &read(&peer, "client.crt");
    let authentication = MutualTls::new(secret(&text));
    ask(&peer, "mtls", authentication).await.expect("one text");
}

// covers: C-64
#[tokio::test]
async fn its_aliases_are_found_and_a_bound_token_is_introspected() {
    let Some(peer) = OidcProvider::start(&[]).await else {
        return;
    };
    let login = Endpoint::discover(peer.received("tls_issuer")).transport(transport(&peer));
    let login = login.openid_location().build().unwrap();
    let authentication = certified(&peer, "client");
    let source = ClientCredentials::builder(login.clone(), "mtls", authentication.clone())
        .transport(transport(&peer))
        .scope("api:read")
        .build()
        .unwrap();
    let token = source.token(&TokenRequest::default()).await.unwrap();
    let tokens = TokenManagement::builder(login, "mtls", authentication)
        .transport(transport(&peer))
        .build()
        .unwrap();
    let known = tokens.introspect(&token).await.unwrap();
    assert!(known.is_active());
    let bound: Value = serde_json::from_str(known.member("cnf").unwrap()).unwrap();
    assert_eq!(bound["x5t#S256"], thumbprint(&read(&peer, "client.crt")));
}

// covers: C-65, F-110
#[tokio::test]
async fn a_replaced_certificate_is_used_from_the_next_request() {
    let Some(peer) = OidcProvider::start(&[]).await else {
        return;
    };
    let authentication = certified(&peer, "client");
    let first = ask(&peer, "mtls", authentication.clone()).await.unwrap();
    for ending in ["crt", "key"] {
        let renewed = file(&peer, &format!("client-renewed.{ending}"));
        fs::rename(renewed, file(&peer, &format!("client.{ending}"))).unwrap();
    }
    let second = ask(&peer, "mtls", authentication).await.unwrap();
    assert_eq!(bound_to(&second), thumbprint(&read(&peer, "client.crt")));
    assert_ne!(bound_to(&first), bound_to(&second));
    assert!(first.binding().unwrap().has_ended() && !second.binding().unwrap().has_ended());
}

#[tokio::test]
async fn what_is_wrong_is_refused_once_with_a_hint_that_fits() {
    let Some(mut peer) = OidcProvider::start(&[]).await else {
        return;
    };
    let cases: Vec<(&str, &str, Box<dyn ClientAuthentication>)> = vec![
        (
            "another name",
            "mtls",
            Box::new(certified(&peer, "client-other")),
        ),
        (
            "another authority",
            "mtls",
            Box::new(certified(&peer, "client-stranger")),
        ),
        (
            "one that signs itself",
            "mtls",
            Box::new(certified(&peer, "self-signed")),
        ),
        (
            "one that is not registered",
            "mtls-self-signed",
            Box::new(certified(&peer, "client").self_signed()),
        ),
        (
            "a client that has a secret",
            "basic",
            Box::new(certified(&peer, "client")),
        ),
        ("no certificate", "mtls", Box::new(PublicClient::new())),
    ];
    for (name, id, authentication) in cases {
        let error = ask(&peer, id, authentication).await.expect_err(name);
        assert_eq!(
            error.kind(),
            ErrorKind::CredentialsRefused,
            "{name}: {error}"
        );
        let code = error.oauth_error().map(OAuthError::code);
        assert_eq!(code, Some("invalid_client"), "{name}");
        assert!(error.hint().unwrap().starts_with("check"), "{name}");
        assert!(matches!(peer.served().await, 400 | 401), "{name}");
    }
    // No further request was sent: a refusal is not retried.
    ask(&peer, "mtls", certified(&peer, "client"))
        .await
        .unwrap();
    assert_eq!(peer.served().await, 200);
}
