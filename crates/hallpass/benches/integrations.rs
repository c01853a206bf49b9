//! Compares the same request over loopback, with keep-alive and without TLS: with a constant header, and with a cached
//! token.
//!
//! All cases alternate, a few requests each, so that a slow machine slows all; each is compared with its baseline
//! round by round, so that a temporary slowdown does not distort the ratio.
//!
//! Measured twice: with the server on its own thread, as servers run, and with client and server on one thread, where
//! there is no wait for another thread and our own cost weighs more.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../../benches/rows.rs"]
mod rows;

use std::{sync::Arc, time::Instant};

use hallpass::{
    Secret, TokenRequest, TokenSource, async_trait,
    authorize::Authorizer,
    cache::CachedTokenSource,
    endpoint::{ClientCredentials, ClientSecretPost},
    reqwest_ext::{RequestBuilderExt as _, TokenMiddleware},
    tower_ext::TokenLayer,
};
use hallpass_testkit::raw::{self, RawServer};
use http::{Extensions, HeaderValue, Request, header::AUTHORIZATION};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use reqwest_middleware::{ClientBuilder, Middleware, Next};
use tokio::runtime::Builder;
use tower::{Layer as _, Service};

/// Measured rounds, rounds of warm-up, and requests per round.
const TURNS: usize = 4_000;
const WARM_UP: usize = 400;
const REQUESTS: u32 = 5;

const ROWS: [&str; 7] = [
    "reqwest/constant",
    "reqwest/hallpass",
    "middleware/constant",
    "middleware/hallpass",
    "hyper/constant",
    "hyper/hallpass",
    "hyper/hallpass_retry",
];

/// A row, and its baseline.
const PAIRS: [(usize, usize); 5] = [(1, 0), (3, 2), (3, 0), (5, 4), (6, 4)];

type Body = Empty<bytes::Bytes>;

fn main() {
    let mut servers = Builder::new_multi_thread();
    let servers = servers.worker_threads(1).enable_all().build().unwrap();
    let client = Builder::new_current_thread().enable_all().build().unwrap();
    let api = || RawServer::always(raw::json(200, r#"{"orders":[]}"#).unrecorded());
    let apart = servers.block_on(async { tokio::spawn(api()).await.unwrap() });
    client.block_on(measure("apart", apart));
    client.block_on(async { measure("together", api().await).await });
}

async fn measure(set_up: &str, api: RawServer) {
    let text = "x".repeat(900);
    let grant = format!(
        r#"{{"access_token":"{text}","token_type":"Bearer","expires_in":3600,"scope":"orders.read"}}"#
    );
    let issuer = RawServer::always(raw::json(200, grant)).await;
    let url = &*api.url("/orders");

    let secret = ClientSecretPost::new(Secret::new("s3cr3t").unwrap());
    let source = ClientCredentials::builder(issuer.url("/token"), "orders-service", secret)
        .danger_allow_http_on_loopback()
        .build()
        .unwrap();
    let source: Arc<dyn TokenSource> = Arc::new(CachedTokenSource::new(source));
    source.token(&TokenRequest::default()).await.unwrap();
    let authorizer = Authorizer::builder(source)
        .allow_origin(&api.url(""))
        .danger_allow_http_on_loopback()
        .build()
        .unwrap();
    let mut constant = HeaderValue::try_from(format!("Bearer {text}")).unwrap();
    constant.set_sensitive(true);

    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    // Both include the cost of reqwest-middleware itself.
    let plain = ClientBuilder::new(client.clone())
        .with(Constant(constant.clone()))
        .build();
    let middleware = ClientBuilder::new(client.clone())
        .with(TokenMiddleware::new(authorizer.clone()))
        .build();
    let mut hyper = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let layer = TokenLayer::new(authorizer.clone());
    let (mut once, mut again) = (
        layer.layer(hyper.clone()),
        layer.retry_cloned().layer(hyper.clone()),
    );

    let read = async |response: reqwest::Response| {
        assert_eq!(response.bytes().await.unwrap().len(), 13);
    };
    let get = || Request::get(url).body(Body::new()).unwrap();
    let mut times: [Vec<f64>; ROWS.len()] = Default::default();
    for turn in 0..WARM_UP + TURNS {
        for step in 0..ROWS.len() {
            // Each row comes first, and after each other row, equally often: their number is prime.
            let row = (turn + step * (1 + turn % (ROWS.len() - 1))) % ROWS.len();
            let began = Instant::now();
            for _ in 0..REQUESTS {
                match row {
                    0 => {
                        let get = client.get(url).header(AUTHORIZATION, constant.clone());
                        read(get.send().await.unwrap()).await;
                    }
                    1 => read(client.get(url).send_with(&authorizer).await.unwrap()).await,
                    2 => read(plain.get(url).send().await.unwrap()).await,
                    3 => read(middleware.get(url).send().await.unwrap()).await,
                    4 => {
                        let mut get = get();
                        get.headers_mut().insert(AUTHORIZATION, constant.clone());
                        call(&mut hyper, get).await;
                    }
                    5 => call(&mut once, get()).await,
                    _ => call(&mut again, get()).await,
                }
            }
            if turn >= WARM_UP {
                times[row].push(began.elapsed().as_secs_f64() * 1e9 / f64::from(REQUESTS));
            }
        }
    }
    assert_eq!(issuer.request_count(), 1, "the token is cached");
    let name = |row: usize| format!("integrations/{set_up}/{}", ROWS[row]);
    for (ours, baseline) in PAIRS {
        let pairs = times[ours].iter().zip(&times[baseline]);
        let mut ratios: Vec<_> = pairs.map(|(ours, baseline)| ours / baseline).collect();
        let row = format!("{}/over/{}", name(ours), name(baseline));
        rows::report(&row, rows::median(&mut ratios), "times");
    }
    for (row, times) in times.iter_mut().enumerate() {
        rows::report(&name(row), rows::median(times), "ns");
    }
}

/// Puts a constant header on each request.
struct Constant(HeaderValue);

#[async_trait]
impl Middleware for Constant {
    async fn handle(
        &self,
        mut request: reqwest::Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<reqwest::Response> {
        request.headers_mut().insert(AUTHORIZATION, self.0.clone());
        next.run(request, extensions).await
    }
}

async fn call<S>(service: &mut S, request: Request<Body>)
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
