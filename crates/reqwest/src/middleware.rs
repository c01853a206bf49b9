use hallpass_core::{TokenError, TokenRequest, async_trait, authorize::Authorizer};
use http::Extensions;
use reqwest::{Request, Response};
use reqwest_middleware::{Error, Middleware, Next};

use crate::send::{Transport, TransportResponse, send};

/// A [`reqwest_middleware`] middleware that adds a token to every request to an allowed origin.
///
/// Add it last, below middleware that retries, so that each attempt has a token that is valid at that time. A
/// [`TokenRequest`] in a request's extensions selects a token other than the one that the origin was allowed with.
///
/// After a 401 a request is retried if its method is safe and it has no body. A POST is not: the client below may have
/// followed a redirect after the API carried out the request. The caller gets the 401, and the next request a new
/// token.
///
/// If there is no token, nothing is sent, and the client's error contains the [`TokenError`]:
///
/// ```
/// use hallpass_core::{TokenError, TokenRequest, authorize::Authorizer};
/// use hallpass_reqwest::TokenMiddleware;
/// use reqwest_middleware::{ClientBuilder, Error};
///
/// # async fn example(authorizer: Authorizer) -> Result<(), Box<dyn std::error::Error>> {
/// let client = ClientBuilder::new(reqwest::Client::new())
///     .with(TokenMiddleware::new(authorizer))
///     .build();
/// let refunds = TokenRequest::new().with_scopes("refunds.write".parse()?);
/// let post = client.post("https://api.example/refunds").with_extension(refunds);
/// match post.send().await {
///     Ok(response) => println!("{}", response.status()),
///     Err(Error::Middleware(error)) if error.is::<TokenError>() => {
///         println!("no token: {:?}", error.downcast_ref::<TokenError>().map(TokenError::kind));
///     }
///     Err(error) => println!("no answer: {error}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TokenMiddleware {
    authorizer: Authorizer,
}

impl TokenMiddleware {
    /// Creates a middleware that uses this authorizer.
    pub fn new(authorizer: Authorizer) -> Self {
        Self { authorizer }
    }
}

#[async_trait]
impl Middleware for TokenMiddleware {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response, Error> {
        let wanted = extensions.get::<TokenRequest>().cloned();
        let mut rest = NextMiddleware { next, extensions };
        let sent = send(&mut rest, &self.authorizer, wanted.as_ref(), request).await;
        sent.map_err(|failure| match failure {
            MiddlewareError::Token(error) => Error::middleware(error),
            MiddlewareError::Below(error) => error,
        })
    }
}

/// The middleware below this one, and the client.
struct NextMiddleware<'a> {
    next: Next<'a>,
    extensions: &'a mut Extensions,
}

enum MiddlewareError {
    Token(TokenError),
    Below(Error),
}

impl From<TokenError> for MiddlewareError {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

impl Transport for NextMiddleware<'_> {
    type Error = MiddlewareError;

    const REPORTS_REDIRECTS: bool = false;

    async fn execute(
        &mut self,
        request: Request,
        _: bool,
    ) -> Result<TransportResponse, MiddlewareError> {
        let response = self.next.clone().run(request, self.extensions).await;
        Ok(TransportResponse {
            response: response.map_err(MiddlewareError::Below)?,
            is_direct: false,
        })
    }
}
