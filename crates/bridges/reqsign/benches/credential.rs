//! The cost of a cached token in a service of OpenDAL, compared with a static one: a signature with credentials of a
//! source and with a static credential, and a read with a client that adds tokens and with the same static credential.
//!
//! The rows take turns, so that a disturbance of the machine slows both.

#![allow(missing_docs, clippy::unwrap_used, clippy::cast_precision_loss)]

use std::{sync::Arc, time::Instant};

use axum::{Router, routing::get};
use hallpass_cache::CachedTokenSource;
use hallpass_core::{TokenRequest, TokenSource, authorize::Authorizer};
use hallpass_reqsign::{TokenCredentials, TokenFetch};
use hallpass_testkit::FakeTokens;
use opendal::{Operator, layers::HttpClientLayer, raw::HttpClient, services::Gcs};
use reqsign::{
    Context, Signer,
    google::{Credential, RequestSigner, TokenCredentialProvider},
};
use tokio::net::TcpListener;

const TURNS: usize = 1_001;
const CALLS: u32 = 1_000;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let tokens: Arc<dyn TokenSource> =
        Arc::new(CachedTokenSource::builder(FakeTokens::valid()).build());
    let token = tokens.token(&TokenRequest::new()).await.unwrap();
    let fixed = TokenCredentialProvider::new(token.expose());

    let signers: [Signer<Credential>; 2] = [
        Signer::new(
            Context::new(),
            TokenCredentials::new(tokens.clone()),
            RequestSigner::new("storage"),
        ),
        Signer::new(Context::new(), fixed, RequestSigner::new("storage")),
    ];
    let request = http::Request::get("https://storage.example/invoices/1");
    let (head, ()) = request.body(()).unwrap().into_parts();
    let mut signatures = [Vec::new(), Vec::new()];
    for _ in 0..TURNS {
        for (signer, times) in signers.iter().zip(&mut signatures) {
            let start = Instant::now();
            for _ in 0..CALLS {
                let mut head = head.clone();
                signer.sign(&mut head, None).await.unwrap();
            }
            times.push(start.elapsed().as_nanos() as f64 / f64::from(CALLS));
        }
    }
    print("signature", "ns", signatures);

    let url = serve().await;
    let authorizer = Authorizer::builder(tokens)
        .allow_origin(&url)
        .danger_allow_http_on_loopback();
    let fetch = TokenFetch::new(authorizer.build().unwrap(), HttpClient::new().unwrap());
    let service = Gcs::default().endpoint(&url).bucket("invoices");
    let ours = Operator::new(service.skip_signature()).unwrap();
    let ours = ours.layer(HttpClientLayer::new(HttpClient::with(fetch)));
    let service = Gcs::default().endpoint(&url).bucket("invoices");
    let theirs = service.token(token.expose().to_owned());
    let services = [ours.finish(), Operator::new(theirs).unwrap().finish()];
    let mut reads = [Vec::new(), Vec::new()];
    for _ in 0..TURNS {
        for (service, times) in services.iter().zip(&mut reads) {
            let start = Instant::now();
            service.read("invoice").await.unwrap();
            times.push(start.elapsed().as_nanos() as f64 / 1e3);
        }
    }
    print("read", "µs", reads);
}

async fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(get(async || "an invoice"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
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
