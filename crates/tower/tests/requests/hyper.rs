//! A real hyper client, over loopback.

use std::sync::Arc;

use bytes::Bytes;
use hallpass_core::authorize::Authorizer;
use hallpass_testkit::raw::{self, RawServer};
use hallpass_tower::TokenLayer;
use http::Request;
use http_body_util::Full;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower::{Layer as _, Service as _, ServiceExt as _};

use crate::support::Mint;

// covers: C-32, C-35
#[tokio::test]
async fn a_hyper_client_sends_the_token_and_retries_once() {
    let server = RawServer::start([raw::http(401, &[], "no"), raw::json(200, "{}")]).await;
    let authorizer = Authorizer::builder(Arc::new(Mint::new(false)))
        .allow_origin(&server.url(""))
        .danger_allow_http_on_loopback()
        .build()
        .unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let mut client = TokenLayer::new(authorizer).retry_cloned().layer(client);
    let request = Request::post(server.url("/orders")).body(Full::from("order"));
    let response = client
        .ready()
        .await
        .unwrap()
        .call(request.unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let requests = server.requests();
    for (request, token) in requests.iter().zip(["token-1", "token-2"]) {
        let text = String::from_utf8_lossy(request);
        assert!(
            text.contains(&format!("authorization: Bearer {token}\r\n")),
            "{text}"
        );
        assert!(
            text.starts_with("POST /orders ") && text.ends_with("\r\n\r\norder"),
            "{text}"
        );
    }
    assert_eq!(requests.len(), 2);
}
