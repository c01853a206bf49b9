use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use async_trait::async_trait;
use hallpass_core::{TokenError, authorize::Authorizer};
use hallpass_tower::{Replay, TokenLayer, TokenService};
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
        HttpResponse, HttpService,
    },
};
use tower_layer::Layer as _;
use tower_service::Service;

/// An HTTP connector that adds tokens to a store's requests, and replaces a token that the store refused with 401.
///
/// An [`Authorizer`] decides which origins may have tokens; a request to another one fails. Build the store without
/// credentials (`with_skip_signature(true)`), so that it does not sign requests itself.
///
/// After a 401 the token is invalidated, so that the next request has a new one, and a request without a body is sent again
/// at once. An upload is not, unless [`retry_uploads`](Self::retry_uploads) is set. Tokens that are bound to a key (DPoP)
/// get a proof for each request. The parts of a batch get no tokens, such as the deletes of Azure Blob Storage: use
/// `TokenCredentials` (feature `azure`) for a store that deletes.
///
/// # Errors
///
/// If there is no token, nothing is sent, and the store's error contains the [`TokenError`]. The store tries again by its
/// own rules if that error is transient.
///
/// # Cancellation
///
/// Dropping the future of an operation drops its request and its call of the token source.
#[derive(Clone, Debug)]
pub struct TokenConnector<C> {
    authorizer: Authorizer,
    inner: C,
    retries_uploads: bool,
}

impl<C: HttpConnector> TokenConnector<C> {
    /// Creates a connector that uses this authorizer, around another one: `ReqwestConnector::default()` for example.
    pub const fn new(authorizer: Authorizer, inner: C) -> Self {
        Self {
            authorizer,
            inner,
            retries_uploads: false,
        }
    }

    /// Sends an upload again, too, if its token was refused. For stores that never redirect an upload after they have
    /// carried it out: the client below follows redirects, and a 401 is then the answer of the last server only.
    #[must_use]
    pub const fn retry_uploads(mut self) -> Self {
        self.retries_uploads = true;
        self
    }
}

impl<C: HttpConnector> HttpConnector for TokenConnector<C> {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = Inner(self.inner.connect(options)?);
        let layer = TokenLayer::new(self.authorizer.clone());
        Ok(if self.retries_uploads {
            HttpClient::new(Authorized(layer.retry_cloned().layer(inner)))
        } else {
            let layer = layer.retry_with(copy_empty as CopyBody);
            HttpClient::new(Authorized(layer.layer(inner)))
        })
    }
}

type CopyBody = fn(&HttpRequestBody) -> Option<HttpRequestBody>;

fn copy_empty(body: &HttpRequestBody) -> Option<HttpRequestBody> {
    // Not `is_empty`, which is true for an upload with content (object_store 0.14.2).
    (body.content_length() == 0).then(HttpRequestBody::empty)
}

#[derive(Clone, Debug)]
struct Authorized<R>(TokenService<Inner, R>);

#[async_trait]
impl<R> HttpService for Authorized<R>
where
    R: Replay<HttpRequestBody> + Clone + fmt::Debug + Send + Sync + 'static,
{
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        // Always ready, as the client below is.
        let response = self.0.clone().call(request).await;
        response.map_err(|error| match error.downcast::<HttpError>() {
            Ok(error) => *error,
            Err(error) => {
                let transient = error
                    .downcast_ref::<TokenError>()
                    .is_some_and(TokenError::is_transient);
                // The first kind is for requests that were not sent, which the store tries again.
                let kind = if transient {
                    HttpErrorKind::Connect
                } else {
                    HttpErrorKind::Unknown
                };
                HttpError::new_boxed(kind, error)
            }
        })
    }
}

/// The client below, as a tower service.
#[derive(Clone, Debug)]
struct Inner(HttpClient);

impl Service<HttpRequest> for Inner {
    type Response = HttpResponse;
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), HttpError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest) -> Self::Future {
        let client = self.0.clone();
        Box::pin(async move { client.execute(request).await })
    }
}
