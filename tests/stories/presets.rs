//! Each preset against a scripted server: documented requests, responses and refusals.

use hallpass::{
    ErrorKind, TokenRequest, TokenSource,
    endpoint::presets::{self, Preset},
};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{body_string_contains, header, method},
};

use crate::support::{ID, secret};

/// A server's behaviour as its documentation shows it.
struct Script {
    preset: &'static Preset,
    values: &'static [(&'static str, &'static str)],
    endpoint: &'static str,
    audience: Option<&'static str>,
    scope: Option<&'static str>,
    /// The encoded content of the form; credentials are checked by the method.
    form: &'static [&'static str],
    answer: &'static str,
    /// The lifetime in its response, in seconds.
    seconds: u64,
    /// The response to a wrong secret.
    refusal: (u16, &'static str),
}

const SCRIPTS: &[Script] = &[
    Script {
        preset: &presets::AUTH0,
        values: &[("domain", "acme.eu.auth0.com")],
        endpoint: "https://acme.eu.auth0.com/oauth/token",
        audience: Some("https://api.acme.example"),
        scope: None,
        form: &["audience=https%3A%2F%2Fapi.acme.example"],
        answer: r#"{"access_token":"eyJ.a.b","scope":"orders:read","expires_in":86400,"token_type":"Bearer"}"#,
        seconds: 86_400,
        refusal: (
            401,
            r#"{"error":"access_denied","error_description":"Unauthorized"}"#,
        ),
    },
    Script {
        preset: &presets::OKTA,
        values: &[("domain", "acme.okta.com"), ("server", "default")],
        endpoint: "https://acme.okta.com/oauth2/default/v1/token",
        audience: None,
        scope: Some("orders.read"),
        form: &["scope=orders.read"],
        answer: r#"{"token_type":"Bearer","expires_in":3600,"access_token":"eyJ.a.b","scope":"orders.read"}"#,
        seconds: 3_600,
        refusal: (
            401,
            r#"{"error":"invalid_client","error_description":"The client secret supplied for a confidential client is invalid."}"#,
        ),
    },
    Script {
        preset: &presets::ENTRA_ID,
        values: &[("tenant", "acme.onmicrosoft.com")],
        endpoint: "https://login.microsoftonline.com/acme.onmicrosoft.com/oauth2/v2.0/token",
        audience: None,
        scope: Some("api://orders/.default"),
        form: &["scope=api%3A%2F%2Forders%2F.default"],
        answer: r#"{"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599,"access_token":"eyJ.a.b"}"#,
        seconds: 3_599,
        refusal: (
            401,
            r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided.\r\nTrace ID: 0000aaaa","error_codes":[7000215],"timestamp":"2026-01-09 02:02:12Z","trace_id":"0000aaaa","correlation_id":"aaaa0000"}"#,
        ),
    },
    Script {
        preset: &presets::KEYCLOAK,
        values: &[("host", "sso.acme.example:8443"), ("realm", "orders")],
        endpoint: "https://sso.acme.example:8443/realms/orders/protocol/openid-connect/token",
        audience: None,
        scope: None,
        form: &[],
        answer: r#"{"access_token":"eyJ.a.b","expires_in":300,"refresh_expires_in":0,"token_type":"Bearer","not-before-policy":0,"scope":"profile email"}"#,
        seconds: 300,
        refusal: (
            401,
            r#"{"error":"unauthorized_client","error_description":"Invalid client or Invalid client credentials"}"#,
        ),
    },
    Script {
        preset: &presets::COGNITO,
        values: &[("domain", "acme"), ("region", "eu-central-1")],
        endpoint: "https://acme.auth.eu-central-1.amazoncognito.com/oauth2/token",
        audience: None,
        scope: Some("orders/read"),
        form: &["scope=orders%2Fread"],
        answer: r#"{"access_token":"eyJ.a.b","expires_in":3600,"token_type":"Bearer"}"#,
        seconds: 3_600,
        refusal: (400, r#"{"error":"invalid_client"}"#),
    },
    Script {
        preset: &presets::ORY_HYDRA,
        values: &[("host", "hydra.acme.example")],
        endpoint: "https://hydra.acme.example/oauth2/token",
        audience: Some("https://api.acme.example"),
        scope: Some("orders.read"),
        form: &[
            "audience=https%3A%2F%2Fapi.acme.example",
            "scope=orders.read",
        ],
        answer: r#"{"access_token":"ory_at_abc.def","expires_in":3599,"scope":"orders.read","token_type":"bearer"}"#,
        seconds: 3_599,
        refusal: (
            401,
            r#"{"error":"invalid_client","error_description":"Client authentication failed (e.g., unknown client, no client authentication included, or unsupported authentication method)."}"#,
        ),
    },
    Script {
        preset: &presets::ORY_NETWORK,
        values: &[("project", "happy-lamarr-1234")],
        endpoint: "https://happy-lamarr-1234.projects.oryapis.com/oauth2/token",
        audience: None,
        scope: None,
        form: &[],
        answer: r#"{"access_token":"ory_at_abc.def","expires_in":3599,"scope":"","token_type":"bearer"}"#,
        seconds: 3_599,
        refusal: (401, r#"{"error":"invalid_client"}"#),
    },
];

/// Starts a server that accepts only the correct request.
async fn serve(script: &Script) -> MockServer {
    let server = MockServer::start().await;
    let mut right = Mock::given(method("POST"))
        .and(header("content-type", "application/x-www-form-urlencoded"))
        .and(body_string_contains("grant_type=client_credentials"));
    for parameter in script.form {
        right = right.and(body_string_contains(*parameter));
    }
    right = match script.preset.authentication {
        presets::SecretAuthentication::Post => right
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
        // Google does not support client secrets, so there is no script yet.
        assert_eq!(scripted, preset.name != "Google", "{}", preset.name);
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
