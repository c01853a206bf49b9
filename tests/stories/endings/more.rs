//! Refresh tokens that rotate, and requests whose token an API refuses.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use hallpass::{
    SecretSource as _, TokenRequest, TokenSource as _,
    authorize::Authorizer,
    cache::CachedTokenSource,
    endpoint::{ClientSecretPost, RefreshToken},
    reqwest_ext::TokenClient,
    tower_ext::TokenLayer,
};
use hallpass_testkit::Breakpoint;
use http_body_util::Full;
use hyper_util::{client::legacy::Client as HyperClient, rt::TokioExecutor};
use serde_json::json;
use tower::{Layer as _, Service as _, ServiceExt as _};

use super::{
    Call, SlowSecret, Story, call, credentials, granted, retry, run,
    server::{Received, Response, Server},
    transport,
};
use crate::support::{ID, secret};

/// Rotates refresh tokens. The one before the current one is accepted too: the response to it may have been lost.
fn rotate(_: &str, received: &Received, before: usize) -> Response {
    let number = received.body.split("refresh_token=r").nth(1).unwrap();
    let number: usize = number.split('&').next().unwrap().parse().unwrap();
    // Each accepted request issues the next one.
    if number > before || number + 1 < before {
        return (
            400,
            String::new(),
            json!({ "error": "invalid_grant" }).to_string(),
        );
    }
    let body = json!({
        "access_token": "t", "token_type": "Bearer", "expires_in": 3600,
        "refresh_token": format!("r{}", before + 1),
    });
    (200, String::new(), body.to_string())
}

fn rotating(server: &Server, breakpoint: &Breakpoint) -> Call {
    let store = SlowSecret::new("r0", breakpoint);
    let authentication = ClientSecretPost::new(secret("s3cr3t"));
    let url = format!("{}/token", server.url);
    let source = RefreshToken::builder(url, ID, authentication, store.clone())
        .danger_allow_http_on_loopback()
        .transport(transport())
        .retry(retry())
        .build();
    let (source, log) = (Arc::new(source.unwrap()), server.logger());
    call(move || {
        let (source, store, log) = (source.clone(), store.clone(), log.clone());
        async move {
            let fetched = source.token(&TokenRequest::default()).await.is_ok();
            // The last refresh token is in the store.
            let last = format!("r{}", log().letters.len());
            fetched && store.secret().await.unwrap().expose() == last
        }
    })
}

// covers: F-72
#[test]
fn no_rotated_refresh_token_is_lost_at_any_point() {
    let points = run(&Story {
        answer: rotate,
        call: rotating,
        next: &[&["t"], &["t"]],
    });
    assert!(points >= 30, "{points}");
}

/// Issues `t0`, `t1` and so on, and refuses the first at the API.
fn refuse_first(_: &str, received: &Received, before: usize) -> Response {
    if received.path == "/token" {
        return granted(&format!("t{before}"), "Bearer");
    }
    if received.head.contains("authorization: bearer t0\r\n") {
        let challenge = "www-authenticate: Bearer error=\"invalid_token\"\r\n";
        return (401, challenge.to_owned(), "{}".to_owned());
    }
    (200, String::new(), "{}".to_owned())
}

/// The first token is refused, unless the response with it was lost. The fetch of a token is completed if its caller gives
/// up.
const REFUSED: &[&[&str]] = &[
    &["tata"],
    &["ta", "ata"],
    &["ata", "ta"],
    &["ta", "a"],
    &["a"],
];

fn authorizer(server: &Server) -> Authorizer {
    let source = credentials(format!("{}/token", server.url).as_str());
    let cache = CachedTokenSource::builder(source.build().unwrap()).min_interval(Duration::ZERO);
    Authorizer::builder(Arc::new(cache.build()))
        .allow_origin(&server.url)
        .danger_allow_http_on_loopback()
        .build()
        .unwrap()
}

// covers: C-35
#[test]
fn a_refused_request_ends_at_any_point_in_reqwest() {
    let points = run(&Story {
        answer: refuse_first,
        next: REFUSED,
        call: |server, _| {
            let builder = reqwest::Client::builder().no_proxy().tls_certs_only([]);
            let client = TokenClient::new(authorizer(server), builder).unwrap();
            let url = format!("{}/api", server.url);
            call(move || {
                let (client, url) = (client.clone(), url.clone());
                async move {
                    let post = client.http().post(&url).body("order");
                    client
                        .send(post)
                        .await
                        .is_ok_and(|sent| sent.status() == 200)
                }
            })
        },
    });
    assert!(points >= 30, "{points}");
}

// covers: C-35
#[test]
fn a_refused_request_ends_at_any_point_in_tower() {
    let points = run(&Story {
        answer: refuse_first,
        next: REFUSED,
        call: |server, _| {
            let client = HyperClient::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
            let service = TokenLayer::new(authorizer(server))
                .retry_cloned()
                .layer(client);
            let url = format!("{}/api", server.url);
            call(move || {
                let (mut service, url) = (service.clone(), url.clone());
                async move {
                    let request = http::Request::post(url).body(Full::new(Bytes::from("order")));
                    let ready = service.ready().await.unwrap();
                    let sent = ready.call(request.unwrap()).await;
                    sent.is_ok_and(|sent| sent.status() == 200)
                }
            })
        },
    });
    assert!(points >= 30, "{points}");
}
