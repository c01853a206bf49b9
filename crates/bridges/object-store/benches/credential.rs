//! The cost of a cached token as a store's credential, compared with a static credential: alone, and in a read.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../turns.rs"]
mod turns;

use std::{hint::black_box, sync::Arc};

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

type Provider = Arc<dyn CredentialProvider<Credential = GcpCredential>>;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let tokens = CachedTokenSource::builder(FakeTokens::valid()).build();
    let token = tokens.token(&TokenRequest::new()).await.unwrap();
    let bearer = token.expose().to_owned();
    let ours: Provider = Arc::new(TokenCredentials::new(tokens));
    let theirs: Provider = Arc::new(StaticCredentialProvider::new(GcpCredential { bearer }));

    let credential = async |provider: &Provider| {
        black_box(provider.get_credential().await.unwrap());
    };
    turns::compare(
        "credential",
        1_000,
        async || credential(&ours).await,
        async || credential(&theirs).await,
    )
    .await;
    turns::allocations(
        "credential",
        async || credential(&ours).await,
        async || credential(&theirs).await,
    );

    let url = serve().await;
    let [ours, theirs] = [ours, theirs].map(|provider| store(&url, provider));
    let path = Path::from("invoice");
    turns::compare(
        "read",
        1,
        async || drop(ours.get(&path).await.unwrap()),
        async || drop(theirs.get(&path).await.unwrap()),
    )
    .await;
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
