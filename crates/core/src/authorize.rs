//! The policy that all integrations share: which requests get a token, and how an API's refusal is handled.
//!
//! An integration puts the token on a request: `hallpass-reqwest`, `hallpass-tower`, or yours for another client.
//! The policy does no I/O:
//!
//! - a token goes only to the origins of an allow-list, and only over HTTPS;
//! - an existing `Authorization` header is left alone;
//! - no request to such an origin is sent without its token: if none is available, the call fails with a
//!   [`TokenError`];
//! - a token that the API refuses is dropped, and the request is retried once with another one;
//! - a token of type DPoP is sent with a new proof for each request, and never without one (RFC 9449);
//! - the API's own reason for a refusal is returned with the response.
//!
//! Users build an [`Authorizer`] and pass it to the integration. An integration asks for a [`Permit`], puts the token's
//! header on the request, and a proof where the token needs one, sends it, and has the permit judge the response:
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use hallpass_core::{AccessToken, TokenError, TokenRequest, TokenSource, authorize::{Authorizer, Target, Verdict}};
//! use http::{HeaderMap, Request, Response, header::AUTHORIZATION};
//!
//! /// An integration for a client that is a function.
//! async fn send(
//!     authorizer: &Authorizer,
//!     mut request: Request<String>,
//!     client: impl AsyncFn(Request<String>) -> Response<String>,
//! ) -> Result<Response<String>, TokenError> {
//!     let wanted = request.extensions().get::<TokenRequest>();
//!     let permit = authorizer.permit(Target::of(request.uri()), request.headers(), wanted)?;
//!     let Some(mut permit) = permit else {
//!         return Ok(client(request).await); // it goes as it is
//!     };
//!     let mut token = permit.token().await?;
//!     loop {
//!         request.headers_mut().insert(AUTHORIZATION, token.header_value().clone());
//!         if let Some(proof) = permit.proof(&token, request.method(), request.uri().path()).await? {
//!             request.headers_mut().insert("dpop", proof.header_value().clone());
//!         }
//!         let mut response = client(request.clone()).await;
//!         let refusal = match permit.judge(&token, response.status(), response.headers()) {
//!             Verdict::Retry(refusal) => match permit.replacement(&token).await? {
//!                 Some(other) => {
//!                     token = other;
//!                     continue;
//!                 }
//!                 None => refusal,
//!             },
//!             Verdict::Refused(refusal) => refusal,
//!             _ => return Ok(response),
//!         };
//!         response.extensions_mut().insert(refusal);
//!         return Ok(response);
//!     }
//! }
//! # use hallpass_core::{Clock, SystemClock, async_trait};
//! # struct House;
//! # #[async_trait]
//! # impl TokenSource for House {
//! #     async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
//! #         Ok(AccessToken::bearer("0123abc", SystemClock.moment(), Duration::from_secs(60))?)
//! #     }
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let source: Arc<dyn TokenSource> = Arc::new(House);
//! let authorizer = Authorizer::builder(source).allow_origin("https://api.example").build()?;
//! let echo = async |request: Request<String>| {
//!     Response::new(format!("{:?}", request.headers()["authorization"].to_str()))
//! };
//! let response = send(&authorizer, Request::get("https://api.example/orders").body(String::new())?, echo).await?;
//! assert_eq!(response.body(), r#"Ok("Bearer 0123abc")"#);
//! let elsewhere = Request::get("https://other.example/").body(String::new())?;
//! assert!(send(&authorizer, elsewhere, echo).await.is_err());
//! # Ok(())
//! # }
//! ```

mod builder;
mod challenge;
#[cfg(feature = "metrics")]
mod meters;
mod observe;
mod origin;
mod permit;
mod refusal;

use std::{fmt, sync::Arc};

use http::{
    HeaderMap,
    header::{AUTHORIZATION, HOST},
};

pub use builder::{AuthorizerBuilder, InvalidAuthorizer};
pub use challenge::Challenge;
pub use origin::{InvalidOrigin, Origin, Target};
pub use permit::{Permit, Verdict};
pub use refusal::ApiRefusal;

use crate::{Clock, TokenError, TokenRequest, TokenSource, text::safe_text};
use observe::Observe;

/// The policy that decides which requests get a token: a token source with a list of allowed origins.
///
/// Build one when the program starts and pass it to an integration. A clone costs one reference count. A decision
/// allocates nothing if the token is cached, and costs one reference count too.
///
/// ```
/// # fn example(source: impl hallpass_core::TokenSource + 'static) -> Result<(), Box<dyn std::error::Error>> {
/// use hallpass_core::{TokenRequest, authorize::Authorizer};
///
/// let invoices = TokenRequest::new().with_scopes("invoices.read".parse()?);
/// let authorizer = Authorizer::builder(source)
///     .allow_origin("https://orders.example")
///     .allow_origin_with("https://billing.example:8443", invoices)
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Authorizer(Arc<Inner>);

struct Inner {
    observe: Observe,
    source: Arc<dyn TokenSource>,
    clock: Arc<dyn Clock>,
    allowed: Vec<Allowed>,
    replace_authorization: bool,
    pass_other_origins: bool,
}

/// An allowed origin and the token request for it.
struct Allowed {
    origin: Origin,
    request: TokenRequest,
}

impl Authorizer {
    /// Creates a builder for an authorizer that takes tokens from `source`: a source itself, or an `Arc` or a `Box` of
    /// one. It should be a cache, since it is called for every request.
    pub fn builder(source: impl TokenSource + 'static) -> AuthorizerBuilder {
        AuthorizerBuilder::new(Arc::new(source))
    }

    /// Returns a permit if a request to `target` with these headers may have a token.
    ///
    /// `None` means that the request is sent as it is: it already has an `Authorization` header, or its origin is not
    /// on the list and [`pass_other_origins`](AuthorizerBuilder::pass_other_origins) is set. `wanted` overrides the
    /// token request that the origin was allowed with. An unknown `target` (the request has only a path) is not on the
    /// list.
    ///
    /// # Errors
    ///
    /// A [`TokenError`] of kind [`Configuration`](crate::ErrorKind::Configuration) if the origin is not on the list, or
    /// if a `Host` header names a host other than `target`: the request must not be sent.
    #[inline]
    pub fn permit(
        &self,
        target: Option<Target<'_>>,
        headers: &HeaderMap,
        wanted: Option<&TokenRequest>,
    ) -> Result<Option<Permit>, TokenError> {
        let inner = &*self.0;
        let has_own = !headers.is_empty() && headers.contains_key(AUTHORIZATION);
        if has_own && !inner.replace_authorization {
            return Ok(None);
        }
        let place = target.and_then(|target| {
            let mut allowed = inner.allowed.iter();
            allowed.position(|allowed| allowed.origin.is_at(target))
        });
        match place {
            Some(place) => {
                let Allowed { origin, request } = &inner.allowed[place];
                let mut hosts = headers.get_all(HOST).iter();
                if !headers.is_empty() && !hosts.all(|host| origin.is_named_by(host)) {
                    inner.observe.other_host(target);
                    return Err(other_host(origin));
                }
                let request = wanted.unwrap_or(request).clone();
                Ok(Some(Permit::new(self.clone(), place, request)))
            }
            None if inner.pass_other_origins => Ok(None),
            None => {
                inner.observe.kept_back(target);
                Err(self.not_allowed(target))
            }
        }
    }

    #[cold]
    fn not_allowed(&self, target: Option<Target<'_>>) -> TokenError {
        let Some(target) = target else {
            let error = TokenError::configuration("no token for a request that names no origin");
            return error.with_hint(
                "give it an absolute URL, or tell the integration where its connection goes",
            );
        };
        let error = TokenError::configuration(format!(
            "no token for `{}`: this origin was not allowed to have tokens",
            safe_text(&target.to_string())
        ))
        .with_host(&target.authority());
        let https = target.with_https();
        error.with_hint(if !target.is_http() {
            "add it with `allow_origin` if tokens are meant for it; `pass_other_origins` sends such requests without one"
        } else if self.origins().any(|origin| origin.is_at(https)) {
            "use `https://`, which was allowed for this host"
        } else {
            "if tokens are meant for it, use `https://` and add it with `allow_origin`; plain HTTP is for servers on this machine, with `danger_allow_http_on_loopback`"
        })
    }

    /// Returns the origins that tokens may go to.
    pub fn origins(&self) -> impl Iterator<Item = &Origin> {
        self.0.allowed.iter().map(|allowed| &allowed.origin)
    }

    /// Returns the source that tokens come from.
    pub fn source(&self) -> &Arc<dyn TokenSource> {
        &self.0.source
    }
}

/// Returns the error for a `Host` header that differs. Its value is not repeated: in a gateway it may be untrusted.
#[cold]
fn other_host(origin: &Origin) -> TokenError {
    let error = TokenError::configuration(format!(
        "no token for this request: its `Host` header does not name the host of its URL, `{origin}`"
    ));
    error.with_hint(
        "leave the header out, since the HTTP client sets it; do not copy it from another request",
    )
}

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origins: Vec<_> = self.origins().map(ToString::to_string).collect();
        f.debug_struct("Authorizer")
            .field("name", &self.0.observe.authorizer)
            .field("origins", &origins)
            .field("replace_authorization", &self.0.replace_authorization)
            .field("pass_other_origins", &self.0.pass_other_origins)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
