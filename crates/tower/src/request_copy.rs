use http::{Extensions, HeaderMap, Method, Request, Uri, Version};

use crate::Replay;

/// A copy of a request without its token, for a retry.
///
/// Not a `Request`: `http` creates one with default parts, which would be dropped again for each request.
pub(crate) struct RequestCopy<B> {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    version: Version,
    headers: HeaderMap,
    extensions: Extensions,
    body: B,
}

impl<B> RequestCopy<B> {
    /// Copies the request; returns `None` if `replay` does not copy its body.
    #[inline]
    pub(crate) fn new(request: &Request<B>, replay: &impl Replay<B>) -> Option<Self> {
        let body = replay.copy(request.body())?;
        Some(Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: request.headers().clone(),
            extensions: request.extensions().clone(),
            body,
        })
    }

    pub(crate) fn into_request(self) -> Request<B> {
        let mut request = Request::new(self.body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers;
        *request.extensions_mut() = self.extensions;
        request
    }
}
