//! The way of a request, the same for the extension and for the middleware.

use hallpass_core::{
    AccessToken, TokenError, TokenRequest,
    authorize::{ApiRefusal, Authorizer, Permit, Target, Verdict},
};
use reqwest::{Request, Response, Url, header::AUTHORIZATION};

use crate::{proven::send_proven, spare::Spare};

/// What is below: a client, or further middleware.
pub(crate) trait Transport {
    /// What the caller gets.
    type Error: From<Self::Failure>;

    /// What is said below. It is converted here: one more future around each request would be on its way as well.
    type Failure;

    /// Does it look at a request's own extensions?
    fn sees_extensions(&self) -> bool;

    fn execute(
        &mut self,
        request: Request,
    ) -> impl Future<Output = Result<Response, Self::Failure>> + Send;

    fn no_token(error: TokenError) -> Self::Error;
}

/// How a request starts.
pub(crate) enum Start {
    /// No token is meant for it, and it goes as it is.
    Bare,
    /// It has its token on it.
    Ready(Sent),
    /// Its token, or a proof of it, is still to be had.
    Waits(Permit, Option<AccessToken>),
}

/// What the answer to a request is judged by, and what it is sent once more from.
pub(crate) struct Sent {
    permit: Permit,
    token: AccessToken,
    spare: Option<Spare>,
}

/// Puts a token that is at hand on `request`, where the authorizer permits one.
///
/// This is on the way of every request, and no future: a request is large, and each future that it enters moves it.
/// `extensions` as in [`Spare::of`].
#[inline]
pub(crate) fn start(
    authorizer: &Authorizer,
    wanted: Option<&TokenRequest>,
    request: &mut Request,
    extensions: bool,
) -> Result<Start, TokenError> {
    let permit = authorizer.permit(target(request.url()), request.headers(), wanted)?;
    let Some(permit) = permit else {
        return Ok(Start::Bare);
    };
    Ok(match permit.ready_token() {
        Some(token) if token.prover().is_none() => {
            Start::Ready(Sent::new(permit, token, request, extensions))
        }
        token => Start::Waits(permit, token),
    })
}

/// The rest of the way of a request that [waits](Start::Waits).
pub(crate) async fn wait<T: Transport>(
    transport: &mut T,
    permit: Permit,
    token: Option<AccessToken>,
    mut request: Request,
) -> Result<Response, T::Error> {
    let token = match token {
        Some(token) => token,
        None => permit.token().await.map_err(T::no_token)?,
    };
    if token.prover().is_some() {
        return send_proven(transport, permit, token, request).await;
    }
    let mut sent = Sent::new(permit, token, &mut request, transport.sees_extensions());
    let response = transport.execute(request).await?;
    let verdict = sent.judge(&response);
    sent.refused(transport, response, verdict).await
}

impl Sent {
    #[inline]
    fn new(permit: Permit, token: AccessToken, request: &mut Request, extensions: bool) -> Self {
        // Before the token is on it: this is for another one.
        let spare = Spare::of(request, extensions);
        put(&token, request);
        Self {
            permit,
            token,
            spare,
        }
    }

    #[inline]
    pub(crate) fn judge(&mut self, response: &Response) -> Verdict {
        judge(&mut self.permit, &self.token, response)
    }

    /// Sends the request with another token, where there are both and this one was refused.
    pub(crate) async fn refused<T: Transport>(
        self,
        transport: &mut T,
        response: Response,
        verdict: Verdict,
    ) -> Result<Response, T::Error> {
        let refusal = match verdict {
            Verdict::Retry(refusal) => refusal,
            Verdict::Refused(refusal) => return Ok(told(response, refusal)),
            _ => return Ok(response),
        };
        let Self {
            mut permit,
            token: refused,
            spare,
        } = self;
        let request = spare.and_then(|spare| spare.for_another_try(response.url()));
        let Some(mut request) = request else {
            return Ok(told(response, refusal));
        };
        let replacement = permit.replacement(&refused).await.map_err(T::no_token)?;
        let Some(token) = replacement else {
            return Ok(told(response, refusal));
        };
        drop(response);
        if token.prover().is_some() {
            return Box::pin(send_proven(transport, permit, token, request)).await;
        }
        put(&token, &mut request);
        let response = transport.execute(request).await?;
        match judge(&mut permit, &token, &response) {
            Verdict::Refused(refusal) | Verdict::Retry(refusal) => Ok(told(response, refusal)),
            _ => Ok(response),
        }
    }
}

#[inline]
pub(crate) fn put(token: &AccessToken, request: &mut Request) {
    let header = token.header_value().clone();
    request.headers_mut().insert(AUTHORIZATION, header);
}

pub(crate) fn told(mut response: Response, refusal: ApiRefusal) -> Response {
    response.extensions_mut().insert(refusal);
    response
}

/// A response from elsewhere, after redirects, says nothing about the token: it was not sent there.
#[inline]
pub(crate) fn judge(permit: &mut Permit, token: &AccessToken, response: &Response) -> Verdict {
    if !target(response.url()).is_some_and(|target| permit.is_from_here(target)) {
        return Verdict::Pass;
    }
    permit.judge(token, response.status(), response.headers())
}

#[inline]
fn target(url: &Url) -> Option<Target<'_>> {
    Some(Target::new(url.scheme(), url.host_str()?, url.port()))
}
