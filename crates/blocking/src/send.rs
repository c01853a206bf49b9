//! Sending a request with a token: shared by the integrations.

use hallpass_core::{
    TokenRequest,
    authorize::{ApiRefusal, Decision, Permit, RequestHead, Target},
};
use http::{Extensions, HeaderMap, HeaderName, Method, StatusCode, header::AUTHORIZATION};

use crate::{BlockingAuthorizer, Error, driver::Driver};

const DPOP: HeaderName = HeaderName::from_static("dpop");

/// A client's request.
pub(crate) trait Request: Sized {
    fn method(&self) -> &Method;
    fn target(&self) -> Option<Target<'_>>;
    fn path(&self) -> &str;
    fn headers(&self) -> &HeaderMap;
    fn headers_mut(&mut self) -> &mut HeaderMap;

    /// Returns a copy if the request may be sent twice.
    fn copy(&self) -> Option<Self>;
}

/// A client's response.
pub(crate) trait Response {
    fn status(&self) -> StatusCode;
    fn headers(&self) -> &HeaderMap;
    fn extensions_mut(&mut self) -> &mut Extensions;

    /// Returns true if it came from the permit's origin: the client may have followed redirects.
    fn is_from_origin(&self, permit: &Permit) -> bool;
}

/// Sends `request` with a token, and again if the API refuses the token and the request can be copied.
pub(crate) fn send<Q: Request, P: Response>(
    authorizer: &BlockingAuthorizer,
    wanted: Option<&TokenRequest>,
    mut request: Q,
    client: impl Fn(Q) -> Result<P, Error>,
) -> Result<P, Error> {
    Driver::check_thread()?;
    let BlockingAuthorizer { tokens, authorizer } = authorizer;
    // A hit starts a refresh, and a refusal removes the token from a shared store: both are tasks.
    let _context = tokens.enter();
    let (target, path) = (request.target(), request.path());
    let head = RequestHead::new(request.method(), target, path, request.headers());
    let permit = authorizer.permit(head, wanted)?;
    let Some(mut permit) = permit else {
        return client(request);
    };
    let mut token = match permit.ready_token() {
        Some(token) => token,
        None => tokens.run(permit.token())?,
    };
    loop {
        let copy = request.copy();
        if token.prover().is_some() {
            let proof = permit.proof(&token, request.method(), request.path());
            if let Some(proof) = tokens.run(proof)? {
                let proof = proof.header_value().clone();
                request.headers_mut().insert(DPOP, proof);
            }
        }
        let header = token.header_value().clone();
        request.headers_mut().insert(AUTHORIZATION, header);
        let response = client(request)?;
        if !response.is_from_origin(&permit) {
            return Ok(response);
        }
        let decision = permit.evaluate_response(&token, response.status(), response.headers());
        let refusal = match decision {
            Decision::Retry(refusal) => refusal,
            Decision::Refused(refusal) => return Ok(refused(response, refusal)),
            _ => return Ok(response),
        };
        let Some(copy) = copy else {
            return Ok(refused(response, refusal));
        };
        let Some(replacement) = tokens.run(permit.replacement(&token))? else {
            return Ok(refused(response, refusal));
        };
        (token, request) = (replacement, copy);
    }
}

fn refused<P: Response>(mut response: P, refusal: ApiRefusal) -> P {
    response.extensions_mut().insert(refusal);
    response
}
