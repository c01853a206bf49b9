//! A source that counts, and a service that follows a script.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use hallpass_core::{
    AccessToken, Clock as _, SystemClock, TokenError, TokenRequest, TokenSource, async_trait,
    authorize::Authorizer,
};
use hallpass_tower::BoxError;
use http::{Request, Response};
use tower::{Service, ServiceExt as _};

/// A source that mints `token-1` and, whenever that is dropped, the next.
#[derive(Debug, Default)]
pub(crate) struct Mint {
    dropped: AtomicUsize,
    ready: bool,
}

impl Mint {
    /// Creates a source that returns tokens without waiting if `ready` is set.
    pub(crate) fn new(ready: bool) -> Self {
        let dropped = AtomicUsize::new(0);
        Self { dropped, ready }
    }

    pub(crate) fn dropped(&self) -> usize {
        self.dropped.load(Ordering::SeqCst)
    }

    fn mint(&self, request: &TokenRequest) -> AccessToken {
        let scopes = request.scopes().as_str().replace(' ', "+");
        let text = format!("token-{}{scopes}", self.dropped() + 1);
        AccessToken::bearer(&text, SystemClock.moment(), Duration::from_secs(3_600)).unwrap()
    }
}

#[async_trait]
impl TokenSource for Mint {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        tokio::task::yield_now().await;
        Ok(self.mint(request))
    }

    fn ready_token(&self, request: &TokenRequest) -> Option<AccessToken> {
        self.ready.then(|| self.mint(request))
    }

    fn invalidate(&self, token: &AccessToken) {
        assert!(
            token
                .expose()
                .starts_with(&format!("token-{}", self.dropped() + 1))
        );
        self.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

pub(crate) const ORIGIN: &str = "https://api.example";

pub(crate) fn authorizer(source: Arc<dyn TokenSource>) -> Authorizer {
    Authorizer::builder(source)
        .allow_origin(ORIGIN)
        .build()
        .unwrap()
}

/// A service that returns the next response of a script, and fails a caller that did not wait for readiness.
pub(crate) struct Api {
    shared: Arc<Shared>,
    ready: bool,
}

struct Shared {
    script: Mutex<VecDeque<Response<String>>>,
    authorizations: Mutex<Vec<Option<String>>>,
}

impl Clone for Api {
    fn clone(&self) -> Self {
        let shared = self.shared.clone();
        Self {
            shared,
            ready: false,
        }
    }
}

impl Api {
    pub(crate) fn new(script: impl IntoIterator<Item = Response<String>>) -> Self {
        let shared = Shared {
            script: Mutex::new(script.into_iter().collect()),
            authorizations: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
            ready: false,
        }
    }

    /// Returns the `Authorization` header of each received request, if any.
    pub(crate) fn authorizations(&self) -> Vec<Option<String>> {
        self.shared.authorizations.lock().unwrap().clone()
    }
}

impl<B> Service<Request<B>> for Api {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        assert!(
            std::mem::take(&mut self.ready),
            "called before it was ready"
        );
        let header = request.headers().get("authorization");
        let header = header.map(|header| header.to_str().unwrap().to_owned());
        self.shared.authorizations.lock().unwrap().push(header);
        let next = self.shared.script.lock().unwrap().pop_front();
        std::future::ready(Ok(next.expect("no more answers")))
    }
}

pub(crate) fn answer(status: u16, headers: &[(&str, &str)]) -> Response<String> {
    let mut builder = Response::builder().status(status);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(String::new()).unwrap()
}

pub(crate) fn invalid_token() -> Response<String> {
    answer(
        401,
        &[("www-authenticate", r#"Bearer error="invalid_token""#)],
    )
}

pub(crate) async fn send<S, B>(
    service: &mut S,
    request: Request<B>,
) -> Result<Response<String>, BoxError>
where
    S: Service<Request<B>, Response = Response<String>, Error = BoxError>,
{
    service.ready().await?.call(request).await
}
