//! Sending a request: shared by the extension, the client and the middleware.

use hallpass_core::{
    AccessToken, TokenError, TokenRequest,
    authorize::{ApiRefusal, Authorizer, Decision, Permit, RequestHead, Target},
};
use reqwest::{
    Request, Response, Url,
    header::{AUTHORIZATION, HeaderName},
};

const DPOP: HeaderName = HeaderName::from_static("dpop");

/// The layer below: a client, or further middleware.
pub(crate) trait Transport {
    /// The caller's error.
    type Error: From<TokenError>;

    /// True if the transport reports whether a request was redirected.
    const REPORTS_REDIRECTS: bool;

    /// Sends `request` once. One with a proof is for its URL only.
    fn execute(
        &mut self,
        request: Request,
        has_proof: bool,
    ) -> impl Future<Output = Result<TransportResponse, Self::Error>> + Send;
}

/// A response with what is known about its origin.
pub(crate) struct TransportResponse {
    pub(crate) response: Response,
    /// True if the response is known to answer the request itself: no redirect was followed.
    pub(crate) is_direct: bool,
}

/// Sends `request` with a token, and retries if the API refuses the token and a retry is safe.
///
/// A retry is safe if the method is (RFC 9110 section 9.2.1) and there is no body, or if the request was not
/// redirected: before a redirect the API may have carried out the request, and refused only the token of the next hop.
pub(crate) async fn send<T: Transport>(
    transport: &mut T,
    authorizer: &Authorizer,
    wanted: Option<&TokenRequest>,
    mut request: Request,
) -> Result<Response, T::Error> {
    let (url, headers) = (request.url(), request.headers());
    let head = RequestHead::new(request.method(), target(url), url.path(), headers);
    let permit = authorizer.permit(head, wanted)?;
    let Some(mut permit) = permit else {
        return Ok(transport.execute(request, false).await?.response);
    };
    let mut token = permit.token().await?;
    loop {
        let is_safe = request.method().is_safe() && request.body().is_none();
        let copy = (is_safe || T::REPORTS_REDIRECTS).then(|| request.try_clone());
        let path = request.url().path();
        let proof = permit.proof(&token, request.method(), path).await?;
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, token.header_value().clone());
        if let Some(proof) = &proof {
            headers.insert(DPOP, proof.header_value().clone());
        }
        let answer = transport.execute(request, proof.is_some()).await?;
        let response = answer.response;
        let refusal = match check_response(&mut permit, &token, &response) {
            Decision::Retry(refusal) => refusal,
            Decision::Refused(refusal) => return Ok(refused(response, refusal)),
            _ => return Ok(response),
        };
        let Some(copy) = copy.flatten().filter(|_| is_safe || answer.is_direct) else {
            return Ok(refused(response, refusal));
        };
        let Some(replacement) = permit.replacement(&token).await? else {
            return Ok(refused(response, refusal));
        };
        (token, request) = (replacement, copy);
    }
}

fn refused(mut response: Response, refusal: ApiRefusal) -> Response {
    response.extensions_mut().insert(refusal);
    response
}

/// Evaluates a response. One from another origin, after redirects, says nothing about the token, which was not sent there.
fn check_response(permit: &mut Permit, token: &AccessToken, response: &Response) -> Decision {
    if !target(response.url()).is_some_and(|target| permit.is_same_origin(target)) {
        return Decision::Pass;
    }
    permit.evaluate_response(token, response.status(), response.headers())
}

fn target(url: &Url) -> Option<Target<'_>> {
    Some(Target::new(url.scheme(), url.host_str()?, url.port()))
}
