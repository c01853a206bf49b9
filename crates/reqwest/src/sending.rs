//! The future of a request that a client sends.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use hallpass_core::{
    AccessToken, TokenError, TokenRequest,
    authorize::{Authorizer, Permit, Verdict},
};
use pin_project_lite::pin_project;
use reqwest::{Client, Request, Response};

use crate::{
    Error,
    send::{Sent, Start, Transport, start, wait},
};

/// The client itself, with nothing in between.
pub(crate) struct Direct(pub(crate) Client);

impl Transport for Direct {
    type Error = Error;
    type Failure = reqwest::Error;

    fn sees_extensions(&self) -> bool {
        false
    }

    fn execute(
        &mut self,
        request: Request,
    ) -> impl Future<Output = Result<Response, reqwest::Error>> + Send {
        self.0.execute(request)
    }

    fn no_token(error: TokenError) -> Error {
        error.into()
    }
}

const POLLED_AGAIN: &str = "a future that has yielded its result is not polled again";

type Later = Pin<Box<dyn Future<Output = Result<Response, Error>> + Send>>;

pin_project! {
    /// Written by hand: in an `async fn` a request and all that is kept of it would be moved from place to place before it
    /// is sent, and every request would pay.
    #[project = SendingProjection]
    enum Sending<F> {
        /// It is on its way with its token, or without one where none is meant for it.
        Sent {
            #[pin]
            answer: F,
            client: Option<Direct>,
            sent: Option<Sent>,
        },
        /// What is seldom needed: a token to wait for, or another try.
        Later { later: Later },
        Failed { error: Option<Error> },
    }
}

#[inline]
pub(crate) fn sending(
    client: Direct,
    authorizer: &Authorizer,
    wanted: Option<&TokenRequest>,
    request: reqwest::Result<Request>,
) -> impl Future<Output = Result<Response, Error>> + Send + use<> {
    let mut request = match request {
        Ok(request) => request,
        Err(error) => return failed(error),
    };
    let sent = match start(authorizer, wanted, &mut request, false) {
        Ok(Start::Ready(sent)) => Some(sent),
        Ok(Start::Bare) => None,
        Ok(Start::Waits(permit, token)) => return later(client, permit, token, request),
        Err(error) => return failed(error),
    };
    Sending::Sent {
        answer: client.0.execute(request),
        client: Some(client),
        sent,
    }
}

#[cold]
fn failed<F>(error: impl Into<Error>) -> Sending<F> {
    Sending::Failed {
        error: Some(error.into()),
    }
}

#[cold]
fn later<F>(
    mut client: Direct,
    permit: Permit,
    token: Option<AccessToken>,
    request: Request,
) -> Sending<F> {
    Sending::Later {
        later: Box::pin(async move { wait(&mut client, permit, token, request).await }),
    }
}

#[cold]
fn refused(mut client: Direct, sent: Sent, response: Response, verdict: Verdict) -> Later {
    Box::pin(async move { sent.refused(&mut client, response, verdict).await })
}

impl<F: Future<Output = reqwest::Result<Response>>> Future for Sending<F> {
    type Output = Result<Response, Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let again = match self.as_mut().project() {
            SendingProjection::Sent {
                answer,
                client,
                sent,
            } => {
                let response = ready!(answer.poll(context))?;
                let verdict = sent
                    .as_mut()
                    .map_or(Verdict::Pass, |sent| sent.judge(&response));
                if matches!(verdict, Verdict::Pass) {
                    return Poll::Ready(Ok(response));
                }
                let client = client.take().expect(POLLED_AGAIN);
                let sent = sent.take().expect(POLLED_AGAIN);
                refused(client, sent, response, verdict)
            }
            SendingProjection::Later { later } => return later.as_mut().poll(context),
            SendingProjection::Failed { error } => {
                return Poll::Ready(Err(error.take().expect(POLLED_AGAIN)));
            }
        };
        self.set(Sending::Later { later: again });
        self.poll(context)
    }
}
