//! The policy that all integrations share: which requests get a token, and how an API's refusal is handled.
//!
//! An integration puts the token on a request: `hallpass-reqwest`, `hallpass-tower`, or yours for another client.
//! The policy does no I/O:
//!
//! - a token goes only to the origins of an allow-list, and only over HTTPS;
//! - an existing `Authorization` header is left alone;
//! - no request to such an origin is sent without its token: if none is available, the call fails with a
//!   [`TokenError`](crate::TokenError);
//! - a token that the API refuses is dropped, and the request is retried once with another one;
//! - a token of type DPoP is sent with a new proof for each request, and never without one (RFC 9449);
//! - the API's own reason for a refusal is returned with the response.
//!
//! Users build an [`Authorizer`] and pass it to the integration. An integration gets a [`Permit`], puts the token's
//! header on the request, and a proof where the token needs one, sends it, and has the permit evaluate the response:
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use hallpass_core::{AccessToken, TokenError, TokenRequest, TokenSource, authorize::{Authorizer, Decision, RequestHead, Target}};
//! use http::{HeaderMap, Request, Response, header::AUTHORIZATION};
//!
//! /// An integration for a client that is a function.
//! async fn send(
//!     authorizer: &Authorizer,
//!     mut request: Request<String>,
//!     client: impl AsyncFn(Request<String>) -> Response<String>,
//! ) -> Result<Response<String>, TokenError> {
//!     let wanted = request.extensions().get::<TokenRequest>();
//!     let (uri, headers) = (request.uri(), request.headers());
//!     let head = RequestHead::new(request.method(), Target::from_uri(uri), uri.path(), headers);
//!     let permit = authorizer.permit(head, wanted)?;
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
//!         let refusal = match permit.evaluate_response(&token, response.status(), response.headers()) {
//!             Decision::Retry(refusal) => match permit.replacement(&token).await? {
//!                 Some(other) => {
//!                     token = other;
//!                     continue;
//!                 }
//!                 None => refusal,
//!             },
//!             Decision::Refused(refusal) => refusal,
//!             _ => return Ok(response),
//!         };
//!         response.extensions_mut().insert(refusal);
//!         return Ok(response);
//!     }
//! }
//! # use hallpass_core::{Clock, SystemClock, async_trait};
//! # struct MyProvider;
//! # #[async_trait]
//! # impl TokenSource for MyProvider {
//! #     async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
//! #         Ok(AccessToken::bearer("0123abc", SystemClock.moment(), Duration::from_secs(60))?)
//! #     }
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let source: Arc<dyn TokenSource> = Arc::new(MyProvider);
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

mod authorizer;
mod builder;
mod forbidden;
mod head;
#[cfg(feature = "metrics")]
mod meters;
mod observe;
mod permit;

pub use crate::{
    challenge::Challenge,
    origin::{InvalidOrigin, Origin, Target},
    refusal::ApiRefusal,
};
pub use authorizer::Authorizer;
pub use builder::{AuthorizerBuilder, InvalidAuthorizer};
pub use head::RequestHead;
pub use permit::{Decision, Permit};

#[cfg(test)]
mod tests;
