use std::{
    convert::Infallible,
    future::{Ready, poll_fn, ready},
    io,
    task::{Context, Poll},
};

use hallpass_blocking::{BlockingAuthorizer, BlockingTokenSource};
use hallpass_core::{
    TokenError,
    authorize::{RequestHead, Target},
};
use hallpass_tower::{BoxError, CloneBody, GrpcTokenService, TokenLayer};
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::DuplexStream;
use tonic::{
    Status,
    body::Body,
    transport::{self, Channel, Endpoint},
};
use tower_layer::Layer as _;
use tower_service::Service;

/// The bytes that one end of a pipe may be ahead of the other.
const PIPE_SIZE: usize = 64 * 1024;

/// Creates a channel that adds tokens to its calls, for `with_channel` of an OTLP exporter over gRPC.
///
/// The calls go to `endpoint`, whose origin must be allowed by the authorizer. If the collector refuses a token with
/// UNAUTHENTICATED, the token is invalidated, and the call is sent again once with another one, unless its response had
/// begun: a collector that answers so has accepted no data. Tokens that are bound to a key (DPoP) get a proof for each
/// call.
///
/// An exporter takes tonic's [`Channel`] and no other type, and a channel cannot be wrapped. Therefore this one is
/// connected in memory to a task that adds the token and sends the call over a second channel, to `endpoint`. Both belong
/// to the runtime of the authorizer's [`BlockingTokenSource`]; this function and the exporter work on any thread.
///
/// The channel is for calls with one message, such as those of exporters: a message is read into memory before it is
/// sent. Set the timeout of a call in `endpoint`: an exporter sets none for a channel that it is given. For `https` set
/// TLS there too (`tls_config`): without it, a call is not sent, and its status is UNAVAILABLE.
///
/// # Errors
///
/// A [`TokenError`] of kind [`Configuration`](hallpass_core::ErrorKind::Configuration) if the authorizer does not allow
/// the origin of `endpoint`.
///
/// A call without a token is not sent. Its status is UNAVAILABLE if the token error is
/// [transient](TokenError::is_transient), which an exporter retries, and UNAUTHENTICATED otherwise, which it does not. The
/// message is the text of the error, with its hint.
pub fn token_channel(
    authorizer: &BlockingAuthorizer,
    endpoint: &Endpoint,
) -> Result<Channel, TokenError> {
    let tokens = authorizer.tokens();
    let authorizer = authorizer.authorizer();
    let target = Target::from_uri(endpoint.uri());
    let is_allowed = |target| authorizer.origins().any(|origin| origin.is_at(target));
    if !target.is_some_and(is_allowed) {
        // An error, unless calls to other origins are sent without a token.
        authorizer.permit(
            RequestHead::new(&Method::POST, target, "/", &HeaderMap::new()),
            None,
        )?;
    }
    let layer = TokenLayer::new(authorizer.clone()).retry_cloned().grpc();
    Ok(tokens.with_runtime(|| {
        let collector = Collector {
            tokens: tokens.clone(),
            service: layer.layer(Outer(endpoint.connect_lazy())),
            uri: endpoint.uri().clone(),
        };
        // The name is never resolved.
        Endpoint::from_static("http://collector").connect_with_connector_lazy(Connector(collector))
    }))
}

/// The service at the far end of the pipe.
#[derive(Clone)]
struct Collector {
    tokens: BlockingTokenSource,
    service: GrpcTokenService<Outer, CloneBody>,
    uri: Uri,
}

impl Collector {
    /// Sends a call to the collector, with a token.
    async fn call(mut self, request: Request<Incoming>) -> Result<Response<Body>, BoxError> {
        let (mut head, body) = request.into_parts();
        let mut uri = self.uri.into_parts();
        uri.path_and_query = head.uri.into_parts().path_and_query;
        head.uri = Uri::from_parts(uri)?;
        let message = Full::new(body.collect().await?.to_bytes());
        poll_fn(|context| self.service.poll_ready(context)).await?;
        let response = self.service.call(Request::from_parts(head, message)).await;
        Ok(response?.map(Body::new))
    }

    /// Serves the calls that come through a pipe, until its other end is dropped.
    async fn serve(self, pipe: DuplexStream) {
        let service = service_fn(move |request| {
            let call = self.clone().call(request);
            async { Ok::<_, Infallible>(call.await.unwrap_or_else(failure)) }
        });
        let server = http2::Builder::new(TokioExecutor::new());
        // Its error concerns the pipe, whose other end reports it.
        let _ = server.serve_connection(TokioIo::new(pipe), service).await;
    }
}

/// Returns the response for a call that failed, or was not sent because there was no token.
#[cold]
fn failure(error: BoxError) -> Response<Body> {
    let status = match error.downcast_ref::<TokenError>() {
        None => Status::from_error(error),
        Some(error) if error.is_transient() => Status::unavailable(error.to_string()),
        Some(error) => Status::unauthenticated(error.to_string()),
    };
    status.into_http()
}

/// Opens a pipe, and a task that serves it.
struct Connector(Collector);

impl Service<Uri> for Connector {
    type Response = TokioIo<DuplexStream>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (near, far) = tokio::io::duplex(PIPE_SIZE);
        let Collector { tokens, .. } = &self.0;
        tokens.with_runtime(|| tokio::spawn(self.0.clone().serve(far)));
        ready(Ok(TokioIo::new(near)))
    }
}

/// The channel to the collector, for bodies that can be cloned.
#[derive(Clone, Debug)]
struct Outer(Channel);

impl Service<Request<Full<Bytes>>> for Outer {
    type Response = Response<Body>;
    type Error = transport::Error;
    type Future = <Channel as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), transport::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        self.0.call(request.map(Body::new))
    }
}
