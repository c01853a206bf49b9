use hallpass_core::{
    TokenRequest,
    authorize::{Permit, Target},
};
use http::{Extensions, HeaderMap, Method, StatusCode};
use reqwest::{
    Url,
    blocking::{Request, RequestBuilder, Response},
};

use crate::{BlockingAuthorizer, Error, send};

/// An extension of the request builder of reqwest's blocking client that sends a request with a token.
///
/// After a 401 a request is retried if its method is safe (RFC 9110 section 9.2.1) and it has no body. A POST is not: the
/// client may have followed a redirect after the API carried out the request. The caller gets the 401, and the next
/// request a new token.
///
/// ```
/// use hallpass_blocking::{BlockingAuthorizer, BlockingRequestBuilderExt, Error};
///
/// fn orders(
///     client: &reqwest::blocking::Client,
///     authorizer: &BlockingAuthorizer,
/// ) -> Result<u16, Error> {
///     let response = client.get("https://api.example/orders").send_with(authorizer)?;
///     Ok(response.status().as_u16())
/// }
/// # let _ = orders;
/// ```
pub trait BlockingRequestBuilderExt: sealed::Sealed {
    /// Sends it with the token that its origin was allowed with.
    ///
    /// # Errors
    ///
    /// An [`Error`] whose [`token_error`](Error::token_error) says why there is no token (nothing was sent), also on a
    /// thread that runs async tasks; or reqwest's own error.
    fn send_with(self, authorizer: &BlockingAuthorizer) -> Result<Response, Error>;

    /// Sends it with a token for `wanted`: scopes, an audience or a resource other than those that the origin was
    /// allowed with.
    ///
    /// # Errors
    ///
    /// As [`send_with`](Self::send_with).
    fn send_with_request(
        self,
        authorizer: &BlockingAuthorizer,
        wanted: &TokenRequest,
    ) -> Result<Response, Error>;
}

impl BlockingRequestBuilderExt for RequestBuilder {
    fn send_with(self, authorizer: &BlockingAuthorizer) -> Result<Response, Error> {
        let (client, request) = self.build_split();
        send::send(authorizer, None, request?, |request| {
            Ok(client.execute(request)?)
        })
    }

    fn send_with_request(
        self,
        authorizer: &BlockingAuthorizer,
        wanted: &TokenRequest,
    ) -> Result<Response, Error> {
        let (client, request) = self.build_split();
        send::send(authorizer, Some(wanted), request?, |request| {
            Ok(client.execute(request)?)
        })
    }
}

impl send::Request for Request {
    fn method(&self) -> &Method {
        self.method()
    }

    fn target(&self) -> Option<Target<'_>> {
        target(self.url())
    }

    fn path(&self) -> &str {
        self.url().path()
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }

    fn headers_mut(&mut self) -> &mut HeaderMap {
        self.headers_mut()
    }

    fn copy(&self) -> Option<Self> {
        let is_safe = self.method().is_safe() && self.body().is_none();
        is_safe.then(|| self.try_clone()).flatten()
    }
}

impl send::Response for Response {
    fn status(&self) -> StatusCode {
        self.status()
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }

    fn extensions_mut(&mut self) -> &mut Extensions {
        self.extensions_mut()
    }

    fn is_from_origin(&self, permit: &Permit) -> bool {
        target(self.url()).is_some_and(|target| permit.is_same_origin(target))
    }
}

fn target(url: &Url) -> Option<Target<'_>> {
    Some(Target::new(url.scheme(), url.host_str()?, url.port()))
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for reqwest::blocking::RequestBuilder {}
}
