//! The cost of a cached token as a store's credential, compared with a static credential: alone, and in a read.
//!
//! The rows take turns, so that a disturbance of the machine slows both.

#![allow(missing_docs, clippy::unwrap_used, clippy::cast_precision_loss)]

use std::{sync::Arc, time::Instant};

use axum::{Router, http::header, routing::get};
use hallpass_cache::CachedTokenSource;
use hallpass_core::{TokenRequest, TokenSource as _};
use hallpass_object_store::TokenCredentials;
use hallpass_testkit::FakeTokens;
use object_store::{
    ClientOptions, CredentialProvider, ObjectStore, ObjectStoreExt as _, StaticCredentialProvider,
    gcp::{GcpCredential, GoogleCloudStorageBuilder},
    path::Path,
};
use tokio::net::TcpListener;

const TURNS: usize = 1_001;
const CALLS: u32 = 1_000;

type Provider = Arc<dyn CredentialProvider<Credential = GcpCredential>>;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let tokens = CachedTokenSource::builder(FakeTokens::valid()).build();
    let token = tokens.token(&TokenRequest::new()).await.unwrap();
    let bearer = token.expose().to_owned();
    let ours: Provider = Arc::new(TokenCredentials::new(tokens));
    let theirs: Provider = Arc::new(StaticCredentialProvider::new(GcpCredential { bearer }));

    let mut calls = [Vec::new(), Vec::new()];
    for _ in 0..TURNS {
        for (provider, times) in [&ours, &theirs].into_iter().zip(&mut calls) {
            let start = Instant::now();
            for _ in 0..CALLS {
                provider.get_credential().await.unwrap();
            }
            times.push(start.elapsed().as_nanos() as f64 / f64::from(CALLS));
        }
    }
    print("credential", "ns", calls);

    let url = serve().await;
    let stores = [ours, theirs].map(|provider| store(&url, provider));
    let mut reads = [Vec::new(), Vec::new()];
    for _ in 0..TURNS {
        for (store, times) in stores.iter().zip(&mut reads) {
            let start = Instant::now();
            store.get(&Path::from("invoice")).await.unwrap();
            times.push(start.elapsed().as_nanos() as f64 / 1e3);
        }
    }
    print("read", "µs", reads);
}

async fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let headers = [
        (header::ETAG, "\"1\""),
        (header::LAST_MODIFIED, "Sat, 28 Nov 2026 10:00:00 GMT"),
    ];
    let app = Router::new().fallback(get(move || async move { (headers, "an invoice") }));
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

fn store(url: &str, provider: Provider) -> impl ObjectStore {
    GoogleCloudStorageBuilder::new()
        .with_bucket_name("invoices")
        .with_base_url(url)
        .with_client_options(ClientOptions::new().with_allow_http(true))
        .with_credentials(provider)
        .build()
        .unwrap()
}

/// Prints the medians and their ratio.
fn print(row: &str, unit: &str, times: [Vec<f64>; 2]) {
    let [ours, theirs] = times.map(|mut times| {
        times.sort_unstable_by(f64::total_cmp);
        times[times.len() / 2]
    });
    println!(
        "{row}: {ours:.1} {unit}, static {theirs:.1} {unit}, ratio {:.2}",
        ours / theirs
    );
}
