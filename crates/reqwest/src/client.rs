use hallpass_core::{TokenRequest, authorize::Authorizer};
use reqwest::{Client, ClientBuilder, Request, RequestBuilder, Response};

use crate::{
    Error,
    redirect::{RedirectState, tracked_redirects},
    send::{Transport, TransportResponse, send},
};

/// A reqwest client that adds tokens to requests, and detects redirects.
///
/// It can therefore retry any request after a 401, even a POST, if the body is in memory and no redirect was followed.
/// On a `reqwest::Client`, whose redirects cannot be detected, [`RequestBuilderExt`](crate::RequestBuilderExt) does so
/// only for requests with a safe method and without a body.
///
/// It follows redirects as [`same_origin_redirects`](crate::same_origin_redirects) does, and none with a DPoP token,
/// whose proof names its URL.
///
/// ```
/// use hallpass_core::authorize::Authorizer;
/// use hallpass_reqwest::TokenClient;
///
/// # async fn example(authorizer: Authorizer) -> Result<(), Box<dyn std::error::Error>> {
/// let client = TokenClient::new(authorizer, reqwest::Client::builder())?;
/// let order = client.http().post("https://api.example/orders").body("{}");
/// let response = client.send(order).await?;
/// # let _ = response;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TokenClient {
    http: Client,
    authorizer: Authorizer,
}

impl TokenClient {
    /// Creates a client that uses this authorizer. Its redirect policy replaces the builder's.
    ///
    /// The builder's proxies stay, by default those of the environment: with `danger_allow_http_on_loopback`, a request
    /// for this machine over plain HTTP goes to the proxy of `HTTP_PROXY`, which reads the token, unless the builder has
    /// `no_proxy` or the variable `NO_PROXY` excludes the host.
    ///
    /// # Errors
    ///
    /// reqwest's own errors: the TLS backend or the resolver could not be set up.
    pub fn new(authorizer: Authorizer, builder: ClientBuilder) -> Result<Self, reqwest::Error> {
        let http = builder.redirect(tracked_redirects()).build()?;
        Ok(Self { http, authorizer })
    }

    /// Returns the reqwest client, to build requests with. A request that it sends itself has no token and follows no
    /// redirect.
    pub fn http(&self) -> &Client {
        &self.http
    }

    /// Sends a request with the token that its origin was allowed with. The builder of any client works: the request
    /// goes through this one.
    ///
    /// # Errors
    ///
    /// An [`Error`] whose [`token_error`](Error::token_error) says why there is no token (nothing was sent); or
    /// reqwest's own error.
    ///
    /// # Cancellation
    ///
    /// Dropping the future abandons the request; a shared token fetch continues.
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        let request = request.build()?;
        send(
            &mut TrackedClient(&self.http),
            &self.authorizer,
            None,
            request,
        )
        .await
    }

    /// Sends a request with a token for `wanted`: scopes, an audience or a resource other than those that the origin
    /// was allowed with.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Cancellation
    ///
    /// As [`send`](Self::send).
    pub async fn send_with_request(
        &self,
        request: RequestBuilder,
        wanted: &TokenRequest,
    ) -> Result<Response, Error> {
        let (request, wanted) = (request.build()?, Some(wanted));
        send(
            &mut TrackedClient(&self.http),
            &self.authorizer,
            wanted,
            request,
        )
        .await
    }
}

/// A client with the redirect policy that [`RedirectState`] needs.
struct TrackedClient<'a>(&'a Client);

impl Transport for TrackedClient<'_> {
    type Error = Error;

    const REPORTS_REDIRECTS: bool = true;

    fn execute(
        &mut self,
        request: Request,
        has_proof: bool,
    ) -> impl Future<Output = Result<TransportResponse, Error>> + Send {
        let redirects = if has_proof {
            RedirectState::Forbidden
        } else {
            RedirectState::Allowed
        };
        let response = self.0.execute(request);
        async move {
            let (response, redirects) = redirects.track(response).await;
            Ok(TransportResponse {
                response: response?,
                is_direct: redirects != RedirectState::Followed,
            })
        }
    }
}
