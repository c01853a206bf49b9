//! The allocations of a hit in addition to those of a request with a constant header: the copy for a retry.

#![allow(missing_docs, clippy::unwrap_used)]

use std::{hint::black_box, sync::Arc, time::Duration};

use hallpass_core::{
    AccessToken, Clock as _, SystemClock, TokenError, TokenRequest, TokenSource, async_trait,
    authorize::Authorizer,
};
use hallpass_reqwest::RequestBuilderExt as _;
#[cfg(feature = "middleware")]
use hallpass_reqwest::TokenMiddleware;
use hallpass_testkit::raw::{self, RawServer};
use reqwest::{
    Client, RequestBuilder, Response,
    header::{AUTHORIZATION, HeaderValue},
};
#[cfg(feature = "middleware")]
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Middleware, Next};
use tokio::runtime::{Builder, Runtime};

/// The copy of a GET without headers of its own: its URL, and the extensions in which reqwest keeps a timeout.
const COPY: u64 = 4;

/// A source with a ready token, like a cache.
struct CachedToken(AccessToken);

#[async_trait]
impl TokenSource for CachedToken {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        Ok(self.0.clone())
    }

    fn ready_token(&self, _: &TokenRequest) -> Option<AccessToken> {
        Some(self.0.clone())
    }
}

/// A client's thread; the server has its own, whose allocations are not counted.
struct Bench {
    runtime: Runtime,
    client: Client,
    url: String,
    authorizer: Authorizer,
    constant: HeaderValue,
    _servers: Runtime,
    _server: RawServer,
}

impl Bench {
    fn start() -> Self {
        let mut servers = Builder::new_multi_thread();
        let servers = servers.worker_threads(1).enable_all().build().unwrap();
        let server = servers.block_on(RawServer::always(raw::json(200, "[]").unrecorded()));
        let moment = SystemClock.moment();
        let token = AccessToken::bearer("t", moment, Duration::from_secs(60)).unwrap();
        let constant = token.header_value().clone();
        let authorizer = Authorizer::builder(Arc::new(CachedToken(token)))
            .allow_origin("https://other.example")
            .allow_origin(&server.url(""))
            .danger_allow_http_on_loopback();
        Self {
            runtime: Builder::new_current_thread().enable_all().build().unwrap(),
            client: Client::builder().no_proxy().build().unwrap(),
            url: server.url("/orders"),
            authorizer: authorizer.build().unwrap(),
            constant,
            _servers: servers,
            _server: server,
        }
    }

    /// Counts the allocations of a request of this kind, from the builder to the end of the body, on an open
    /// connection: without a token, and with one.
    fn measure(&self, kind: impl Fn(&Client, &str) -> RequestBuilder) -> (u64, u64) {
        let builder = || kind(&self.client, &self.url);
        let constant = self.least(|| {
            let request = builder().header(AUTHORIZATION, self.constant.clone());
            async { request.send().await.unwrap() }
        });
        let ours = self.least(|| {
            let request = builder();
            async { request.send_with(&self.authorizer).await.unwrap() }
        });
        (constant, ours)
    }

    /// Counts the same for a client with this middleware instead of a constant one.
    #[cfg(feature = "middleware")]
    fn measure_middleware(
        &self,
        ours: TokenMiddleware,
        kind: impl Fn(&ClientWithMiddleware, &str) -> reqwest_middleware::RequestBuilder,
    ) -> (u64, u64) {
        let constant = Constant(self.constant.clone());
        let constant = ClientBuilder::new(self.client.clone()).with(constant);
        let ours = ClientBuilder::new(self.client.clone()).with(ours);
        let least = |client: ClientWithMiddleware| {
            self.least(|| {
                let request = kind(&client, &self.url);
                async { request.send().await.unwrap() }
            })
        };
        (least(constant.build()), least(ours.build()))
    }

    /// Returns the minimum of many: at times a buffer of the connection grows, or a list in the runtime.
    fn least<F: Future<Output = Response>>(&self, send: impl Fn() -> F) -> u64 {
        let once = || {
            // Always boxed: tokio boxes large futures.
            let work = Box::pin(async { drop(black_box(send().await.bytes().await.unwrap())) });
            allocation_counter::measure(|| self.runtime.block_on(work)).count_total
        };
        (0..32).map(|_| once()).min().unwrap()
    }
}

/// A middleware that sets a constant header on each request.
#[cfg(feature = "middleware")]
struct Constant(HeaderValue);

#[cfg(feature = "middleware")]
#[async_trait]
impl Middleware for Constant {
    async fn handle(
        &self,
        mut request: reqwest::Request,
        extensions: &mut http::Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        request.headers_mut().insert(AUTHORIZATION, self.0.clone());
        next.run(request, extensions).await
    }
}

#[cfg(feature = "middleware")]
#[test]
fn a_cached_token_costs_the_middleware_only_the_retry_copy() {
    let bench = Bench::start();
    let middleware = || TokenMiddleware::new(bench.authorizer.clone());
    let (constant, ours) = bench.measure_middleware(middleware(), |client, url| client.get(url));
    assert!(constant > 0);
    assert_eq!(ours, constant + COPY, "GET");

    let post = |client: &ClientWithMiddleware, url: &str| {
        let post = client.post(url).header("x-order", "7");
        post.body(vec![b'x'; 1000])
    };
    let (constant, ours) = bench.measure_middleware(middleware(), post);
    assert_eq!(ours, constant, "POST of a buffer");
}

#[test]
fn a_cached_token_costs_only_the_copy_for_a_retry() {
    let bench = Bench::start();
    let (constant, ours) = bench.measure(|client, url| client.get(url));
    assert!(constant > 0);
    assert_eq!(ours, constant + COPY, "GET");

    let (constant, ours) = bench.measure(|client, url| client.post(url).body("order"));
    assert_eq!(ours, constant, "POST of a static text");

    let (constant, ours) = bench.measure(|client, url| client.post(url).body(vec![b'x'; 1000]));
    assert_eq!(ours, constant, "POST of a buffer");

    let own = |client: &Client, url: &str, count: u32| {
        let builder = client.post(url).body("order");
        (0..count).fold(builder, |builder, number| {
            builder.header(format!("x-{number}"), format!("value {number}"))
        })
    };
    let (constant, ours) = bench.measure(|client, url| own(client, url, 5));
    assert_eq!(ours, constant, "POST with headers of its own");
}
