use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_trait::async_trait;
use hallpass_blocking::{BlockingAuthorizer, BlockingTokenSource};
use hallpass_tower::{CloneBody, TokenLayer, TokenService};
use opentelemetry::context::{Context as Telemetry, FutureExt as _};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use tower_layer::Layer as _;
use tower_service::Service;

/// An HTTP client that adds tokens to the exports of another one, for `with_http_client` of an OTLP exporter.
///
/// The authorizer decides which origins may have tokens; an export to another one fails. After a 401 the token is
/// invalidated, and the export is sent again once with another one: a collector that answers 401 has accepted no data.
/// Tokens that are bound to a key (DPoP) get a proof for each export.
///
/// It works on any thread, such as that of a batch processor, which has no runtime: connections and timers belong to the
/// runtime of the authorizer's [`BlockingTokenSource`]. This includes those of the inner client, so that an async client
/// works there too, such as `reqwest::Client`. Choose one that follows no redirects: a 401 after a redirect is the answer
/// of the last server only.
///
/// Telemetry is suppressed during an export.
///
/// # Errors
///
/// If there is no token, nothing is sent, and the error is a [`TokenError`](hallpass_core::TokenError). An OTLP exporter
/// treats it like a network error: it retries up to its retry policy and its timeout, then drops the batch.
///
/// # Cancellation
///
/// Dropping the future abandons this export only, as with [`TokenSource::token`](hallpass_core::TokenSource::token).
pub struct TokenHttpClient<C> {
    tokens: BlockingTokenSource,
    service: TokenService<Inner<C>, CloneBody>,
}

impl<C: HttpClient + 'static> TokenHttpClient<C> {
    /// Creates a client that sends the exports with `inner`. Build the tokens of `authorizer` with
    /// [`exporter_tokens`](crate::exporter_tokens).
    pub fn new(authorizer: &BlockingAuthorizer, inner: C) -> Self {
        let layer = TokenLayer::new(authorizer.authorizer().clone()).retry_cloned();
        Self {
            tokens: authorizer.tokens().clone(),
            service: layer.layer(Inner(Arc::new(inner))),
        }
    }
}

#[async_trait]
impl<C: HttpClient + 'static> HttpClient for TokenHttpClient<C> {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut service = self.service.clone();
        // Called within the runtime: a cached token past its refresh point starts a task.
        let call = async move { service.call(request).await };
        let suppressed = Telemetry::map_current(Telemetry::with_telemetry_suppressed);
        let call = call.with_context(suppressed);
        self.tokens.in_runtime(call).await
    }
}

impl<C: fmt::Debug> fmt::Debug for TokenHttpClient<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenHttpClient")
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

/// The client below, as a tower service. It is always ready.
#[derive(Debug)]
struct Inner<C>(Arc<C>);

impl<C> Clone for Inner<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C: HttpClient + 'static> Service<Request<Bytes>> for Inner<C> {
    type Response = Response<Bytes>;
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), HttpError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let client = self.0.clone();
        Box::pin(async move { client.send_bytes(request).await })
    }
}
