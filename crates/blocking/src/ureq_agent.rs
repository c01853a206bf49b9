use std::fs::File;

use hallpass_core::{
    TokenRequest,
    authorize::{Permit, Target},
    is_loopback_host,
};
use http::{Extensions, HeaderMap, Method, Request, Response, StatusCode};
use ureq::{Agent, AsSendBody, Body, SendBody};

use crate::{BlockingAuthorizer, Error, send};

/// An extension of ureq's agent that sends a request with a token.
///
/// After a 401 a request is retried if its body is in memory: no redirect is followed, so the API did not carry it out.
/// Redirects are returned to the caller. A status such as 401 or 500 is a response, not an error, also if the agent sets
/// `http_status_as_error`: the response says why the API refused the token.
///
/// A request to this machine skips a proxy of the environment, such as `HTTP_PROXY`, but not one that the agent was
/// built with.
///
/// A [`TokenRequest`] in a request's extensions selects a token other than the one that the origin was allowed with.
///
/// ```
/// use hallpass_blocking::{AgentExt, BlockingAuthorizer, Error};
/// use http::Request;
///
/// fn order(agent: &ureq::Agent, authorizer: &BlockingAuthorizer) -> Result<u16, Box<dyn std::error::Error>> {
///     let order = Request::post("https://api.example/orders").body("{}")?;
///     let response = agent.run_with(authorizer, order)?;
///     Ok(response.status().as_u16())
/// }
/// # let _ = order;
/// ```
pub trait AgentExt: sealed::Agent {
    /// Sends a request with the token that its origin was allowed with.
    ///
    /// # Errors
    ///
    /// An [`Error`] whose [`token_error`](Error::token_error) says why there is no token (nothing was sent), also on a
    /// thread that runs async tasks; or ureq's own error.
    fn run_with<B: RequestBody>(
        &self,
        authorizer: &BlockingAuthorizer,
        request: Request<B>,
    ) -> Result<Response<Body>, Error>;
}

impl AgentExt for Agent {
    fn run_with<B: RequestBody>(
        &self,
        authorizer: &BlockingAuthorizer,
        request: Request<B>,
    ) -> Result<Response<Body>, Error> {
        let wanted = request.extensions().get::<TokenRequest>().cloned();
        send::send(authorizer, wanted.as_ref(), request, |request| {
            let proxy = self.config().proxy().filter(|proxy| {
                let is_loopback = request.uri().host().is_some_and(is_loopback_host);
                // It may be on any host, and would read a token that is sent over plain HTTP.
                !(is_loopback && proxy.is_from_env())
            });
            let proxy = proxy.cloned();
            let request = self.configure_request(request).proxy(proxy);
            let request = request.http_status_as_error(false).max_redirects(0);
            Ok(self.run(request.build())?)
        })
    }
}

/// A body that ureq sends. One in memory can be sent again; a file or a reader cannot.
pub trait RequestBody: AsSendBody + sealed::Copy + Sized {}

impl<B: AsSendBody + sealed::Copy + Sized> RequestBody for B {}

impl<B: RequestBody> send::Request for Request<B> {
    fn method(&self) -> &Method {
        self.method()
    }

    fn target(&self) -> Option<Target<'_>> {
        Target::from_uri(self.uri())
    }

    fn path(&self) -> &str {
        self.uri().path()
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }

    fn headers_mut(&mut self) -> &mut HeaderMap {
        self.headers_mut()
    }

    fn copy(&self) -> Option<Self> {
        let mut copy = Request::new(self.body().copy()?);
        self.method().clone_into(copy.method_mut());
        self.uri().clone_into(copy.uri_mut());
        *copy.version_mut() = self.version();
        self.headers().clone_into(copy.headers_mut());
        self.extensions().clone_into(copy.extensions_mut());
        Some(copy)
    }
}

impl send::Response for Response<Body> {
    fn status(&self) -> StatusCode {
        self.status()
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }

    fn extensions_mut(&mut self) -> &mut Extensions {
        self.extensions_mut()
    }

    fn is_from_origin(&self, _: &Permit) -> bool {
        true // No redirect was followed.
    }
}

mod sealed {
    use super::{File, SendBody};

    pub trait Agent {}

    impl Agent for ureq::Agent {}

    /// A body that may be copied.
    pub trait Copy: Sized {
        fn copy(&self) -> Option<Self>;
    }

    macro_rules! in_memory {
        ($($body:ty),+) => {$(
            impl Copy for $body {
                fn copy(&self) -> Option<Self> {
                    Some(self.clone())
                }
            }
        )+};
    }

    macro_rules! sent_once {
        ($($body:ty),+) => {$(
            impl Copy for $body {
                fn copy(&self) -> Option<Self> {
                    None
                }
            }
        )+};
    }

    in_memory!((), &str, String, &String, &[u8], Vec<u8>, &Vec<u8>);
    sent_once!(SendBody<'_>, File, &File);

    impl<const N: usize> Copy for &[u8; N] {
        fn copy(&self) -> Option<Self> {
            Some(*self)
        }
    }
}
