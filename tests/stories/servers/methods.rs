//! Client authentication.

use hallpass::{
    AccessToken, Binding, ErrorKind, OAuthError, TokenError, TokenRequest, TokenSource,
    endpoint::{ClientAuthentication, ClientCredentials, ClientSecretBasic, MutualTls},
    jwt::{
        Algorithm, AssertionSettings, ClientSecretJwt, PrivateKeyJwt, SigningKey, WorkloadIdentity,
    },
};
use hallpass_testkit::AuthorizationServer;

use super::{
    running::{Outcome, Running, Seen},
    tokens::claims,
};
use crate::support::{fetch, secret};

async fn works(
    peer: &Running,
    role: &'static str,
    authentication: impl ClientAuthentication + 'static,
) -> Outcome {
    let token = peer.token(role, authentication).await?;
    assert!(token.scopes().as_str().starts_with("api:read"));
    Ok(())
}

/// Checks that the server refuses the client and that the error says so, with a hint that starts like this.
fn refused(result: Result<AccessToken, TokenError>, hint: &str) -> Outcome {
    let Err(error) = result else {
        return Err(Seen("accepted".to_owned()));
    };
    assert!(!error.is_transient(), "{error}");
    match (error.oauth_error().map(OAuthError::code), error.kind()) {
        (Some("invalid_client"), ErrorKind::CredentialsRefused) => {
            let said = error.hint().unwrap_or_default();
            assert!(said.starts_with(hint), "{error}");
            Ok(())
        }
        _ => Err(error.into()),
    }
}

pub(super) async fn basic(peer: &Running) -> Outcome {
    works(
        peer,
        "odd",
        ClientSecretBasic::new(secret(peer.secret("odd"))),
    )
    .await
}

pub(super) async fn raw_basic(peer: &Running) -> Outcome {
    let raw = ClientSecretBasic::raw(secret(peer.secret("odd-raw")));
    works(peer, "odd-raw", raw).await
}

pub(super) async fn post(peer: &Running) -> Outcome {
    works(peer, "post", peer.post("post")).await
}

pub(super) async fn secret_jwt(peer: &Running) -> Outcome {
    let shared = secret(peer.secret("secret-jwt"));
    works(
        peer,
        "secret-jwt",
        ClientSecretJwt::new(peer.settings(), shared),
    )
    .await
}

fn role(algorithm: &str) -> &'static str {
    match algorithm {
        "rs256" => "key-rs256",
        "ps256" => "key-ps256",
        "es256" => "key-es256",
        "es384" => "key-es384",
        _ => "key-eddsa",
    }
}

pub(super) async fn private_key_jwt(peer: &Running, algorithm: &str) -> Outcome {
    let signed = PrivateKeyJwt::new(peer.settings(), peer.key(algorithm));
    works(peer, role(algorithm), signed).await
}

pub(super) async fn issuer_audience(peer: &Running) -> Outcome {
    let settings = AssertionSettings::new(peer.issuer()).unwrap();
    let signed = PrivateKeyJwt::new(settings, peer.key("es256"));
    works(peer, "key-es256", signed).await
}

pub(super) async fn token_endpoint_audience(peer: &Running) -> Outcome {
    let settings = AssertionSettings::new(peer.issuer()).unwrap();
    let settings = settings.danger_token_endpoint_as_audience();
    let signed = PrivateKeyJwt::new(settings.plain_type(), peer.key("es256"));
    works(peer, "key-es256", signed).await
}

pub(super) async fn another_audience(peer: &Running) -> Outcome {
    let elsewhere = AssertionSettings::new("https://elsewhere.example").unwrap();
    let signed = PrivateKeyJwt::new(elsewhere, peer.key("es256"));
    refused(peer.token("key-es256", signed).await, "check")
}

/// Makes an assertion with a server that records it, and sends it twice.
pub(super) async fn replayed_assertion(peer: &Running) -> Outcome {
    let server = AuthorizationServer::builder().start().await;
    let signed = PrivateKeyJwt::new(peer.settings(), peer.key("es256"));
    let source = ClientCredentials::builder(server.token_endpoint(), peer.id("key-es256"), signed)
        .danger_allow_http_on_loopback()
        .build()
        .unwrap();
    assert!(source.token(&TokenRequest::default()).await.is_err());
    let record = server.token_requests().remove(0);
    let assertion = record.parameter("client_assertion").unwrap();
    let recorded = || WorkloadIdentity::new(secret(assertion));
    works(peer, "key-es256", recorded()).await?;
    refused(peer.token("key-es256", recorded()).await, "check")
}

async fn with_certificate(
    peer: &Running,
    role: &'static str,
    certificate: MutualTls,
) -> Result<AccessToken, TokenError> {
    let source = peer
        .source_at(peer.discovered(), role, certificate)
        .scope("api:read")
        .resource(peer.resource());
    fetch(source).await
}

pub(super) async fn certificate(peer: &Running, role: &'static str, name: &str) -> Outcome {
    let token = with_certificate(peer, role, peer.certificate(name)).await?;
    let bound = token.binding().map(Binding::has_ended);
    assert_eq!(bound, Some(false));
    let thumbprint = super::tokens::thumbprint(&peer.file(&format!("{name}.crt")));
    match claims(&token)?["cnf"]["x5t#S256"].as_str() {
        Some(said) if said == thumbprint => Ok(()),
        other => Err(Seen(format!("bound to {other:?}"))),
    }
}

pub(super) async fn another_certificate(peer: &Running, name: &str) -> Outcome {
    with_certificate(peer, "mtls", peer.certificate("client")).await?;
    refused(
        with_certificate(peer, "mtls", peer.certificate(name)).await,
        "check",
    )
}

pub(super) async fn wrong_secret(peer: &Running) -> Outcome {
    let wrong = || ClientSecretBasic::new(secret("wrong"));
    refused(
        peer.token("basic", wrong()).await,
        "check `client_id` and `client_secret`",
    )
}

pub(super) async fn unknown_client(peer: &Running) -> Outcome {
    let wrong = || ClientSecretBasic::new(secret("wrong"));
    refused(
        peer.token("nobody", wrong()).await,
        "check `client_id` and `client_secret`",
    )
}

pub(super) async fn wrong_key(peer: &Running) -> Outcome {
    let (key, _) = SigningKey::generate_rsa(Algorithm::Rs256, 2048).unwrap();
    let signed = PrivateKeyJwt::new(peer.settings(), key.with_key_id("rs256"));
    refused(peer.token("key-rs256", signed).await, "check")
}

pub(super) async fn another_method(peer: &Running) -> Outcome {
    refused(peer.token("basic", peer.post("basic")).await, "check")
}
