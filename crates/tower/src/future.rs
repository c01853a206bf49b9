use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use hallpass_core::{
    AccessToken, Proof, TokenError,
    authorize::{ApiRefusal, Decision, Permit},
};
use http::{Method, Request, Response, Uri, header::AUTHORIZATION};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{BoxError, NoReplay, Replay, request_copy::RequestCopy};

/// A call of a source or a prover. Only this is boxed: a request with a cached bearer token needs no box.
type BoxedCall<T> = Pin<Box<dyn Future<Output = Result<T, TokenError>> + Send>>;

/// The token of a request, with its proof. The permit holds the state of the proofs.
struct Credential {
    permit: Permit,
    token: AccessToken,
    proof: Option<Proof>,
}

pin_project! {
    /// The response of a [`TokenService`](crate::TokenService). It is not `Unpin`.
    // The macro's own bound for `Unpin` would name private types in our public documentation.
    #[project(!Unpin)]
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, B, RB, R = NoReplay>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S::Future, B, RB>,
        permit: Option<Permit>,
        // The token that was sent.
        token: Option<AccessToken>,
        // Takes the request, if it was not taken at once.
        service: Option<S>,
        copy: Option<RequestCopy<B>>,
        // Copies the request, if it may be sent again.
        replay: R,
    }
}

pin_project! {
    // Rarely needed parts are boxed: every request carries and moves this.
    #[project = StateProj]
    enum State<F, B, RB> {
        // No token is cached, or it needs a proof.
        Token { credential: BoxedCall<Credential>, request: Option<Box<Request<B>>> },
        Response { #[pin] response: F },
        // The token was refused; the refusal is stored in case there is no other token.
        Replacement { credential: BoxedCall<Option<Credential>>, first: Option<Box<(Response<RB>, ApiRefusal)>> },
        // The service takes the request again when it is ready.
        Retry { request: Option<Box<Request<B>>> },
        NotSent { error: Option<TokenError> },
    }
}

impl<S, B, RB, R> ResponseFuture<S, B, RB, R>
where
    S: Service<Request<B>>,
{
    /// Creates the future of a request without a token.
    pub(crate) fn without_token(response: S::Future, replay: R) -> Self {
        Self::new(State::Response { response }, None, replay)
    }

    /// Creates the future of a request that is not sent, because of this error.
    pub(crate) fn not_sent(error: TokenError, replay: R) -> Self {
        let error = Some(error);
        Self::new(State::NotSent { error }, None, replay)
    }

    /// Creates the future of a request that was sent with a token.
    pub(crate) fn sent(
        permit: Permit,
        token: AccessToken,
        response: S::Future,
        service: Option<S>,
        copy: Option<RequestCopy<B>>,
        replay: R,
    ) -> Self {
        Self {
            state: State::Response { response },
            permit: Some(permit),
            token: Some(token),
            service,
            copy,
            replay,
        }
    }

    /// Creates the future of a request that `service`, which is ready, takes once there is a token, and a proof if
    /// needed.
    pub(crate) fn waiting(
        permit: Permit,
        service: S,
        request: Request<B>,
        copy: Option<RequestCopy<B>>,
        replay: R,
    ) -> Self {
        let state = State::Token {
            credential: credential(permit, &request),
            request: Some(Box::new(request)),
        };
        Self {
            service: Some(service),
            copy,
            ..Self::new(state, None, replay)
        }
    }

    fn new(state: State<S::Future, B, RB>, permit: Option<Permit>, replay: R) -> Self {
        Self {
            state,
            permit,
            token: None,
            service: None,
            copy: None,
            replay,
        }
    }
}

impl<S, B, RB, R> ResponseFuture<S, B, RB, R>
where
    S: Service<Request<B>>,
{
    /// Returns the token that was sent, once the future has yielded the response.
    pub(crate) fn take_sent(self: Pin<&mut Self>) -> Option<(Permit, AccessToken)> {
        let this = self.project();
        this.permit.take().zip(this.token.take())
    }
}

impl<S, B, RB, R> Future for ResponseFuture<S, B, RB, R>
where
    S: Service<Request<B>, Response = Response<RB>>,
    S::Error: Into<BoxError>,
    R: Replay<B>,
{
    type Output = Result<Response<RB>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        const POLLED_AGAIN: &str = "a future that has yielded its result is not polled again";
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                StateProj::Token {
                    credential,
                    request,
                } => {
                    let credential = ready!(credential.as_mut().poll(cx))?;
                    let request = *request.take().expect(POLLED_AGAIN);
                    let service = this.service.as_mut().expect("a service that was ready");
                    let response = service.call(with(request, &credential));
                    *this.permit = Some(credential.permit);
                    *this.token = Some(credential.token);
                    State::Response { response }
                }
                StateProj::Response { response } => {
                    let mut response = ready!(response.poll(cx)).map_err(Into::into)?;
                    let (Some(permit), Some(token)) = (this.permit.as_mut(), &*this.token) else {
                        return Poll::Ready(Ok(response));
                    };
                    match (
                        permit.evaluate_response(token, response.status(), response.headers()),
                        &*this.copy,
                    ) {
                        (Decision::Retry(refusal), Some(copy)) => State::Replacement {
                            credential: replacement(permit, token, copy),
                            first: Some(Box::new((response, refusal))),
                        },
                        (Decision::Retry(refusal) | Decision::Refused(refusal), _) => {
                            response.extensions_mut().insert(refusal);
                            return Poll::Ready(Ok(response));
                        }
                        _ => return Poll::Ready(Ok(response)),
                    }
                }
                StateProj::Replacement { credential, first } => {
                    let credential = ready!(credential.as_mut().poll(cx))?;
                    let (mut response, refusal) = *first.take().expect(POLLED_AGAIN);
                    let Some(credential) = credential else {
                        response.extensions_mut().insert(refusal);
                        return Poll::Ready(Ok(response));
                    };
                    let copy = this.copy.take().expect("a request to send again");
                    let request = copy.into_request();
                    if credential.proof.is_some() {
                        // The API may demand another nonce.
                        *this.copy = RequestCopy::new(&request, this.replay);
                    }
                    let request = Some(Box::new(with(request, &credential)));
                    *this.permit = Some(credential.permit);
                    *this.token = Some(credential.token);
                    State::Retry { request }
                }
                StateProj::Retry { request } => {
                    let service = this.service.as_mut().expect("a service for another try");
                    ready!(service.poll_ready(cx)).map_err(Into::into)?;
                    let request = request.take().expect(POLLED_AGAIN);
                    match (&*this.permit, &*this.token) {
                        // It expired while the service was not ready. Now it is, so the next token does not wait.
                        (Some(permit), Some(token)) if permit.is_expired(token) => State::Token {
                            credential: credential(permit.clone(), &request),
                            request: Some(request),
                        },
                        _ => State::Response {
                            response: service.call(*request),
                        },
                    }
                }
                StateProj::NotSent { error } => {
                    return Poll::Ready(Err(error.take().expect(POLLED_AGAIN).into()));
                }
            };
            this.state.set(next);
        }
    }
}

/// Gets a token, and a proof if the token needs one.
fn credential<B>(permit: Permit, request: &Request<B>) -> BoxedCall<Credential> {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    Box::pin(async move {
        let token = permit.token().await?;
        prove(permit, token, method, uri).await
    })
}

/// Gets a token to replace the refused one.
#[cold]
fn replacement<B>(
    permit: &Permit,
    refused: &AccessToken,
    copy: &RequestCopy<B>,
) -> BoxedCall<Option<Credential>> {
    let (method, uri) = (copy.method.clone(), copy.uri.clone());
    let (permit, refused) = (permit.clone(), refused.clone());
    Box::pin(async move {
        let Some(token) = permit.replacement(&refused).await? else {
            return Ok(None);
        };
        prove(permit, token, method, uri).await.map(Some)
    })
}

async fn prove(
    mut permit: Permit,
    token: AccessToken,
    method: Method,
    uri: Uri,
) -> Result<Credential, TokenError> {
    let proof = permit.proof(&token, &method, uri.path()).await?;
    Ok(Credential {
        permit,
        token,
        proof,
    })
}

fn with<B>(mut request: Request<B>, credential: &Credential) -> Request<B> {
    let header = credential.token.header_value().clone();
    request.headers_mut().insert(AUTHORIZATION, header);
    if let Some(proof) = &credential.proof {
        let proof = proof.header_value().clone();
        request.headers_mut().insert("dpop", proof);
    }
    request
}

impl<S, B, RB, R> fmt::Debug for ResponseFuture<S, B, RB, R>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("permit", &self.permit)
            .finish_non_exhaustive()
    }
}
