//! No token follows a redirect to another origin, and no response from there counts as a refusal.

use std::sync::Arc;

use hallpass_core::authorize::ApiRefusal;
use hallpass_reqwest::RequestBuilderExt as _;
use hallpass_testkit::raw::{self, RawServer, Reply};
use reqwest::Client;

use crate::support::{Mint, allow, authorizations, get};

fn redirect(status: u16, to: &str) -> Reply {
    raw::http(status, &[("location", to)], "")
}

fn refused() -> Reply {
    raw::http(
        401,
        &[("www-authenticate", r#"Bearer error="invalid_token""#)],
        "",
    )
}

/// Returns the `Authorization` headers of this many requests with the token.
fn ours<const N: usize>() -> [Option<String>; N] {
    ["Bearer token-1"; N].map(|header| Some(header.to_owned()))
}

// covers: C-37, I-04
#[tokio::test]
async fn the_header_is_not_restored_after_a_foreign_redirect() {
    let third = RawServer::always(raw::json(200, "")).await;
    let second = RawServer::always(redirect(307, &third.url("/"))).await;
    let first = RawServer::always(redirect(307, &second.url("/"))).await;
    let authorizer = allow(Arc::new(Mint::default()), &first)
        .allow_origin(&third.url(""))
        .build()
        .unwrap();
    let following = Client::builder().no_proxy().build().unwrap();
    following
        .get(first.url("/"))
        .send_with(&authorizer)
        .await
        .unwrap();
    assert_eq!(authorizations(&first), ours::<1>());
    assert_eq!(
        (authorizations(&second), authorizations(&third)),
        (vec![None], vec![None])
    );
}

// covers: C-37, I-04
#[tokio::test]
async fn a_redirect_to_another_origin_is_returned_to_the_caller() {
    let other = RawServer::always(raw::json(200, "")).await;
    let api = RawServer::start([redirect(302, "/there"), redirect(307, &other.url("/"))]).await;
    let authorizer = allow(Arc::new(Mint::default()), &api).build().unwrap();
    let response = get(&api, &authorizer).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.url().path()),
        (307, "/there")
    );
    assert_eq!(other.connection_count(), 0);

    let endless = RawServer::always(redirect(302, "/")).await;
    let authorizer = allow(Arc::new(Mint::default()), &endless).build().unwrap();
    let error = get(&endless, &authorizer).await.unwrap_err();
    assert!(error.http_error().unwrap().is_redirect(), "{error}");
    assert_eq!(endless.request_count(), 11);
}

// covers: C-35
#[tokio::test]
async fn a_refusal_from_another_origin_keeps_the_token() {
    let other = RawServer::always(refused()).await;
    let api = RawServer::always(redirect(302, &other.url("/"))).await;
    let mint = Arc::new(Mint::default());
    let authorizer = allow(mint.clone(), &api).build().unwrap();
    let following = Client::builder().no_proxy().build().unwrap();
    let response = following
        .get(api.url("/"))
        .send_with(&authorizer)
        .await
        .unwrap();
    assert_eq!(response.status(), 401);
    assert!(response.extensions().get::<ApiRefusal>().is_none());
    assert_eq!((mint.dropped(), other.request_count()), (0, 1));
}
