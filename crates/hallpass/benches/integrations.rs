//! The same request over loopback, kept alive, without TLS: with a constant header, and with a token from the cache.
//!
//! All take turns, a few requests each, so that whatever slows the machine slows all. Client and server share one
//! thread: between two, the scheduler's modes differ by more than what is measured.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../../benches/rows.rs"]
mod rows;

use std::{sync::Arc, time::Instant};

use hallpass::{
    Authorizer, Secret, TokenRequest, TokenSource,
    cache::CachedTokenSource,
    endpoint::{ClientCredentials, ClientSecretPost},
    reqwest::{RequestBuilderExt as _, TokenMiddleware},
    tower::TokenLayer,
};
use hallpass_testkit::raw::{self, RawServer};
use http::{HeaderValue, Request, header::AUTHORIZATION};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use reqwest_middleware::ClientBuilder;
use tower::{Layer as _, Service};

/// Turns that count, after some that warm up, and requests in a turn.
const TURNS: usize = 4_000;
const WARM_UP: usize = 400;
const REQUESTS: u32 = 5;

type Body = Empty<bytes::Bytes>;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let text = "x".repeat(900);
    let grant = format!(
        r#"{{"access_token":"{text}","token_type":"Bearer","expires_in":3600,"scope":"orders.read"}}"#
    );
    let issuer = RawServer::always(raw::json(200, grant)).await;
    let api = RawServer::always(raw::json(200, r#"{"orders":[]}"#).unrecorded()).await;
    let url = &api.url("/orders");

    let secret = ClientSecretPost::new(Secret::new("s3cr3t").unwrap());
    let source = ClientCredentials::builder(issuer.url("/token"), "orders-service", secret)
        .danger_allow_http_on_loopback()
        .build()
        .unwrap();
    let source: Arc<dyn TokenSource> = Arc::new(CachedTokenSource::new(source));
    source.token(&TokenRequest::default()).await.unwrap();
    let authorizer = &Authorizer::builder(source)
        .allow_origin(&api.url(""))
        .danger_allow_http_on_loopback()
        .build()
        .unwrap();
    let mut constant = HeaderValue::try_from(format!("Bearer {text}")).unwrap();
    constant.set_sensitive(true);
    let constant = &constant;

    let client = &reqwest::Client::builder().no_proxy().build().unwrap();
    let plain = ClientBuilder::new(client.clone()).build();
    let middleware = ClientBuilder::new(client.clone())
        .with(TokenMiddleware::new(authorizer.clone()))
        .build();
    let hyper = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let layer = TokenLayer::new(authorizer.clone());
    let (once, again) = (
        layer.layer(hyper.clone()),
        layer.retry_cloned().layer(hyper.clone()),
    );

    let read = async |response: reqwest::Response| {
        assert_eq!(response.bytes().await.unwrap().len(), 13);
    };
    let get = || Request::get(&**url).body(Body::new()).unwrap();
    let mut times: [Vec<f64>; 7] = Default::default();
    for turn in 0..WARM_UP + TURNS {
        let turns = [
            time(async || {
                let get = client.get(&**url).header(AUTHORIZATION, constant.clone());
                read(get.send().await.unwrap()).await;
            })
            .await,
            time(async || {
                let get = client.get(&**url).send_with(authorizer);
                read(get.await.unwrap()).await;
            })
            .await,
            time(async || {
                let get = plain.get(&**url).header(AUTHORIZATION, constant.clone());
                read(get.send().await.unwrap()).await;
            })
            .await,
            time(async || read(middleware.get(&**url).send().await.unwrap()).await).await,
            time(async || {
                let mut get = get();
                get.headers_mut().insert(AUTHORIZATION, constant.clone());
                call(hyper.clone(), get).await;
            })
            .await,
            time(async || call(once.clone(), get()).await).await,
            time(async || call(again.clone(), get()).await).await,
        ];
        if turn >= WARM_UP {
            for (times, time) in times.iter_mut().zip(turns) {
                times.push(time);
            }
        }
    }
    assert_eq!(issuer.request_count(), 1, "the token is cached");
    for (row, times) in [
        "reqwest/constant",
        "reqwest/hallpass",
        "middleware/constant",
        "middleware/hallpass",
        "hyper/constant",
        "hyper/hallpass",
        "hyper/hallpass_retry",
    ]
    .into_iter()
    .zip(&mut times)
    {
        rows::report(&format!("integrations/{row}"), rows::median(times), "ns");
    }
}

async fn call<S>(mut service: S, request: Request<Body>)
where
    S: Service<Request<Body>, Response = http::Response<hyper::body::Incoming>>,
    S::Error: std::fmt::Debug,
{
    // Both are always ready.
    let response = service.call(request).await.unwrap();
    assert_eq!(
        response
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .len(),
        13
    );
}

/// Nanoseconds a request.
async fn time(send: impl AsyncFn()) -> f64 {
    let began = Instant::now();
    for _ in 0..REQUESTS {
        send().await;
    }
    began.elapsed().as_secs_f64() * 1e9 / f64::from(REQUESTS)
}
