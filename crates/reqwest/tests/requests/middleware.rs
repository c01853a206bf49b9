//! The same policy as a middleware of reqwest-middleware.

use std::{
    error::Error as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use hallpass_core::{
    ErrorKind, TokenError, TokenRequest, TokenSource, async_trait,
    authorize::{ApiRefusal, Authorizer},
};
use hallpass_reqwest::TokenMiddleware;
use hallpass_testkit::{
    ScriptedSource,
    raw::{self, RawServer},
};
use http::Extensions;
use reqwest::{Request, Response};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Error, Middleware, Next};

use crate::support::{Mint, allow, authorizations, client};

/// A middleware that counts its requests.
#[derive(Clone, Default)]
struct Counter(Arc<AtomicUsize>);

#[async_trait]
impl Middleware for Counter {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response, Error> {
        self.0.fetch_add(1, Ordering::SeqCst);
        next.run(request, extensions).await
    }
}

fn with(source: Arc<dyn TokenSource>, server: &RawServer, below: Counter) -> ClientWithMiddleware {
    let authorizer: Authorizer = allow(source, server).build().unwrap();
    let builder = ClientBuilder::new(client()).with(TokenMiddleware::new(authorizer));
    builder.with(below).build()
}

// covers: C-32, C-35, C-36
#[tokio::test]
async fn each_request_of_the_client_has_a_token() {
    let server = RawServer::start([
        raw::json(200, ""),
        raw::http(401, &[], ""),
        raw::json(200, ""),
        raw::http(
            403,
            &[(
                "www-authenticate",
                "Bearer error=insufficient_scope, scope=x",
            )],
            "",
        ),
    ])
    .await;
    let below = Counter::default();
    let client = with(Arc::new(Mint::default()), &server, below.clone());
    for _ in 0..2 {
        assert_eq!(
            client.get(server.url("/")).send().await.unwrap().status(),
            200
        );
    }
    let wanted = TokenRequest::new().with_scopes("write".parse().unwrap());
    let response = client
        .get(server.url("/"))
        .with_extension(wanted)
        .send()
        .await
        .unwrap();
    let refusal = response.extensions().get::<ApiRefusal>().unwrap();
    assert_eq!(refusal.scope().unwrap().as_str(), "x");

    let sent = ["token-1", "token-1", "token-2", "token-2write"];
    assert_eq!(
        authorizations(&server),
        sent.map(|token| Some(format!("Bearer {token}")))
    );
    // The middleware below sees each attempt.
    assert_eq!(below.0.load(Ordering::SeqCst), 4);
}

// covers: C-35
#[tokio::test]
async fn a_request_with_a_body_is_sent_once() {
    let server = RawServer::start([raw::http(401, &[], ""), raw::json(200, "")]).await;
    let client = with(Arc::new(Mint::default()), &server, Counter::default());
    for expected in [401, 200] {
        let post = client.post(server.url("/orders")).body("order").send();
        let response = post.await.unwrap();
        let refusal = response.extensions().get::<ApiRefusal>();
        assert_eq!(
            (response.status().as_u16(), refusal.is_some()),
            (expected, expected == 401)
        );
    }
    let sent = ["token-1", "token-2"].map(|token| Some(format!("Bearer {token}")));
    assert_eq!(authorizations(&server), sent);
}

/// An extension of an `http::Request`.
#[derive(Clone, Debug, PartialEq)]
struct Trace(u32);

/// A middleware that inspects each request's `http` extensions.
#[derive(Clone, Default)]
struct Tracer(Arc<Mutex<Vec<Option<Trace>>>>);

#[async_trait]
impl Middleware for Tracer {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response, Error> {
        let request = http::Request::try_from(request)?;
        let trace = request.extensions().get().cloned();
        self.0.lock().unwrap().push(trace);
        next.run(Request::try_from(request)?, extensions).await
    }
}

// covers: C-35
#[tokio::test]
async fn a_retry_has_the_extensions_of_the_request() {
    let server = RawServer::start([raw::http(401, &[], ""), raw::json(200, "")]).await;
    let authorizer = allow(Arc::new(Mint::default()), &server).build().unwrap();
    let tracer = Tracer::default();
    let client = ClientBuilder::new(client())
        .with(TokenMiddleware::new(authorizer))
        .with(tracer.clone())
        .build();
    let mut get = http::Request::get(server.url("/")).body("").unwrap();
    get.extensions_mut().insert(Trace(7));
    let mut get = Request::try_from(get).unwrap();
    *get.body_mut() = None;
    assert_eq!(client.execute(get).await.unwrap().status(), 200);
    assert_eq!(*tracer.0.lock().unwrap(), [Some(Trace(7)), Some(Trace(7))]);
}

// covers: C-37
#[tokio::test]
async fn the_middleware_error_contains_the_token_error() {
    let server = RawServer::always(raw::json(200, "")).await;
    let other = RawServer::always(raw::json(200, "")).await;
    let down = ScriptedSource::new([Err(TokenError::unavailable("the server is down"))]);
    let client = with(Arc::new(down), &server, Counter::default());
    for (url, kind) in [
        (server.url("/"), ErrorKind::Unavailable),
        (other.url("/"), ErrorKind::Configuration),
    ] {
        let error = client.get(url).send().await.unwrap_err();
        let Error::Middleware(inside) = &error else {
            panic!("{error:?}");
        };
        let token_error = inside.downcast_ref::<TokenError>().unwrap();
        assert_eq!(token_error.kind(), kind);
        assert_eq!(error.to_string(), token_error.to_string());
        assert!(error.source().is_none());
    }
    assert_eq!(
        (server.connection_count(), other.connection_count()),
        (0, 0)
    );
}
