use std::task::{Context, Poll};

use hallpass_core::{
    TokenError, TokenRequest,
    authorize::{Authorizer, Origin, Permit, RequestHead, Target},
};
use http::{Request, Response, header::AUTHORIZATION};
use tower_service::Service;

use crate::{BoxError, NoReplay, Replay, ResponseFuture, request_copy::RequestCopy};

/// A service that adds tokens to its requests; created by a [`TokenLayer`](crate::TokenLayer).
///
/// The inner service is cloned for each request that waits for its token, and for each that may be retried, so a clone
/// must be cheap, as it is for clients and channels.
#[derive(Clone, Debug)]
pub struct TokenService<S, R = NoReplay> {
    inner: S,
    authorizer: Authorizer,
    connected_to: Option<Origin>,
    replay: R,
}

impl<S, R> TokenService<S, R> {
    pub(crate) fn new(
        inner: S,
        authorizer: Authorizer,
        connected_to: Option<Origin>,
        replay: R,
    ) -> Self {
        Self {
            inner,
            authorizer,
            connected_to,
            replay,
        }
    }

    /// Returns the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns the inner service. A request sent through it directly has no token.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner service, dropping this one.
    pub fn into_inner(self) -> S {
        self.inner
    }

    fn permit<B>(&self, request: &Request<B>) -> Result<Option<Permit>, TokenError> {
        let connected_to = self.connected_to.as_ref();
        // A request that names a host other than the connection's is checked by its own host.
        let target = if request.uri().authority().is_some() {
            Target::from_uri(request.uri())
        } else {
            connected_to.map(Target::from)
        };
        let wanted = request.extensions().get::<TokenRequest>();
        let (path, headers) = (request.uri().path(), request.headers());
        let head = RequestHead::new(request.method(), target, path, headers);
        self.authorizer.permit(head, wanted)
    }
}

impl<S, R, B, RB> Service<Request<B>> for TokenService<S, R>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone,
    S::Error: Into<BoxError>,
    R: Replay<B> + Clone,
{
    type Response = Response<RB>;
    type Error = BoxError;
    type Future = ResponseFuture<S, B, RB, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let permit = match self.permit(&request) {
            Ok(Some(permit)) => permit,
            Ok(None) => {
                return ResponseFuture::without_token(
                    self.inner.call(request),
                    self.replay.clone(),
                );
            }
            Err(error) => return ResponseFuture::not_sent(error, self.replay.clone()),
        };
        let replay = &self.replay;
        let copy = RequestCopy::new(&request, replay);
        // A token that needs a proof has to wait for it.
        let ready = permit.ready_token();
        if let Some(token) = ready.filter(|token| token.prover().is_none()) {
            let header = token.header_value().clone();
            request.headers_mut().insert(AUTHORIZATION, header);
            let response = self.inner.call(request);
            let service = copy.is_some().then(|| self.inner.clone());
            return ResponseFuture::sent(permit, token, response, service, copy, replay.clone());
        }
        // The clone has not been polled for readiness, so it stays here for the next call.
        let clone = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, clone);
        ResponseFuture::waiting(permit, ready, request, copy, replay.clone())
    }
}
