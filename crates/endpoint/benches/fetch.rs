//! A cold fetch over loopback, kept alive, without TLS: ours beside a bare reqwest POST with a serde_json parse.

#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{Criterion, criterion_group, criterion_main};
use hallpass_core::{Secret, TokenRequest, TokenSource as _};
use hallpass_endpoint::{ClientCredentials, ClientSecretPost};
use hallpass_testkit::raw::{self, RawServer};
use serde::Deserialize;

#[derive(Deserialize)]
struct Plain {
    access_token: String,
    expires_in: u64,
}

const BODY: &str =
    "grant_type=client_credentials&scope=orders.read&client_id=orders-service&client_secret=s3cr3t";

fn fetching(criterion: &mut Criterion) {
    // The server has a runtime of its own, so that neither side waits for the other's turn.
    let server_runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let answer = format!(
        r#"{{"access_token":"{}","token_type":"Bearer","expires_in":3600,"scope":"orders.read"}}"#,
        "x".repeat(900)
    );
    let server = server_runtime.block_on(RawServer::always(raw::json(200, answer)));
    let url = server.url("/token");

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let source = ClientCredentials::builder(
        &*url,
        "orders-service",
        ClientSecretPost::new(Secret::new("s3cr3t").unwrap()),
    )
    .scope("orders.read")
    .danger_allow_http_on_loopback()
    .build()
    .unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();

    let mut group = criterion.benchmark_group("fetch");
    group.sample_size(200);
    group.bench_function("reqwest", |bencher| {
        bencher.to_async(&runtime).iter(async || {
            let answer = client
                .post(&url)
                .header("content-type", "application/x-www-form-urlencoded")
                .body(BODY)
                .send()
                .await
                .unwrap();
            let plain: Plain = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
            assert_eq!((plain.access_token.len(), plain.expires_in), (900, 3_600));
        });
    });
    group.bench_function("hallpass", |bencher| {
        bencher.to_async(&runtime).iter(async || {
            let token = source.token(&TokenRequest::default()).await.unwrap();
            assert_eq!(
                (token.expose().len(), token.lifetime().as_secs()),
                (900, 3_600)
            );
        });
    });
    group.finish();
}

criterion_group!(benches, fetching);
criterion_main!(benches);
