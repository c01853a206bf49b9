use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use hallpass_core::{ErrorKind, TokenError, authorize::Authorizer};
use hallpass_tower::{BoxError, TokenLayer};
use http::{Request, Response};
use opendal_core::{
    Buffer, Error, Result,
    raw::{HttpBody, HttpClient, HttpFetch},
};
use tower_layer::Layer as _;
use tower_service::Service;

/// An HTTP client for OpenDAL's services that adds tokens to their requests, and replaces a token that a service refused
/// with 401.
///
/// An [`Authorizer`] decides which origins may have tokens; a request to another one fails. Build the service without
/// credentials (`skip_signature()`), so that it does not sign requests itself.
///
/// After a 401 the token is invalidated, so that the next request has a new one, and a request without a body is sent again
/// at once. An upload is not, unless [`retry_uploads`](Self::retry_uploads) is set. Tokens that are bound to a key (DPoP)
/// get a proof for each request.
///
/// # Errors
///
/// If there is no token, nothing is sent, and the source of OpenDAL's error is the [`TokenError`]. The error is temporary
/// if the token error is transient, so that OpenDAL's `RetryLayer` tries again.
///
/// # Cancellation
///
/// Dropping the future of an operation drops its request and its call of the token source.
#[derive(Clone)]
pub struct TokenFetch {
    authorizer: Authorizer,
    inner: HttpClient,
    retries_uploads: bool,
}

impl TokenFetch {
    /// Creates a client that uses this authorizer, around another one: `HttpClient::new()` for example.
    pub const fn new(authorizer: Authorizer, inner: HttpClient) -> Self {
        Self {
            authorizer,
            inner,
            retries_uploads: false,
        }
    }

    /// Sends an upload again, too, if its token was refused. For services that never redirect an upload after they have
    /// carried it out: the client below follows redirects, and a 401 is then the answer of the last server only.
    #[must_use]
    pub const fn retry_uploads(mut self) -> Self {
        self.retries_uploads = true;
        self
    }
}

impl HttpFetch for TokenFetch {
    async fn fetch(&self, request: Request<Buffer>) -> Result<Response<HttpBody>> {
        let retries_uploads = self.retries_uploads;
        // The copy of a buffer shares its content.
        let copy = move |body: &Buffer| (retries_uploads || body.is_empty()).then(|| body.clone());
        let layer = TokenLayer::new(self.authorizer.clone()).retry_with(copy);
        // Always ready, as the client below is.
        let response = layer.layer(Inner(self.inner.clone())).call(request).await;
        response.map_err(opendal_error)
    }
}

fn opendal_error(error: BoxError) -> Error {
    match error.downcast::<TokenError>() {
        Ok(error) => no_token(*error),
        Err(error) => match error.downcast::<Error>() {
            Ok(error) => *error,
            Err(error) => Error::new(opendal_core::ErrorKind::Unexpected, error.to_string()),
        },
    }
}

fn no_token(error: TokenError) -> Error {
    let kind = match error.kind() {
        ErrorKind::Configuration => opendal_core::ErrorKind::ConfigInvalid,
        ErrorKind::CredentialsRefused | ErrorKind::RequestRefused => {
            opendal_core::ErrorKind::PermissionDenied
        }
        _ => opendal_core::ErrorKind::Unexpected,
    };
    Error::new(kind, "no access token is available")
        .with_temporary(error.is_transient())
        .set_source(error)
}

impl fmt::Debug for TokenFetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenFetch")
            .field("authorizer", &self.authorizer)
            .field("retries_uploads", &self.retries_uploads)
            .finish_non_exhaustive()
    }
}

/// The client below, as a tower service.
#[derive(Clone)]
struct Inner(HttpClient);

impl Service<Request<Buffer>> for Inner {
    type Response = Response<HttpBody>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<HttpBody>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Buffer>) -> Self::Future {
        let client = self.0.clone();
        Box::pin(async move { client.fetch(request).await })
    }
}
