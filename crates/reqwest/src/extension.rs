use hallpass_core::{TokenRequest, authorize::Authorizer};
use reqwest::{RequestBuilder, Response};

use crate::{
    Error,
    sending::{Direct, sending},
};

/// Sends a request of reqwest with a token; implemented for its `RequestBuilder`, and for nothing else.
///
/// A `Request` that is built already goes the same way: `RequestBuilder::from_parts(client, request)`.
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
    /// Sends it with the token that its origin was allowed with.
    ///
    /// As with reqwest's own `send`, the request is made when this is called, with a token that is at hand then, and
    /// goes out when the future is polled.
    ///
    /// # Errors
    ///
    /// An [`Error`] of which [`token_error`](Error::token_error) says why there is no token, and nothing was sent; or
    /// reqwest's own.
    ///
    /// # Cancellation
    ///
    /// Dropping the future gives up the request; a token that is being fetched for others too goes on being fetched.
    fn send_with(
        self,
        authorizer: &Authorizer,
    ) -> impl Future<Output = Result<Response, Error>> + Send;

    /// Sends it with a token for `wanted`: other scopes, another audience or resource than the origin was allowed
    /// with.
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
    #[inline]
    fn send_with(
        self,
        authorizer: &Authorizer,
    ) -> impl Future<Output = Result<Response, Error>> + Send {
        let (client, request) = self.build_split();
        sending(Direct(client), authorizer, None, request)
    }

    #[inline]
    fn send_with_request(
        self,
        authorizer: &Authorizer,
        wanted: &TokenRequest,
    ) -> impl Future<Output = Result<Response, Error>> + Send {
        let (client, request) = self.build_split();
        sending(Direct(client), authorizer, Some(wanted), request)
    }
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for reqwest::RequestBuilder {}
}
