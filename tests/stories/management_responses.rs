//! Responses to introspection and revocation: the settings that hints name, and the statuses of success.

use hallpass::{
    ErrorKind,
    endpoint::{Endpoint, TokenManagement, hints},
};
use hallpass_testkit::raw::{self, RawServer, Reply};

use crate::{
    management::tokens,
    support::{builder, fetch, static_token},
};

fn managing(url: &str) -> TokenManagement {
    tokens(url.trim_end_matches('/')).build().unwrap()
}

#[tokio::test]
async fn a_hint_names_the_setting_of_the_requests_address() {
    const HTML: [(&str, &str); 1] = [("content-type", "text/html")];
    const GZIP: [(&str, &str); 1] = [("content-encoding", "gzip")];
    let compressed = raw::http(200, &GZIP, "x");
    let page = raw::http(200, &HTML, "<html><title>Sign in</title></html>");
    let long = raw::json(200, "x".repeat(2 << 20));
    let refused = raw::refused_url().unwrap();
    for (reply, hint, revokes) in [
        (Some(compressed), hints::COMPRESSED, false),
        (Some(page), hints::WEB_PAGE, false),
        (Some(long), hints::BODY_SIZE, true),
        (None, hints::SERVER, true),
    ] {
        let server = match reply {
            Some(reply) => Some(RawServer::always(reply).await),
            None => None,
        };
        let url = server
            .as_ref()
            .map_or(refused.clone(), |server| server.url("/"));
        let (tokens, token) = (managing(&url), static_token("t"));
        let mut errors = vec![
            (fetch(builder(&url)).await.unwrap_err(), "`token_endpoint`"),
            (
                tokens.introspect(&token).await.unwrap_err(),
                "`Endpoint::with_introspection_endpoint`",
            ),
        ];
        let discovered = Endpoint::discover(url.trim_end_matches('/'))
            .danger_allow_http_on_loopback()
            .build()
            .unwrap();
        if revokes {
            let error = tokens.revoke(&token).await.unwrap_err();
            errors.push((error, "`Endpoint::with_revocation_endpoint`"));
            let error = fetch(builder(&url).token_endpoint(discovered)).await;
            errors.push((error.unwrap_err(), "`issuer`"));
        }
        for (error, setting) in errors {
            assert_eq!(error.hint_name(), hint.name(), "{error}");
            let text = error.hint().unwrap();
            assert!(text.contains(setting), "{setting}: {text}");
            assert_eq!(
                text.contains("`token_endpoint`"),
                setting == "`token_endpoint`"
            );
        }
    }
}

#[tokio::test]
async fn a_revocation_succeeds_with_each_2xx_and_any_content() {
    let token = static_token("t");
    let encoded = [("content-encoding", "br")];
    for reply in [
        raw::http(204, &[], ""),
        raw::http(202, &[], "queued"),
        raw::http(201, &[], "{}"),
        raw::http(200, &encoded, "odd"),
        raw::http(200, &[], [0x1f, 0x8b, 8]),
        raw::http(200, &[("content-type", "text/html")], "<html></html>"),
    ] {
        let server = RawServer::always(reply.clone()).await;
        let result = managing(&server.url("/")).revoke(&token).await;
        assert!(result.is_ok(), "{reply:?}: {result:?}");
        assert_eq!(server.request_count(), 1);
    }
    let invalid = r#"{"error":"invalid_client"}"#;
    let refusal = |status| -> Reply { raw::json(status, invalid) };
    for reply in [refusal(200), refusal(202), refusal(401)] {
        let server = RawServer::always(reply).await;
        let error = managing(&server.url("/")).revoke(&token).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CredentialsRefused, "{error}");
    }
    let redirect = raw::http(302, &[("location", "/elsewhere")], "");
    let server = RawServer::always(redirect).await;
    let error = managing(&server.url("/")).revoke(&token).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
}
