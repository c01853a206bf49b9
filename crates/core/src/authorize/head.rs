use std::fmt;

use http::{HeaderMap, Method};

use crate::origin::Target;

/// The head of a request to an API, as an integration passes it to [`Authorizer::permit`](super::Authorizer::permit).
///
/// A function of [`allow_origin_by`](super::AuthorizerBuilder::allow_origin_by) reads the token request from it.
#[derive(Clone, Copy)]
pub struct RequestHead<'a> {
    method: &'a Method,
    target: Option<Target<'a>>,
    path: &'a str,
    headers: &'a HeaderMap,
}

impl<'a> RequestHead<'a> {
    /// Creates a head. `target` is `None` if the request has only a path and its connection is unknown; `path` has no
    /// query.
    #[inline]
    pub fn new(
        method: &'a Method,
        target: Option<Target<'a>>,
        path: &'a str,
        headers: &'a HeaderMap,
    ) -> Self {
        Self {
            method,
            target,
            path,
            headers,
        }
    }

    /// Returns the method.
    pub fn method(&self) -> &'a Method {
        self.method
    }

    /// Returns the path as it is sent: percent-encoded, without the query. The path of a gRPC call has the form
    /// `/service/method`.
    pub fn path(&self) -> &'a str {
        self.path
    }

    /// Returns the headers, before the token is added.
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    #[inline]
    pub(super) fn target(&self) -> Option<Target<'a>> {
        self.target
    }
}

/// Without the path and the headers, which may hold secrets.
impl fmt::Debug for RequestHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", self.method)
            .field("target", &self.target.map(|target| target.to_string()))
            .finish_non_exhaustive()
    }
}
