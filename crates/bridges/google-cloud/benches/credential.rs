//! The cost of a cached token as credentials of the Google Cloud SDK, compared with an API key: alone, and in a call.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../turns.rs"]
mod turns;

use std::hint::black_box;

use axum::{Router, http::header, routing::get};
use google_cloud_auth::credentials::{Credentials, api_key_credentials};
use google_cloud_gax::retry_policy::{Aip194Strict, NeverRetry, RetryPolicy};
use google_cloud_location::client::Locations;
use hallpass_cache::CachedTokenSource;
use hallpass_core::{TokenRequest, TokenSource as _};
use hallpass_google_cloud::{RefusedTokenRetry, SourceCredentials};
use hallpass_testkit::FakeTokens;
use http::Extensions;
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let tokens = CachedTokenSource::builder(FakeTokens::valid()).build();
    let token = tokens.token(&TokenRequest::new()).await.unwrap();
    let credentials = SourceCredentials::new(tokens);
    let retry = RefusedTokenRetry::new(&credentials, Aip194Strict);
    let ours = Credentials::from(credentials);
    // The SDK's only static credentials.
    let theirs = api_key_credentials::Builder::new(token.expose()).build();

    let headers = async |credentials: &Credentials| {
        black_box(credentials.headers(Extensions::new()).await.unwrap());
    };
    headers(&theirs).await;
    turns::compare(
        "credential",
        1_000,
        async || headers(&ours).await,
        async || headers(&theirs).await,
    )
    .await;
    turns::allocations(
        "credential",
        async || headers(&ours).await,
        async || headers(&theirs).await,
    );

    let url = serve().await;
    let ours = client(&url, ours, retry).await;
    let theirs = client(&url, theirs, NeverRetry).await;
    turns::compare(
        "call",
        1,
        async || call(&ours).await,
        async || call(&theirs).await,
    )
    .await;
}

async fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let json = [(header::CONTENT_TYPE, "application/json")];
    let app = Router::new().fallback(get(move || async move { (json, "{}") }));
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

async fn client(
    url: &str,
    credentials: Credentials,
    retry: impl RetryPolicy + 'static,
) -> Locations {
    let client = Locations::builder()
        .with_endpoint(url)
        .with_credentials(credentials)
        .with_retry_policy(retry);
    client.build().await.unwrap()
}

async fn call(client: &Locations) {
    let call = client.get_location();
    let call = call.set_name("projects/orders/locations/here");
    black_box(call.send().await.unwrap());
}
