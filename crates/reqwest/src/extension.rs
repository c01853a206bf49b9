use hallpass_core::{TokenRequest, authorize::Authorizer};
use reqwest::{Client, Request, RequestBuilder, Response};

use crate::{
    Error,
    send::{Transport, TransportResponse, send},
};

/// An extension of reqwest's `RequestBuilder` that sends a request with a token.
///
/// After a 401 a request is retried if its method is safe and it has no body. A POST is not: the client may have
/// followed a redirect after the API carried out the request. A [`TokenClient`](crate::TokenClient)
/// knows.
///
/// To send an existing `Request`, use `RequestBuilder::from_parts(client, request)`.
///
/// ```
/// use hallpass_core::{TokenRequest, authorize::Authorizer};
/// use hallpass_reqwest::RequestBuilderExt;
///
/// # async fn example(
/// #     client: reqwest::Client,
/// #     authorizer: Authorizer,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// // Once: it carries its hash along.
/// let refunds = TokenRequest::new().with_scopes("refunds.write".parse()?);
///
/// let get = client.get("https://api.example/orders");
/// let response = get.send_with(&authorizer).await?;
/// let post = client.post("https://api.example/refunds").body("{}");
/// let response = post.send_with_request(&authorizer, &refunds).await?;
/// # Ok(())
/// # }
/// ```
pub trait RequestBuilderExt: sealed::Sealed {
    /// Sends it with the token that its origin was allowed with. Nothing happens before the future is polled.
    ///
    /// # Errors
    ///
    /// An [`Error`] whose [`token_error`](Error::token_error) says why there is no token (nothing was sent); or
    /// reqwest's own error.
    ///
    /// # Cancellation
    ///
    /// Dropping the future abandons the request; a shared token fetch continues.
    fn send_with(
        self,
        authorizer: &Authorizer,
    ) -> impl Future<Output = Result<Response, Error>> + Send;

    /// Sends it with a token for `wanted`: scopes, an audience or a resource other than those that the origin was
    /// allowed with.
    ///
    /// # Errors
    ///
    /// As [`send_with`](Self::send_with).
    ///
    /// # Cancellation
    ///
    /// As [`send_with`](Self::send_with).
    fn send_with_request(
        self,
        authorizer: &Authorizer,
        wanted: &TokenRequest,
    ) -> impl Future<Output = Result<Response, Error>> + Send;
}

impl RequestBuilderExt for RequestBuilder {
    fn send_with(
        self,
        authorizer: &Authorizer,
    ) -> impl Future<Output = Result<Response, Error>> + Send {
        let (client, request) = self.build_split();
        async move { send(&mut UntrackedClient(client), authorizer, None, request?).await }
    }

    fn send_with_request(
        self,
        authorizer: &Authorizer,
        wanted: &TokenRequest,
    ) -> impl Future<Output = Result<Response, Error>> + Send {
        let (client, request) = self.build_split();
        async move {
            send(
                &mut UntrackedClient(client),
                authorizer,
                Some(wanted),
                request?,
            )
            .await
        }
    }
}

/// An existing client: it may follow redirects, which cannot be detected.
struct UntrackedClient(Client);

impl Transport for UntrackedClient {
    type Error = Error;

    const REPORTS_REDIRECTS: bool = false;

    fn execute(
        &mut self,
        request: Request,
        _: bool,
    ) -> impl Future<Output = Result<TransportResponse, Error>> + Send {
        let response = self.0.execute(request);
        async {
            Ok(TransportResponse {
                response: response.await?,
                is_direct: false,
            })
        }
    }
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for reqwest::RequestBuilder {}
}
