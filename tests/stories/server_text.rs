//! Text from a server is shown if it helps, and never contains a credential.

use hallpass::{
    ErrorKind, TokenError,
    endpoint::{ClientCredentials, ClientSecretPost, Endpoint, Retry, TokenManagement},
};
use hallpass_testkit::{
    leak,
    raw::{self, RawServer, Reply},
};

use crate::support::{CANARY, ID, builder, fetch, hasty, secret, static_token};

/// A canary with a capital letter, and with characters that encodings treat differently.
const SECRET: &str = "S3cr&et<'T/x+y!~(z)*";
/// A canary that can be part of a host name.
const HOST_SECRET: &str = "KQ7plainsecret";

/// Sends one request, although the source would retry.
async fn refused(reply: Reply, secret_text: &str) -> TokenError {
    let server = RawServer::always(reply).await;
    let authentication = ClientSecretPost::new(secret(secret_text));
    let source = ClientCredentials::builder(server.url("/token"), ID, authentication)
        .danger_allow_http_on_loopback();
    let error = fetch(source.transport(hasty())).await.unwrap_err();
    assert_eq!(server.request_count(), 1);
    error
}

// covers: F-33, F-101
#[tokio::test]
async fn no_encoding_hides_an_echo_of_the_secret() {
    for echo in [
        SECRET,
        // As .NET's `HttpUtility.UrlEncode` and JavaScript's `encodeURIComponent` write it.
        "S3cr%26et%3c%27T%2fx%2by!%7e(z)*",
        "S3cr%26et%3C'T%2Fx%2By!~(z)*",
        "S3cr&amp;et&lt;&#39;T/x+y!~(z)*",
        "S3cr&amp;et&lt;&#x27;T&#x2F;x&#x2B;y!~(z)*",
        "b3JkZXJzLXNlcnZpY2U6UzNjciZldDwnVC94K3khfih6KSo=",
    ] {
        let body = serde_json::json!({ "error": "invalid_client", "error_description": format!("got {echo}.") });
        let error = refused(raw::json(401, body.to_string()), SECRET).await;
        let text = leak::error_chain(&error);
        assert!(text.contains("[redacted].\""), "{text}");
        // Also in a spelling that the scanner does not recognize.
        assert!(
            !text.contains(&echo[..8]) || echo.starts_with("b3J"),
            "{text}"
        );
        leak::assert_clean(&text, SECRET);
        // Positive control: another client sees it.
        let body = body.to_string();
        let shown = refused(raw::json(401, body), "another").await.to_string();
        assert!(shown.contains(&format!("got {echo}.")), "{shown}");
    }
}

// covers: F-36, F-101
#[tokio::test]
async fn granted_scopes_with_a_credential_in_them_are_not_used() {
    let granted = |scope: &str| {
        let body = serde_json::json!({ "access_token": "t", "token_type": "Bearer", "expires_in": 60, "scope": scope });
        raw::json(200, body.to_string())
    };
    for echo in [HOST_SECRET, "a b3JkZXJzLXNlcnZpY2U6S1E3cGxhaW5zZWNyZXQ="] {
        let error = refused(granted(echo), HOST_SECRET).await;
        assert_eq!(error.kind(), ErrorKind::UnusableResponse, "{error}");
        assert!(error.to_string().contains("`scope` contains a credential"));
        leak::assert_clean(&leak::error_chain(&error), HOST_SECRET);
        // Positive control: another client gets its token, with these scopes.
        let server = RawServer::always(granted(echo)).await;
        let authentication = ClientSecretPost::new(secret(SECRET));
        let source = ClientCredentials::builder(server.url("/token"), ID, authentication)
            .danger_allow_http_on_loopback();
        let token = fetch(source.transport(hasty())).await.unwrap();
        assert_eq!(token.scopes().as_str(), echo);
    }
}

// covers: F-49, F-101
#[tokio::test]
async fn the_host_of_a_redirect_is_shown_without_a_secret_in_it() {
    let reply = |host: &str| {
        let location = format!("https://{host}.evil.example/?code=x");
        raw::http(302, &[("location", &location)], "")
    };
    let shown = "`[redacted].evil.example`";
    let error = refused(reply(HOST_SECRET), HOST_SECRET).await;
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains(shown), "{error}");

    let server = RawServer::always(reply(HOST_SECRET)).await;
    let endpoint = Endpoint::new(server.url("/token"))
        .with_introspection_endpoint(server.url("/introspect"))
        .with_revocation_endpoint(server.url("/revoke"));
    let authentication = ClientSecretPost::new(secret(HOST_SECRET));
    let tokens = TokenManagement::builder(endpoint, ID, authentication)
        .danger_allow_http_on_loopback()
        .retry(Retry::never());
    let tokens = tokens.build().unwrap();
    let error = tokens.revoke(&static_token("t")).await.unwrap_err();
    assert!(error.to_string().contains(shown), "{error}");
    let error = tokens.introspect(&static_token("t")).await.unwrap_err();
    assert!(error.to_string().contains(shown), "{error}");

    // In lower case it is Base64 of something else, and still reveals much of the secret.
    for host in ["S1E3cGxhaW5zZWNyZXQ", "S1E3cGxh\taW5zZWNyZXQ"] {
        let error = refused(reply(host), HOST_SECRET).await.to_string();
        assert!(
            error.contains("redirects token requests to another address ("),
            "{error}"
        );
    }

    // Positive control: a host that is not a secret is named, in lower case like every host.
    let named = refused(reply(HOST_SECRET), SECRET).await.to_string();
    assert!(named.contains("`kq7plainsecret.evil.example`"), "{named}");
}

// covers: F-31, F-32
#[tokio::test]
async fn what_a_vendor_says_in_its_own_form_is_shown() {
    for (content_type, body, says) in [
        (
            "application/json",
            r#"{"message":"Invalid API key"}"#,
            "\"Invalid API key\"",
        ),
        (
            "application/json",
            r#"{"error":{"code":401,"message":"Client is disabled"}}"#,
            "\"Client is disabled\"",
        ),
        (
            "text/plain",
            r#"{"errors":[{"message":"not valid"}]}"#,
            "\"not valid\"",
        ),
        (
            "application/problem+json",
            r#"{"title":"Unauthorized","detail":"no such client"}"#,
            "\"no such client\"",
        ),
        (
            "application/json",
            r#"{"message":"sent S3cr%26et%3c%27T%2fx%2by!%7e(z)*"}"#,
            "\"sent [redacted]\"",
        ),
        (
            "application/json",
            r#"{"errorCode":"invalid_client","errorMessage":"disabled"}"#,
            "`invalid_client`, \"disabled\"",
        ),
    ] {
        let reply = raw::http(401, &[("content-type", content_type)], body);
        let error = refused(reply, SECRET).await;
        assert_eq!(error.kind(), ErrorKind::CredentialsRefused);
        assert!(error.message().contains(says), "{error}");
        assert!(error.hint().unwrap().contains("`client_secret`"), "{error}");
    }
}

// covers: F-31
#[tokio::test]
async fn a_web_page_does_not_blame_the_credentials() {
    let page = "<html><head><title>Request blocked</title></head><body>no</body></html>";
    let reply = raw::http(403, &[("content-type", "text/html")], page);
    let error = refused(reply, SECRET).await;
    assert_eq!(error.kind(), ErrorKind::UnusableResponse);
    assert!(
        error.message().contains("web page") && error.message().contains("\"Request blocked\""),
        "{error}"
    );
    let hint = error.hint().unwrap();
    assert!(
        hint.contains("a firewall, a proxy") && !hint.contains("client_secret"),
        "{hint}"
    );
    let sign_in = raw::http(
        200,
        &[("content-type", "text/html")],
        "<title>Sign in</title>",
    );
    let server = RawServer::always(sign_in).await;
    let error = fetch(builder(&server.url("/"))).await.unwrap_err();
    assert_eq!(error.server_message(), Some("Sign in"));
}

// covers: F-32
#[tokio::test]
async fn code_and_status_are_weighed_together() {
    for code in ["server_error", "access_denied", "unauthorized_client"] {
        let reply = raw::json(401, format!(r#"{{"error":"{code}"}}"#));
        let error = refused(reply, SECRET).await;
        assert_eq!(error.kind(), ErrorKind::CredentialsRefused, "{error}");
        assert!(
            error
                .hint()
                .unwrap()
                .contains("check `client_id` and `client_secret`"),
            "{error}"
        );
    }
    let error = refused(raw::json(415, r#"{"message":"send JSON"}"#), SECRET).await;
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(
        error.message().contains("does not accept a form")
            && error.message().contains("\"send JSON\""),
        "{error}"
    );
}

// covers: F-49
#[tokio::test]
async fn the_body_of_a_redirect_is_not_read() {
    let head = "HTTP/1.0 302 Found\r\nlocation: https://login.example/\r\n";
    for reply in [
        Reply::bytes(format!("{head}\r\n<html>")).then_stall(),
        Reply::bytes(format!("{head}\r\n<html>")).then_reset(),
        Reply::bytes(format!("{head}content-length: 900\r\n\r\n<html>")).then_close(),
        Reply::bytes(format!("{head}content-length: 104857600\r\n\r\n")).then_stall(),
    ] {
        let error = refused(reply, SECRET).await;
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        assert!(
            !error.is_transient() && error.message().contains("`login.example`"),
            "{error}"
        );
    }
}

// covers: F-07, F-14, F-38
#[tokio::test]
async fn an_odd_success_is_named_and_taken_where_that_is_chosen() {
    let good = |members: &str| format!(r#"{{"access_token":"t","expires_in":60{members}}}"#);
    let bearer = good(r#","token_type":"Bearer""#);
    for (reply, says) in [
        (
            raw::json(200, good(r#","token_type":"BearerToken""#)),
            "`BearerToken`",
        ),
        (raw::json(200, good("")), "no `token_type`"),
        (raw::json(201, &bearer), "HTTP 201"),
        (
            raw::http(200, &[("content-type", "text/plain")], &bearer),
            "`text/plain`",
        ),
    ] {
        let server = RawServer::always(reply).await;
        let error = fetch(builder(&server.url("/"))).await.unwrap_err();
        assert!(error.message().contains(says), "{error}");
        assert!(
            error.hint().unwrap().contains("`lenient_responses`"),
            "{error}"
        );
        let taken = fetch(builder(&server.url("/")).lenient_responses()).await;
        assert_eq!(taken.unwrap().expose(), "t");
    }
    for (reply, says) in [
        (
            raw::json(200, r#"{"tokenData":{},"success":true}"#),
            "`tokenData`, `success`",
        ),
        (
            raw::json(
                200,
                r#"{"access_token":"t","token_type":"Bearer","expires_in":-1}"#,
            ),
            "seconds but -1",
        ),
        (raw::json(200, b"\x1f\x8b\x08"), "compressed"),
        (
            raw::json(
                200,
                r#"{"access_token":"CANARY-t","token_type":"CANARY-t"}"#,
            ),
            "`[redacted]`",
        ),
    ] {
        let server = RawServer::always(reply).await;
        let error = fetch(builder(&server.url("/"))).await.unwrap_err();
        assert!(error.message().contains(says), "{error}");
        leak::assert_clean(&leak::error_chain(&error), CANARY);
    }
}
