use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use hallpass_core::{
    AccessToken, TokenError,
    authorize::{ApiRefusal, Permit, Verdict},
};
use http::{Request, Response, header::AUTHORIZATION};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::BoxError;

/// A source's answer is waited for in a box; the way of a request whose token is at hand takes none.
type Waiting<T> = Pin<Box<dyn Future<Output = Result<T, TokenError>> + Send>>;

pin_project! {
    /// The response of a [`TokenService`](crate::TokenService).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, B, RB>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S::Future, B, RB>,
        permit: Option<Permit>,
        // The one that was sent.
        token: Option<AccessToken>,
        // Takes the request, where it was not taken at once.
        service: Option<S>,
        spare: Option<Request<B>>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, B, RB> {
        // There is no token at hand.
        Token { token: Waiting<AccessToken>, request: Option<Request<B>> },
        Response { #[pin] response: F },
        // The token was refused; the refusal is kept for the case that there is no other.
        Replacement { token: Waiting<Option<AccessToken>>, first: Option<(Response<RB>, ApiRefusal)> },
        // The service takes the request for the second time when it is ready.
        Again { request: Option<Request<B>> },
        KeptBack { error: Option<TokenError> },
    }
}

impl<S, B, RB> ResponseFuture<S, B, RB>
where
    S: Service<Request<B>>,
{
    /// A request that has no token.
    pub(crate) fn as_it_is(response: S::Future) -> Self {
        Self::new(State::Response { response }, None)
    }

    pub(crate) fn kept_back(error: TokenError) -> Self {
        let error = Some(error);
        Self::new(State::KeptBack { error }, None)
    }

    /// A request that is on its way with a token.
    pub(crate) fn sent(
        permit: Permit,
        token: AccessToken,
        response: S::Future,
        again: Option<(S, Request<B>)>,
    ) -> Self {
        let (service, spare) = again.unzip();
        Self {
            token: Some(token),
            service,
            spare,
            ..Self::new(State::Response { response }, Some(permit))
        }
    }

    /// A request that `service`, which is ready, takes once there is a token.
    pub(crate) fn waiting(
        permit: Permit,
        service: S,
        request: Request<B>,
        spare: Option<Request<B>>,
    ) -> Self {
        let asking = permit.clone();
        let state = State::Token {
            token: Box::pin(async move { asking.token().await }),
            request: Some(request),
        };
        Self {
            service: Some(service),
            spare,
            ..Self::new(state, Some(permit))
        }
    }

    fn new(state: State<S::Future, B, RB>, permit: Option<Permit>) -> Self {
        Self {
            state,
            permit,
            token: None,
            service: None,
            spare: None,
        }
    }
}

impl<S, B, RB> Future for ResponseFuture<S, B, RB>
where
    S: Service<Request<B>, Response = Response<RB>>,
    S::Error: Into<BoxError>,
{
    type Output = Result<Response<RB>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        const POLLED_AGAIN: &str = "a future that has yielded its result is not polled again";
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                StateProj::Token { token, request } => {
                    let token = ready!(token.as_mut().poll(cx))?;
                    let request = request.take().expect(POLLED_AGAIN);
                    let service = this.service.as_mut().expect("a service that was ready");
                    let response = service.call(with(request, &token));
                    *this.token = Some(token);
                    State::Response { response }
                }
                StateProj::Response { response } => {
                    let mut response = ready!(response.poll(cx)).map_err(Into::into)?;
                    let (Some(permit), Some(token)) = (this.permit.as_mut(), &*this.token) else {
                        return Poll::Ready(Ok(response));
                    };
                    match permit.judge(token, response.status(), response.headers()) {
                        Verdict::Retry(refusal) if this.spare.is_some() => {
                            let (asking, refused) = (permit.clone(), token.clone());
                            State::Replacement {
                                token: Box::pin(async move { asking.replacement(&refused).await }),
                                first: Some((response, refusal)),
                            }
                        }
                        Verdict::Retry(refusal) | Verdict::Refused(refusal) => {
                            response.extensions_mut().insert(refusal);
                            return Poll::Ready(Ok(response));
                        }
                        _ => return Poll::Ready(Ok(response)),
                    }
                }
                StateProj::Replacement { token, first } => {
                    let token = ready!(token.as_mut().poll(cx))?;
                    let (mut response, refusal) = first.take().expect(POLLED_AGAIN);
                    let Some(token) = token else {
                        response.extensions_mut().insert(refusal);
                        return Poll::Ready(Ok(response));
                    };
                    let spare = this.spare.take().expect("a request to send again");
                    let request = Some(with(spare, &token));
                    *this.token = Some(token);
                    State::Again { request }
                }
                StateProj::Again { request } => {
                    let service = this.service.as_mut().expect("a service for another try");
                    ready!(service.poll_ready(cx)).map_err(Into::into)?;
                    let response = service.call(request.take().expect(POLLED_AGAIN));
                    State::Response { response }
                }
                StateProj::KeptBack { error } => {
                    return Poll::Ready(Err(error.take().expect(POLLED_AGAIN).into()));
                }
            };
            this.state.set(next);
        }
    }
}

fn with<B>(mut request: Request<B>, token: &AccessToken) -> Request<B> {
    let header = token.header_value().clone();
    request.headers_mut().insert(AUTHORIZATION, header);
    request
}

impl<S, B, RB> fmt::Debug for ResponseFuture<S, B, RB>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("permit", &self.permit)
            .finish_non_exhaustive()
    }
}
