use hallpass_core::{TokenError, TokenRequest, authorize::Authorizer};
use reqwest::{Client, Request, RequestBuilder, Response};

use crate::{
    Error,
    send::{Transport, send},
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
    async fn send_with(self, authorizer: &Authorizer) -> Result<Response, Error> {
        let (client, request) = self.build_split();
        send(&mut Direct(client), authorizer, None, request?).await
    }

    async fn send_with_request(
        self,
        authorizer: &Authorizer,
        wanted: &TokenRequest,
    ) -> Result<Response, Error> {
        let (client, request) = self.build_split();
        send(&mut Direct(client), authorizer, Some(wanted), request?).await
    }
}

/// The client itself, with nothing in between.
struct Direct(Client);

impl Transport for Direct {
    type Error = Error;
    type Failure = reqwest::Error;

    const SEES_EXTENSIONS: bool = false;

    fn execute(
        &mut self,
        request: Request,
    ) -> impl Future<Output = Result<Response, reqwest::Error>> + Send {
        self.0.execute(request)
    }

    fn no_token(error: TokenError) -> Error {
        error.into()
    }
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for reqwest::RequestBuilder {}
}
