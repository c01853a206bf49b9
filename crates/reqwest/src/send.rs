//! The way of a request, the same for the extension and for the middleware.

use hallpass_core::{
    AccessToken, TokenError, TokenRequest,
    authorize::{ApiRefusal, Authorizer, Permit, Target, Verdict},
};
use reqwest::{Request, Response, Url, header::AUTHORIZATION};

/// What is below: a client, or further middleware.
pub(crate) trait Transport {
    type Error;

    fn execute(
        &mut self,
        request: Request,
    ) -> impl Future<Output = Result<Response, Self::Error>> + Send;

    fn no_token(error: TokenError) -> Self::Error;
}

/// Sends `request` with a token where the authorizer permits one, and once more where the API refuses that token.
///
/// What is seldom needed is in a box, so that the future that every request carries along stays small.
pub(crate) async fn send<T: Transport>(
    transport: &mut T,
    authorizer: &Authorizer,
    wanted: Option<&TokenRequest>,
    request: Request,
) -> Result<Response, T::Error> {
    let permit = authorizer.permit(target(request.url()), request.headers(), wanted);
    let Some(mut permit) = permit.map_err(T::no_token)? else {
        return transport.execute(request).await;
    };
    // Before the token is on it: the copy is for another one.
    let spare = request.try_clone();
    let token = match permit.ready_token() {
        Some(token) => token,
        None => Box::pin(permit.token()).await.map_err(T::no_token)?,
    };
    let response = transport.execute(with(request, &token)).await?;
    match judge(&mut permit, &token, &response) {
        Verdict::Retry(refusal) => {
            Box::pin(again(transport, permit, token, response, refusal, spare)).await
        }
        Verdict::Refused(refusal) => Ok(told(response, refusal)),
        _ => Ok(response),
    }
}

/// The token was refused: sends the copy with another one, where there are both.
async fn again<T: Transport>(
    transport: &mut T,
    mut permit: Permit,
    refused: AccessToken,
    response: Response,
    refusal: ApiRefusal,
    spare: Option<Request>,
) -> Result<Response, T::Error> {
    let spare = spare.filter(|spare| is_same_place(spare.url(), response.url()));
    let Some(spare) = spare else {
        return Ok(told(response, refusal));
    };
    let replacement = permit.replacement(&refused).await.map_err(T::no_token)?;
    let Some(token) = replacement else {
        return Ok(told(response, refusal));
    };
    drop(response);
    let response = transport.execute(with(spare, &token)).await?;
    match judge(&mut permit, &token, &response) {
        Verdict::Refused(refusal) | Verdict::Retry(refusal) => Ok(told(response, refusal)),
        _ => Ok(response),
    }
}

fn with(mut request: Request, token: &AccessToken) -> Request {
    let header = token.header_value().clone();
    request.headers_mut().insert(AUTHORIZATION, header);
    request
}

fn told(mut response: Response, refusal: ApiRefusal) -> Response {
    response.extensions_mut().insert(refusal);
    response
}

/// A response from elsewhere, after redirects, says nothing about the token: it was not sent there.
fn judge(permit: &mut Permit, token: &AccessToken, response: &Response) -> Verdict {
    if !target(response.url()).is_some_and(|target| permit.is_from_here(target)) {
        return Verdict::Pass;
    }
    permit.judge(token, response.status(), response.headers())
}

/// Was it not redirected? What was, may have done its work before, and is not sent again.
fn is_same_place(one: &Url, other: &Url) -> bool {
    let bare = |url: &Url| {
        let mut url = url.clone();
        url.set_fragment(None);
        url
    };
    one == other || bare(one) == bare(other)
}

fn target(url: &Url) -> Option<Target<'_>> {
    Some(Target::new(url.scheme(), url.host_str()?, url.port()))
}
