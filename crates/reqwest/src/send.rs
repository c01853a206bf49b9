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

    /// May it look at a request's extensions?
    const SEES_EXTENSIONS: bool;

    fn execute(
        &mut self,
        request: Request,
    ) -> impl Future<Output = Result<Response, Self::Failure>> + Send;

    fn no_token(error: TokenError) -> Self::Error;
}

/// Sends `request` with a token where the authorizer permits one, and once more where the API refuses that token.
///
/// What is seldom needed is in a box, so that the future that every request carries along stays small.
pub(crate) async fn send<T: Transport>(
    transport: &mut T,
    authorizer: &Authorizer,
    wanted: Option<&TokenRequest>,
    mut request: Request,
) -> Result<Response, T::Error> {
    let permit = authorizer.permit(target(request.url()), request.headers(), wanted);
    let Some(mut permit) = permit.map_err(T::no_token)? else {
        return Ok(transport.execute(request).await?);
    };
    // Before the token is on it: this is for another one.
    let spare = Spare::of(&mut request, T::SEES_EXTENSIONS);
    let token = match permit.ready_token() {
        Some(token) => token,
        None => Box::pin(permit.token()).await.map_err(T::no_token)?,
    };
    if token.prover().is_some() {
        return Box::pin(send_proven(transport, permit, token, request)).await;
    }
    put(&token, &mut request);
    let response = transport.execute(request).await?;
    match judge(&mut permit, &token, &response) {
        Verdict::Retry(refusal) => {
            Box::pin(again(transport, permit, token, response, refusal, spare)).await
        }
        Verdict::Refused(refusal) => Ok(told(response, refusal)),
        _ => Ok(response),
    }
}

/// The token was refused: sends the request with another one, where there are both.
async fn again<T: Transport>(
    transport: &mut T,
    mut permit: Permit,
    refused: AccessToken,
    response: Response,
    refusal: ApiRefusal,
    spare: Option<Spare>,
) -> Result<Response, T::Error> {
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

pub(crate) fn put(token: &AccessToken, request: &mut Request) {
    let header = token.header_value().clone();
    request.headers_mut().insert(AUTHORIZATION, header);
}

pub(crate) fn told(mut response: Response, refusal: ApiRefusal) -> Response {
    response.extensions_mut().insert(refusal);
    response
}

/// A response from elsewhere, after redirects, says nothing about the token: it was not sent there.
pub(crate) fn judge(permit: &mut Permit, token: &AccessToken, response: &Response) -> Verdict {
    if !target(response.url()).is_some_and(|target| permit.is_from_here(target)) {
        return Verdict::Pass;
    }
    permit.judge(token, response.status(), response.headers())
}

fn target(url: &Url) -> Option<Target<'_>> {
    Some(Target::new(url.scheme(), url.host_str()?, url.port()))
}
