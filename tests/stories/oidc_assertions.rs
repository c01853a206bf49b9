//! Signed assertions against a certified authorization server that shares no code with ours.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use hallpass::{
    ErrorKind, OAuthError, TokenError, TokenRequest, TokenSource,
    endpoint::{ClientAuthentication, ClientCredentials, PublicClient},
    jwt::{
        Algorithm, AssertionSettings, ClientSecretJwt, HmacAlgorithm, PrivateKeyJwt, SigningKey,
        WorkloadIdentity,
    },
    secrets::FileSecret,
};
use hallpass_testkit::{AuthorizationServer, ManualClock, leak};

use crate::{assertions::assert_off, peer::OidcProvider, support::secret};

fn settings(peer: &OidcProvider) -> AssertionSettings {
    AssertionSettings::new(peer.received("issuer")).unwrap()
}

fn key_file(peer: &OidcProvider, name: &str) -> PathBuf {
    Path::new(peer.received("keys")).join(format!("{name}.pem"))
}

/// Returns the key with which the client of this name is registered.
fn key(peer: &OidcProvider, name: &str) -> SigningKey {
    let pem = fs::read_to_string(key_file(peer, name)).unwrap();
    let key = SigningKey::from_pem(&pem).unwrap().with_key_id(name);
    if name == "ps256" {
        return key.with_algorithm(Algorithm::Ps256).unwrap();
    }
    key
}

async fn ask(
    peer: &OidcProvider,
    id: &str,
    authentication: impl ClientAuthentication + 'static,
) -> Result<(), TokenError> {
    let source = ClientCredentials::builder(peer.received("token_endpoint"), id, authentication)
        .danger_allow_http_on_loopback()
        .scope("api:read")
        .build()
        .unwrap();
    let token = source.token(&TokenRequest::default()).await?;
    assert_eq!(token.scopes().as_str(), "api:read");
    Ok(())
}

fn refused(result: Result<(), TokenError>) -> TokenError {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CredentialsRefused, "{error}");
    let code = error.oauth_error().map(OAuthError::code);
    assert_eq!(code, Some("invalid_client"), "{error}");
    error
}

// covers: C-39, C-44, C-45, C-47, C-49
#[tokio::test]
async fn it_takes_each_kind_of_key_and_secret() {
    let Some(mut peer) = OidcProvider::start(&[]).await else {
        return;
    };
    for name in ["rs256", "ps256", "es256", "es384", "eddsa"] {
        let id = format!("key-{name}");
        let authentication = PrivateKeyJwt::new(settings(&peer), key(&peer, name));
        ask(&peer, &id, authentication).await.expect(name);
        assert_eq!(peer.served().await, 200);
        // It also accepts the older audience that some servers require.
        let old = settings(&peer)
            .danger_token_endpoint_as_audience()
            .plain_type();
        let authentication = PrivateKeyJwt::new(old, key(&peer, name));
        ask(&peer, &id, authentication).await.expect(name);
        assert_eq!(peer.served().await, 200);
    }
    for (id, algorithm) in [
        ("secret-jwt", HmacAlgorithm::Hs256),
        ("secret-jwt-512", HmacAlgorithm::Hs512),
    ] {
        let shared = secret(peer.client_secret(id));
        let authentication = ClientSecretJwt::new(settings(&peer), shared).algorithm(algorithm);
        ask(&peer, id, authentication).await.expect(id);
    }
    ask(&peer, "none", PublicClient::new()).await.expect("none");
}

#[tokio::test]
async fn a_key_in_a_file_is_one_call() {
    let Some(peer) = OidcProvider::start(&[]).await else {
        return;
    };
    let file = FileSecret::new(key_file(&peer, "es256"));
    let authentication = PrivateKeyJwt::from_source(settings(&peer), file, SigningKey::from_pem);
    ask(&peer, "key-es256", authentication)
        .await
        .expect("a token");
}

// covers: C-47, C-49, F-71
#[tokio::test]
async fn what_is_wrong_is_refused_once_with_a_hint_that_fits() {
    let Some(mut peer) = OidcProvider::start(&[]).await else {
        return;
    };
    let elsewhere = AssertionSettings::new("https://elsewhere.example").unwrap();
    let shared = || secret(peer.client_secret("secret-jwt"));
    let (another, _) = SigningKey::generate(Algorithm::Es256).unwrap();
    let padded = key(&peer, "rs256").with_algorithm(Algorithm::Ps256);
    let cases: Vec<(&str, &str, Box<dyn ClientAuthentication>)> = vec![
        (
            "another key of the same kind",
            "key-es256",
            Box::new(PrivateKeyJwt::new(settings(&peer), another)),
        ),
        (
            "another algorithm of the same key",
            "key-rs256",
            Box::new(PrivateKeyJwt::new(settings(&peer), padded.unwrap())),
        ),
        (
            "another client's key",
            "key-es384",
            Box::new(PrivateKeyJwt::new(settings(&peer), key(&peer, "es256"))),
        ),
        (
            "another audience",
            "key-es256",
            Box::new(PrivateKeyJwt::new(elsewhere, key(&peer, "es256"))),
        ),
        (
            "a client that nobody knows",
            "nobody",
            Box::new(PrivateKeyJwt::new(settings(&peer), key(&peer, "es256"))),
        ),
        (
            "a client that has a secret",
            "basic",
            Box::new(PrivateKeyJwt::new(settings(&peer), key(&peer, "es256"))),
        ),
        (
            "another secret",
            "secret-jwt",
            Box::new(ClientSecretJwt::new(
                settings(&peer),
                secret("another-secret-of-more-than-32-bytes"),
            )),
        ),
        (
            "another algorithm of the same secret",
            "secret-jwt-512",
            Box::new(ClientSecretJwt::new(settings(&peer), shared())),
        ),
        (
            "no proof where one is needed",
            "key-es256",
            Box::new(PublicClient::new()),
        ),
    ];
    for (name, id, authentication) in cases {
        let error = refused(ask(&peer, id, authentication).await);
        let hint = error.hint().unwrap();
        assert!(
            hint.starts_with("check") && !hint.contains("clock"),
            "{name}: {hint}"
        );
        assert!(matches!(peer.served().await, 400 | 401), "{name}");
    }
    // No further request was sent: a refusal is not retried.
    ask(&peer, "none", PublicClient::new()).await.unwrap();
    assert_eq!(peer.served().await, 200);
}

/// An expired assertion is refused in the same way. One from the future is accepted: the server does not check `iat`.
// covers: F-71
#[tokio::test]
async fn the_error_for_a_slow_clock_has_the_difference() {
    let Some(peer) = OidcProvider::start(&[]).await else {
        return;
    };
    let clock = ManualClock::new();
    clock.set_wall(SystemTime::now() - Duration::from_secs(600));
    let wrong = settings(&peer).clock(clock);
    let private = PrivateKeyJwt::new(wrong.clone(), key(&peer, "es256"));
    let shared = ClientSecretJwt::new(wrong, secret(peer.client_secret("secret-jwt")));
    for result in [
        ask(&peer, "key-es256", private).await,
        ask(&peer, "secret-jwt", shared).await,
    ] {
        assert_off(&refused(result), "behind the server's");
    }
}

/// A platform's assertion can be used once with a server that records it.
// covers: C-48, F-100
#[tokio::test]
async fn an_assertion_that_came_before_is_refused() {
    let Some(mut peer) = OidcProvider::start(&[]).await else {
        return;
    };
    let recorder = AuthorizationServer::builder().start().await;
    let authentication = PrivateKeyJwt::new(settings(&peer), key(&peer, "eddsa"));
    let source = ClientCredentials::builder(recorder.token_endpoint(), "key-eddsa", authentication)
        .danger_allow_http_on_loopback()
        .build()
        .unwrap();
    assert!(source.token(&TokenRequest::default()).await.is_err());
    let record = recorder.token_requests().remove(0);
    let assertion = record.parameter("client_assertion").unwrap();

    let replay = || WorkloadIdentity::new(secret(assertion));
    ask(&peer, "key-eddsa", replay()).await.expect("once");
    assert_eq!(peer.served().await, 200);
    let error = refused(ask(&peer, "key-eddsa", replay()).await);
    assert_eq!(peer.served().await, 401);
    leak::assert_clean(&leak::error_chain(&error), assertion);

    let late = ManualClock::new();
    late.set_wall(SystemTime::now() + Duration::from_secs(120));
    let error = refused(ask(&peer, "key-eddsa", replay().clock(late)).await);
    let hint = error.hint().unwrap();
    assert!(hint.contains("assertion expired"), "{hint}");
}
