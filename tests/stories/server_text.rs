//! Text from a server: shown so that it helps, and never with a credential in it.

use hallpass::{
    ErrorKind, TokenError,
    endpoint::{ClientCredentials, ClientSecretPost, Endpoint, Retry, TokenManagement},
};
use hallpass_testkit::{
    leak,
    raw::{self, RawServer, Reply},
};

use crate::support::{ID, fetch, secret, static_token};

/// With a capital letter, and with characters that each encoding treats in its own way.
const SECRET: &str = "S3cr&et<'T/x+y!~(z)*";
/// One that may be a part of a host's name.
const HOST_SECRET: &str = "KQ7plainsecret";

async fn refused(reply: Reply, secret_text: &str) -> TokenError {
    let server = RawServer::always(reply).await;
    let how = ClientSecretPost::new(secret(secret_text));
    let source = ClientCredentials::builder(server.url("/token"), ID, how)
        .danger_allow_http_on_loopback()
        .retry(Retry::never());
    let error = fetch(source).await.unwrap_err();
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
        // Also in a spelling that the scanner does not know.
        assert!(
            !text.contains(&echo[..8]) || echo.starts_with("b3J"),
            "{text}"
        );
        leak::assert_clean(&text, SECRET);
        // The positive control: another client is shown it.
        let body = body.to_string();
        let shown = refused(raw::json(401, body), "another").await.to_string();
        assert!(shown.contains(&format!("got {echo}.")), "{shown}");
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
    let how = ClientSecretPost::new(secret(HOST_SECRET));
    let tokens = TokenManagement::builder(endpoint, ID, how)
        .danger_allow_http_on_loopback()
        .retry(Retry::never());
    let tokens = tokens.build().unwrap();
    let error = tokens.revoke(&static_token("t")).await.unwrap_err();
    assert!(error.to_string().contains(shown), "{error}");
    let error = tokens.introspect(&static_token("t")).await.unwrap_err();
    assert!(error.to_string().contains(shown), "{error}");

    // The positive control: a host that is no secret is named, in lower case as every host.
    let named = refused(reply(HOST_SECRET), SECRET).await.to_string();
    assert!(named.contains("`kq7plainsecret.evil.example`"), "{named}");
}
