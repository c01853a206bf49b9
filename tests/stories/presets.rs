//! Each preset against a scripted server: documented requests, responses and refusals.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hallpass::{
    ErrorKind, TokenRequest, TokenSource,
    endpoint::presets::{self, Preset, SecretAuthentication},
    jwt::{AssertionSettings, PrivateKeyJwt},
};
use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{body_string_contains, header, method},
};

use crate::{
    shared::assertions::{key, verify},
    support::{ID, secret},
};

use scripts::{SCRIPTS, Script};

mod scripts;

/// Starts a server that accepts only the correct request.
async fn serve(script: &Script) -> MockServer {
    let server = MockServer::start().await;
    let grant_type = script.preset.grant_type.unwrap_or("client_credentials");
    let mut right = Mock::given(method("POST"))
        .and(header("content-type", "application/x-www-form-urlencoded"))
        .and(body_string_contains(format!("grant_type={grant_type}")));
    for parameter in script.form {
        right = right.and(body_string_contains(*parameter));
    }
    right = match script.preset.authentication {
        SecretAuthentication::Post => right
            .and(body_string_contains("client_id=orders-service"))
            .and(body_string_contains("client_secret=s3cr3t")),
        // `orders-service:s3cr3t`
        _ => right.and(header(
            "authorization",
            "Basic b3JkZXJzLXNlcnZpY2U6czNjcjN0",
        )),
    };
    let json = |status, body: &str| {
        ResponseTemplate::new(status)
            .set_body_raw(body.to_owned(), "application/json;charset=UTF-8")
    };
    right
        .respond_with(json(200, script.answer))
        .with_priority(1)
        .mount(&server)
        .await;
    let (status, body) = script.refusal;
    Mock::given(method("POST"))
        .respond_with(json(status, body))
        .mount(&server)
        .await;
    server
}

fn source(script: &Script, url: &str, text: &str) -> impl TokenSource + use<> {
    let builder = script.preset.builder(script.values, ID, secret(text));
    let mut builder = builder
        .unwrap()
        .token_endpoint(url)
        .danger_allow_http_on_loopback();
    if let Some(audience) = script.audience {
        builder = builder.audience(audience);
    }
    if let Some(scope) = script.scope {
        builder = builder.scope(scope);
    }
    for (name, value) in script.parameters {
        builder = builder.parameter(name, value);
    }
    builder.build().unwrap()
}

#[tokio::test]
async fn each_server_takes_the_request_and_refuses_a_wrong_secret() {
    for script in SCRIPTS {
        let name = script.preset.name;
        let endpoint = script.preset.endpoint(script.values).unwrap();
        assert_eq!(endpoint, script.endpoint, "{name}");
        let server = serve(script).await;
        let url = format!("{}/token", server.uri());
        let request = TokenRequest::default();
        let token = source(script, &url, "s3cr3t")
            .token(&request)
            .await
            .unwrap();
        assert_eq!(token.lifetime().as_secs(), script.seconds, "{name}");
        let wrong = source(script, &url, "wrong").token(&request).await;
        let error = wrong.expect_err(name);
        assert!(!error.is_transient(), "{name}: {error}");
        assert_eq!(
            error.kind(),
            ErrorKind::CredentialsRefused,
            "{name}: {error}"
        );
    }
}

/// Returns the assertion in this form.
fn assertion(form: &[u8]) -> &str {
    let form = std::str::from_utf8(form).unwrap();
    let mut pairs = form.split('&');
    let assertion = pairs.find_map(|pair| pair.strip_prefix("client_assertion="));
    assertion.unwrap()
}

fn claims(assertion: &str) -> Value {
    let payload = assertion.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test]
async fn okta_issues_tokens_for_its_apis_to_registered_keys() {
    let endpoint = presets::OKTA_ORG.endpoint(&[("domain", "acme.okta.com")]);
    assert_eq!(endpoint.unwrap(), "https://acme.okta.com/oauth2/v1/token");
    let server = MockServer::start().await;
    let url = format!("{}/oauth2/v1/token", server.uri());
    let expected = url.clone();
    Mock::given(method("POST"))
        .and(body_string_contains("scope=okta.users.read"))
        .respond_with(move |request: &Request| {
            let assertion = assertion(&request.body);
            let claims = claims(assertion);
            assert_eq!([&claims["iss"], &claims["sub"]], [ID; 2]);
            assert_eq!(claims["aud"], *expected);
            let (status, answer) = if verify(assertion, "registered") {
                (200, json!({"token_type": "Bearer", "expires_in": 3_600, "access_token": "eyJ.a.b", "scope": "okta.users.read"}))
            } else {
                (401, json!({"error": "invalid_client", "error_description": "The client_assertion signature is invalid."}))
            };
            ResponseTemplate::new(status).set_body_json(answer)
        })
        .expect(2)
        .mount(&server)
        .await;
    let fetch = async |name: &str| {
        let settings =
            AssertionSettings::for_discovered_issuer().danger_token_endpoint_as_audience();
        let authentication = PrivateKeyJwt::new(settings, key(name));
        let builder = presets::OKTA_ORG.builder_at(&*url, ID, authentication);
        let source = builder
            .scope("okta.users.read")
            .danger_allow_http_on_loopback();
        source
            .build()
            .unwrap()
            .token(&TokenRequest::default())
            .await
    };
    let token = fetch("registered").await.unwrap();
    assert_eq!(token.lifetime().as_secs(), 3_600);
    let error = fetch("unknown").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CredentialsRefused, "{error}");
}

#[test]
fn every_preset_has_a_script_its_sources_and_its_quirks() {
    for preset in presets::ALL {
        assert!(
            preset.token_endpoint.starts_with("https://"),
            "{}",
            preset.name
        );
        assert!(
            !preset.sources.is_empty() && !preset.quirks.is_empty(),
            "{}",
            preset.name
        );
        let scripted = SCRIPTS
            .iter()
            .any(|script| script.preset.name == preset.name);
        // A server without client secrets has a test of its own.
        let takes_secrets = preset.authentication != SecretAuthentication::Assertion;
        assert_eq!(scripted, takes_secrets, "{}", preset.name);
    }
}

fn refused(preset: &'static Preset, values: &[(&str, &str)]) -> String {
    preset
        .builder(values, ID, secret("s3cr3t"))
        .unwrap_err()
        .to_string()
}

#[test]
fn what_a_server_would_refuse_is_an_error_before_sending() {
    let google = refused(&presets::GOOGLE, &[]);
    assert!(google.contains("signed assertion"), "{google}");
    let okta_org = refused(&presets::OKTA_ORG, &[("domain", "acme.okta.com")]);
    assert!(okta_org.contains("signed assertion"), "{okta_org}");
    let missing = refused(&presets::OKTA, &[("domain", "acme.okta.com")]);
    assert!(missing.contains("Okta needs a `server`"), "{missing}");
    let unknown = refused(&presets::AUTH0, &[("tenant", "acme")]);
    assert!(unknown.contains("has no variable `tenant`"), "{unknown}");
    for value in [
        "",
        "https://acme.example",
        "a/b",
        "a b",
        "..",
        "acme@evil.example",
        "a?b",
        "{domain}",
    ] {
        let unfit = refused(&presets::AUTH0, &[("domain", value)]);
        assert!(
            unfit.contains("cannot be part of an address"),
            "{value}: {unfit}"
        );
    }

    let built = |preset: &'static Preset, values, change: fn(_) -> _| {
        let builder = preset.builder(values, ID, secret("s3cr3t")).unwrap();
        hallpass::endpoint::SourceBuilder::build(change(builder))
            .err()
            .map(|error| error.setting())
    };
    let entra = &[("tenant", "acme")][..];
    for scope in ["", "api://orders/read", "a/.default b/.default"] {
        let builder = presets::ENTRA_ID
            .builder(entra, ID, secret("s3cr3t"))
            .unwrap();
        let error = builder.scope(scope).build().unwrap_err();
        assert_eq!(error.setting(), "scope", "{scope}");
    }
    let okta = &[("domain", "acme.okta.com"), ("server", "default")][..];
    assert_eq!(
        built(&presets::OKTA, okta, |builder| builder),
        Some("scope")
    );
    assert_eq!(
        built(&presets::ZOOM, &[], |builder| builder),
        Some("parameter")
    );
    let auth0 = &[("domain", "acme.auth0.com")][..];
    assert_eq!(
        built(&presets::AUTH0, auth0, |builder| builder),
        Some("audience")
    );
    let with_resource: fn(_) -> _ = |builder: hallpass::endpoint::SourceBuilder<_>| {
        builder.scope("a/.default").resource("https://a.example")
    };
    assert_eq!(
        built(&presets::ENTRA_ID, entra, with_resource),
        Some("resource")
    );
}
