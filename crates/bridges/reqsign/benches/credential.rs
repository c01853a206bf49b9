//! The cost of a cached token in a service of OpenDAL, compared with a static one: a signature with credentials of a
//! source and with a static credential, and a read with a client that adds tokens and with the same static credential.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../turns.rs"]
mod turns;

use std::{hint::black_box, sync::Arc};

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
    let [ours, theirs] = &signers;
    let signature = async |signer: &Signer<Credential>| {
        let mut head = head.clone();
        signer.sign(&mut head, None).await.unwrap();
        black_box(head);
    };
    turns::compare(
        "signature",
        1_000,
        async || signature(ours).await,
        async || signature(theirs).await,
    )
    .await;
    turns::allocations(
        "signature",
        async || signature(ours).await,
        async || signature(theirs).await,
    );

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
    let (ours, theirs) = (ours.finish(), Operator::new(theirs).unwrap().finish());
    turns::compare(
        "read",
        1,
        async || drop(ours.read("invoice").await.unwrap()),
        async || drop(theirs.read("invoice").await.unwrap()),
    )
    .await;
}

async fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(get(async || "an invoice"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}
