use hallpass_core::{
    TokenError, TokenRequest, async_trait,
    authorize::{Authorizer, Verdict},
};
use http::Extensions;
use reqwest::{Request, Response};
use reqwest_middleware::{Error, Middleware, Next};

use crate::send::{Start, Transport, start, wait};

/// Puts a token on every request of a [`reqwest_middleware`] client that goes to an allowed origin.
///
/// Add it last, below middleware that retries, so that each try has a token that is valid then. A [`TokenRequest`]
/// in a request's extensions asks for another token than the origin was allowed with.
///
/// Where there is no token, nothing is sent, and the [`TokenError`] is inside of the client's error:
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
    request_extensions: bool,
}

impl TokenMiddleware {
    /// A middleware that asks this authorizer.
    pub fn new(authorizer: Authorizer) -> Self {
        Self {
            authorizer,
            request_extensions: false,
        }
    }

    /// Keeps the extensions of a request itself, so that they are there too when it is sent again.
    ///
    /// These are those of an [`http::Request`] from which the request was made; only middleware below that makes an
    /// `http::Request` of it again sees them. Then each request with a body is copied whole before it is sent. What
    /// [`with_extension`](reqwest_middleware::RequestBuilder::with_extension) adds is there in any case.
    #[must_use]
    pub fn keep_request_extensions(mut self) -> Self {
        self.request_extensions = true;
        self
    }
}

#[async_trait]
impl Middleware for TokenMiddleware {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response, Error> {
        let wanted = extensions.get::<TokenRequest>();
        let keep = self.request_extensions;
        let started = start(&self.authorizer, wanted, &mut request, keep);
        let started = started.map_err(Error::middleware)?;
        let mut rest = Rest {
            next,
            extensions,
            request_extensions: keep,
        };
        // What is seldom needed is in a box, so that the future that every request carries along stays small.
        match started {
            Start::Bare => rest.execute(request).await,
            Start::Ready(mut sent) => {
                let response = rest.execute(request).await?;
                match sent.judge(&response) {
                    Verdict::Pass => Ok(response),
                    verdict => Box::pin(sent.refused(&mut rest, response, verdict)).await,
                }
            }
            Start::Waits(permit, token) => Box::pin(wait(&mut rest, permit, token, request)).await,
        }
    }
}

/// The middleware below this one, and the client.
struct Rest<'a> {
    next: Next<'a>,
    extensions: &'a mut Extensions,
    request_extensions: bool,
}

impl Transport for Rest<'_> {
    type Error = Error;
    type Failure = Error;

    fn sees_extensions(&self) -> bool {
        self.request_extensions
    }

    fn execute(
        &mut self,
        request: Request,
    ) -> impl Future<Output = Result<Response, Error>> + Send {
        self.next.clone().run(request, self.extensions)
    }

    fn no_token(error: TokenError) -> Error {
        Error::middleware(error)
    }
}
