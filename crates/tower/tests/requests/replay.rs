//! The requests that are retried, and the handling of the inner service.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hallpass_core::{
    AccessToken, Clock as _, SystemClock, TokenError, TokenRequest, TokenSource, async_trait,
    authorize::{ApiRefusal, Authorizer},
};
use hallpass_testkit::{Gate, ManualClock, ScriptedSource, StaticSource};
use hallpass_tower::{BoxError, Replay, TokenLayer};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty, Full, combinators::UnsyncBoxBody};
use tower::{Layer as _, Service, ServiceExt, service_fn};

use crate::support::{Api, Mint, ORIGIN, answer, authorizer, invalid_token, send};

/// A body that cannot be cloned, like axum's and tonic's.
#[derive(Default)]
struct Opaque(Option<UnsyncBoxBody<Bytes, Infallible>>);

impl http_body::Body for Opaque {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            Some(body) => std::pin::Pin::new(body).poll_frame(cx),
            None => std::task::Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(http_body::Body::is_end_stream)
    }
}

fn full(text: &'static str) -> Opaque {
    Opaque(Some(
        Full::new(Bytes::from_static(text.as_bytes())).boxed_unsync(),
    ))
}

/// The status of the response, and the number of requests.
const AGAIN: (u16, usize) = (200, 2);
const ONCE: (u16, usize) = (401, 1);

/// The methods of requests, none of which matters.
const METHODS: [&str; 6] = ["GET", "HEAD", "DELETE", "PATCH", "POST", "PUT"];

/// Returns the status and the number of requests, which are those of each method.
async fn status<R, B>(layer: impl Fn() -> TokenLayer<R>, body: impl Fn() -> B) -> (u16, usize)
where
    R: Replay<B> + Clone,
{
    let mut results = Vec::new();
    for method in METHODS {
        let api = Api::new([invalid_token(), answer(200, &[])]);
        let mut service = layer().layer(api.clone());
        let request = Request::builder().method(method).uri(ORIGIN);
        let response = send(&mut service, request.body(body()).unwrap()).await;
        let status = response.unwrap().status().as_u16();
        results.push((status, api.authorizations().len()));
    }
    assert_eq!(results, [results[0]; METHODS.len()], "{METHODS:?}");
    results[0]
}

// covers: C-35
#[tokio::test]
async fn a_body_that_can_be_copied_is_sent_again() {
    let layer = || TokenLayer::new(authorizer(Arc::new(Mint::new(true))));
    let copied = || Full::new(Bytes::from_static(b"x"));
    let short = |body: &String| (body.len() < 4).then(|| body.clone());
    assert_eq!(status(layer, || full("")).await, ONCE);
    assert_eq!(status(layer, Empty::<Bytes>::new).await, ONCE);
    assert_eq!(status(|| layer().retry_cloned(), copied).await, AGAIN);
    assert_eq!(
        status(|| layer().retry_empty(), Opaque::default).await,
        AGAIN
    );
    assert_eq!(status(|| layer().retry_empty(), || full("x")).await, ONCE);
    for (body, expected) in [("abc", AGAIN), ("abcd", ONCE)] {
        let layer = || layer().retry_with(short);
        assert_eq!(status(layer, || body.to_owned()).await, expected);
    }
}

// covers: C-35
#[tokio::test]
async fn a_retry_has_all_parts_of_the_request() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = seen.clone();
    let api = service_fn(move |request: Request<String>| {
        let (parts, body) = request.into_parts();
        let mark = parts.extensions.get::<u8>().copied();
        let headers: Vec<_> = parts
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value:?}"))
            .collect();
        noted
            .lock()
            .unwrap()
            .push((parts.method, parts.uri, parts.version, headers, mark, body));
        std::future::ready(Ok::<_, Infallible>(invalid_token()))
    });
    let mut service = TokenLayer::new(authorizer(Arc::new(Mint::new(true))))
        .retry_cloned()
        .layer(api);
    let request = Request::put("https://api.example/orders?x=y")
        .version(http::Version::HTTP_2)
        .header("x-order", "7")
        .header("x-order", "8")
        .extension(9_u8)
        .body("order".to_owned());
    send(&mut service, request.unwrap()).await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0], seen[1]);
    assert_eq!((seen[0].3.len(), seen[0].4), (3, Some(9)));
}

fn token(text: &str) -> AccessToken {
    let minute = std::time::Duration::from_secs(60);
    AccessToken::bearer(text, SystemClock.moment(), minute).unwrap()
}

async fn get(source: Arc<dyn TokenSource>, api: &Api) -> Result<Response<String>, BoxError> {
    let mut service = TokenLayer::new(authorizer(source))
        .retry_cloned()
        .layer(api.clone());
    send(&mut service, Request::get(ORIGIN).body(String::new())?).await
}

#[tokio::test]
async fn a_refused_token_is_not_sent_again() {
    let api = Api::new([invalid_token()]);
    let source = Arc::new(StaticSource::new(token("the-only-one")));
    let response = get(source, &api).await.unwrap();
    assert_eq!(response.status(), 401);
    assert!(response.extensions().get::<ApiRefusal>().is_some());
}

#[tokio::test]
async fn without_another_token_the_caller_gets_the_refusal() {
    let api = Api::new([invalid_token()]);
    let revoked = TokenError::credentials_refused("the client was refused");
    let source = Arc::new(ScriptedSource::new([Ok(token("first")), Err(revoked)]));
    let error = get(source, &api).await.unwrap_err();
    assert_eq!(
        error.downcast_ref::<TokenError>().unwrap().to_string(),
        "the client was refused"
    );
}

#[tokio::test]
async fn errors_of_the_inner_service_are_returned() {
    let failing = service_fn(async |_: Request<String>| {
        Err::<Response<String>, _>(std::io::Error::other("reset"))
    });
    let mut service = TokenLayer::new(authorizer(Arc::new(Mint::new(false)))).layer(failing);
    let request = Request::get(ORIGIN).body(String::new()).unwrap();
    let error = send(&mut service, request).await.unwrap_err();
    assert_eq!(
        error.downcast_ref::<std::io::Error>().unwrap().to_string(),
        "reset"
    );
}

/// While one request waits for its token, the service accepts the next.
#[tokio::test]
async fn a_waiting_request_does_not_block_another() {
    let gate = Gate::new();
    let api = Api::new([answer(200, &[]), answer(201, &[])]);
    let source = Arc::new(ScriptedSource::gated([Ok(token("first"))], gate.clone()));
    let mut service = TokenLayer::new(authorizer(source)).layer(api.clone());
    let request = || Request::get(ORIGIN).body(String::new()).unwrap();
    let mut sent = Vec::new();
    for _ in 0..2 {
        let ready = ServiceExt::<Request<String>>::ready(&mut service).await;
        sent.push(tokio::spawn(ready.unwrap().call(request())));
    }
    gate.arrived(2).await;
    assert!(api.authorizations().is_empty());
    gate.open();
    for sent in sent {
        assert!(sent.await.unwrap().unwrap().status().is_success());
    }
    assert_eq!(api.authorizations().len(), 2);
}

#[test]
fn the_inner_service_can_be_recovered() {
    let layer = TokenLayer::new(authorizer(Arc::new(Mint::new(true))));
    let mut service = layer.layer(7);
    *service.get_mut() += 1;
    assert_eq!((*service.get_ref(), service.into_inner()), (8, 8));
}

/// A source that mints a token for a minute at each call, named after the minute.
struct Minutes(ManualClock);

#[async_trait]
impl TokenSource for Minutes {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        tokio::task::yield_now().await;
        let (now, minute) = (self.0.moment(), Duration::from_secs(60));
        let text = format!("token-{}", now.timestamp.as_nanos() / 1_000_000_000 / 60);
        Ok(AccessToken::bearer(&text, now, minute)?)
    }
}

/// A service that is ready for another call only after a while.
#[derive(Clone)]
struct Busy {
    api: Api,
    clock: ManualClock,
    wait: Duration,
}

impl Service<Request<String>> for Busy {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = <Api as Service<Request<String>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if !self.api.authorizations().is_empty() {
            self.clock.advance(std::mem::take(&mut self.wait));
        }
        Service::<Request<String>>::poll_ready(&mut self.api, cx)
    }

    fn call(&mut self, request: Request<String>) -> Self::Future {
        self.clock.advance(Duration::from_secs(60));
        self.api.call(request)
    }
}

// covers: F-66
#[tokio::test]
async fn a_token_that_expired_before_readiness_is_not_sent() {
    for (wait, second) in [(59, "token-61"), (60, "token-62")] {
        let clock = ManualClock::new();
        let api = Api::new([invalid_token(), answer(200, &[])]);
        let busy = Busy {
            api: api.clone(),
            clock: clock.clone(),
            wait: Duration::from_secs(wait),
        };
        let authorizer = Authorizer::builder(Minutes(clock.clone())).clock(clock);
        let authorizer = authorizer.allow_origin(ORIGIN).build().unwrap();
        let mut service = TokenLayer::new(authorizer).retry_cloned().layer(busy);
        let get = Request::get(ORIGIN).body(String::new()).unwrap();
        assert_eq!(send(&mut service, get).await.unwrap().status(), 200);
        let sent = ["token-60", second].map(|token| Some(format!("Bearer {token}")));
        assert_eq!(api.authorizations(), sent);
    }
}
