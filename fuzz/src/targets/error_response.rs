//! Responses with any status, headers and body: the kind follows from the status, and no error shows the client's
//! secret, controls a terminal or fills a log. Also as the response of a service that a credential depends on: its JSON is
//! the one that `serde_json` finds, and a compressed response is refused.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hallpass_core::{ErrorKind, TokenRequest, TokenSource as _, authorize::Authorizer};
use hallpass_endpoint::{ClientCredentials, Retry, ServiceClient, TokenManagement};
use hallpass_testkit::{ManualClock, StaticSource};
use http::header::CONTENT_ENCODING;
use serde_json::Value;

use crate::{
    seeds,
    support::{
        CANARY, CLIENT_ID, Response, TOKEN, TOKEN_ENDPOINT, assert_hidden, authentication,
        check_token_error, serve, token, transport,
    },
};

pub(crate) const WORDS: &[&str] = &[
    "401\ncontent-type: text/html\n\n",
    "400\ncontent-type: application/json\n\n",
    "302\nlocation: https://",
    "content-encoding: gzip\n",
    "www-authenticate: Basic\n",
    "\"error\":\"invalid_client\"",
    "\"error_description\"",
    "\"error_uri\"",
    "\"errors\":[{",
    "\"message\"",
    "\"errorCode\"",
    "<title>",
    "</title>",
    "<!doctype html",
    "<error>",
    "<error_description>",
    "error=invalid_client&error_description=",
    "s3cr3t-CANARY",
    "czNjcjN0LUNBTkFSWQ==",
    "7333637233742d43414e415259",
    "s3cr3t%2DCANARY",
    "s3cr3t&#45;CANARY",
    "s3cr3t\\u002dCANARY",
    "\u{1b}[2J",
    "\u{202e}",
];

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let responses = seeds::faults().into_iter().chain(seeds::cases().responses);
    let mut seeds: Vec<_> = responses.map(|response| response.to_bytes()).collect();
    // The secret in each place of a response, as it is and encoded.
    let places = [
        ("application/json", r#"{"error":"@"}"#),
        (
            "application/json",
            r#"{"error":"invalid_client","error_description":"@"}"#,
        ),
        (
            "application/json",
            r#"{"error":"invalid_client","error_uri":"https://a.example/@"}"#,
        ),
        (
            "application/json",
            r#"{"errors":[{"code":"@","message":"@"}]}"#,
        ),
        ("application/json", r#"{"@":"a","message":"a"}"#),
        ("text/html", "<html><title>@</title></html>"),
        (
            "text/xml",
            "<error><error_description>@</error_description></error>",
        ),
        ("text/plain", "@"),
        (
            "application/x-www-form-urlencoded",
            "error=invalid_client&error_description=@",
        ),
    ];
    let each = |write: fn(u8) -> String| CANARY.bytes().map(write).collect::<Vec<_>>().concat();
    let encoded = each(|byte| format!("%{byte:02x}"));
    let references = each(|byte| format!("&#{byte};"));
    let base64 = BASE64_STANDARD.encode(CANARY);
    for (media, body) in places {
        for spelled in [
            CANARY,
            &*encoded,
            &*references,
            &*base64,
            "a\u{202e}\u{85}b",
        ] {
            let body = body.replace('@', spelled);
            seeds.push(format!("400\ncontent-type: {media}\n\n{body}").into_bytes());
        }
    }
    let files = ["crates/endpoint/src/response/refusal/server_message.rs"];
    seeds.extend(seeds::of_literals(&files, b"401\n\n"));
    seeds.extend(seeds::of_literals(
        &["crates/endpoint/src/transport/redirect.rs"],
        b"302\nlocation:",
    ));
    // Responses of a service: compressed ones, and JSON that is none.
    let services: [&[u8]; 7] = [
        b"200\n\n{\"a\":[1]}",
        b"201\ncontent-encoding: identity\n\n{}",
        b"200\ncontent-encoding: gzip\n\n{}",
        b"200\ncontent-encoding: br\n\n{}",
        b"200\n\n\x1f\x8b\x08",
        b"200\n\n{\"a\":\"s3cr3t-CANARY\"",
        b"408\nretry-after: 7\n\n{}",
    ];
    seeds.extend(services.map(<[u8]>::to_vec));
    seeds
}

pub(crate) fn run(bytes: &[u8]) {
    let response = Response::parse(bytes);
    let status = response.status;
    let source = ClientCredentials::builder(TOKEN_ENDPOINT, CLIENT_ID, authentication())
        .transport(transport(true))
        .retry(Retry::never())
        .clock(ManualClock::new())
        .build()
        .unwrap();
    let request = TokenRequest::default();
    let answer = response.clone();
    let (result, _) = serve(move |_| answer.clone(), source.token(&request));
    match result {
        Ok(_) => assert_eq!(status, 200),
        Err(error) => {
            check_token_error(&error);
            assert_eq!(error.status(), Some(status));
            let kind = error.kind();
            match status.as_u16() {
                429 => assert!(kind == ErrorKind::Unavailable && error.is_transient()),
                300..=399 => assert_eq!(kind, ErrorKind::Configuration),
                500..=599 if error.oauth_error().is_none() => {
                    assert_eq!(kind, ErrorKind::Unavailable);
                }
                407 if error.oauth_error().is_none() => assert_eq!(kind, ErrorKind::Configuration),
                _ => {}
            }
        }
    }
    // A revocation, whose successful responses have no meaning.
    let tokens = TokenManagement::builder(
        hallpass_endpoint::Endpoint::new(TOKEN_ENDPOINT)
            .with_revocation_endpoint("https://login.example/revoke"),
        CLIENT_ID,
        authentication(),
    );
    let tokens = tokens.transport(transport(true)).retry(Retry::never());
    let tokens = tokens.build().unwrap();
    let revoked = token(TOKEN);
    service(&response);
    let (result, _) = serve(move |_| response.clone(), tokens.revoke(&revoked));
    match result {
        Ok(()) => assert!(status.is_success()),
        Err(error) => {
            check_token_error(&error);
            assert_hidden(&hallpass_testkit::leak::error_chain(&error), TOKEN);
            assert_ne!(TOKEN, CANARY);
        }
    }
}

/// Reads the response as that of a service, to which the secret is sent as the token.
fn service(response: &Response) {
    let origin = "https://kms.example";
    let authorizer = Authorizer::builder(StaticSource::new(CANARY)).allow_origin(origin);
    let client = ServiceClient::new("the key service", authorizer.build().unwrap());
    let client = client.unwrap().transport(transport(false));
    let answer = response.clone();
    let call = client.get::<Value>("https://kms.example/keys/orders");
    let (result, _) = serve(move |_| answer.clone(), call);
    let (status, body) = (response.status, &*response.body);
    let encoding = response.headers.get(CONTENT_ENCODING);
    let is_encoded = encoding.is_some_and(|encoding| encoding != "identity");
    let json = serde_json::from_slice::<Value>(body).ok();
    let expected = json.filter(|_| status.is_success() && !is_encoded);
    let error = match result {
        Ok(value) => return assert_eq!(Some(value), expected),
        Err(error) => error,
    };
    assert_eq!(expected, None, "{error}");
    check_token_error(&error);
    assert_eq!(error.status(), Some(status));
    let kind = match status.as_u16() {
        200..=299 => ErrorKind::UnusableResponse,
        408 | 429 | 500 | 502..=599 => ErrorKind::Unavailable,
        _ => ErrorKind::Configuration,
    };
    assert_eq!(error.kind(), kind);
    let is_redirect = error.message().contains(" redirects to ");
    assert_eq!(is_redirect, status.is_redirection(), "{error}");
    if status.is_success() && (is_encoded || body.starts_with(b"\x1f\x8b")) {
        assert!(error.message().contains("compressed"), "{error}");
    }
}
