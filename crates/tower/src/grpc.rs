use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use hallpass_core::{AccessToken, authorize::Permit};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::{BoxError, NoReplay, Replay, ResponseFuture, TokenLayer, TokenService};

/// A [`TokenLayer`] that also reads the gRPC status at the end of a response: created by [`TokenLayer::grpc`].
///
/// A token that is refused there is dropped, so that the next call has another one. The call itself is not retried: its
/// response has begun.
#[derive(Clone, Debug)]
pub struct GrpcTokenLayer<R = NoReplay>(TokenLayer<R>);

impl<R> TokenLayer<R> {
    /// Also reads the gRPC status in the trailers of each response, for tonic channels. The response has another body
    /// type, [`GrpcBody`].
    #[must_use]
    pub fn grpc(self) -> GrpcTokenLayer<R> {
        GrpcTokenLayer(self)
    }
}

impl<S, R: Clone> Layer<S> for GrpcTokenLayer<R> {
    type Service = GrpcTokenService<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        GrpcTokenService(self.0.layer(inner))
    }
}

/// A [`TokenService`] that also reads the gRPC status at the end of a response: created by a [`GrpcTokenLayer`].
#[derive(Clone, Debug)]
pub struct GrpcTokenService<S, R = NoReplay>(TokenService<S, R>);

impl<S, R> GrpcTokenService<S, R> {
    /// Returns the service that adds the tokens.
    pub fn into_inner(self) -> TokenService<S, R> {
        self.0
    }
}

impl<S, R, B, RB> Service<Request<B>> for GrpcTokenService<S, R>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone,
    S::Error: Into<BoxError>,
    R: Replay<B> + Clone,
    RB: Body,
{
    type Response = Response<GrpcBody<RB>>;
    type Error = BoxError;
    type Future = GrpcResponseFuture<S, B, RB, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        GrpcResponseFuture {
            response: self.0.call(request),
        }
    }
}

pin_project! {
    /// The response of a [`GrpcTokenService`].
    #[project(!Unpin)]
    #[must_use = "futures do nothing unless polled"]
    pub struct GrpcResponseFuture<S, B, RB, R = NoReplay>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        response: ResponseFuture<S, B, RB, R>,
    }
}

impl<S, B, RB, R> Future for GrpcResponseFuture<S, B, RB, R>
where
    S: Service<Request<B>, Response = Response<RB>>,
    S::Error: Into<BoxError>,
    R: Replay<B>,
{
    type Output = Result<Response<GrpcBody<RB>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let response = ready!(this.response.as_mut().poll(cx))?;
        let sent = this.response.take_sent();
        Poll::Ready(Ok(response.map(|body| GrpcBody { body, sent })))
    }
}

impl<S, B, RB, R> fmt::Debug for GrpcResponseFuture<S, B, RB, R>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.response.fmt(f)
    }
}

/// The body of a [`GrpcTokenService`]'s response: the inner service's, with its trailers read. It is a [`Body`] if the
/// inner one is, and is `Unpin`, as those of hyper and tonic are.
pub struct GrpcBody<RB> {
    body: RB,
    /// The token that was sent, until the trailers were read.
    sent: Option<(Permit, AccessToken)>,
}

impl<RB: Body + Unpin> Body for GrpcBody<RB> {
    type Data = RB::Data;
    type Error = RB::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<RB::Data>, RB::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
            && let Some((mut permit, token)) = this.sent.take()
        {
            permit.evaluate_trailers(&token, trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<RB: fmt::Debug> fmt::Debug for GrpcBody<RB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GrpcBody").field(&self.body).finish()
    }
}
