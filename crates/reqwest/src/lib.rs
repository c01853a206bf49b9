//! Access tokens for the requests of a reqwest client.
//!
//! An [`Authorizer`] decides which origins may have tokens. A [`TokenClient`] adds them to requests, and retries a
//! request whose token was refused:
//!
//! ```
//! use std::sync::Arc;
//! use hallpass_core::{TokenSource, authorize::Authorizer};
//! use hallpass_reqwest::TokenClient;
//!
//! # async fn example(source: Arc<dyn TokenSource>) -> Result<(), Box<dyn std::error::Error>> {
//! let authorizer = Authorizer::builder(source).allow_origin("https://api.example").build()?;
//! let client = TokenClient::new(authorizer, reqwest::Client::builder())?;
//!
//! let order = client.http().post("https://api.example/orders").body("{}");
//! let response = client.send(order).await?;
//! # let _ = response;
//! # Ok(())
//! # }
//! ```
//!
//! An existing `reqwest::Client` can be used too: call [`send_with`](RequestBuilderExt::send_with) instead of `send`.
//!
//! ```
//! use hallpass_core::authorize::Authorizer;
//! use hallpass_reqwest::RequestBuilderExt;
//!
//! # async fn example(
//! #     client: reqwest::Client,
//! #     authorizer: Authorizer,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! let orders = client.get("https://api.example/orders").send_with(&authorizer).await?;
//! # let _ = orders;
//! # Ok(())
//! # }
//! ```
#![cfg_attr(
    feature = "middleware",
    doc = "
With the feature `middleware`, a [`TokenMiddleware`] does the same for every request of a client, and its callers know
nothing of tokens:

```
# use std::sync::Arc;
# use hallpass_core::{TokenSource, authorize::Authorizer};
use hallpass_reqwest::TokenMiddleware;
use reqwest_middleware::ClientBuilder;

# async fn example(authorizer: Authorizer) -> Result<(), Box<dyn std::error::Error>> {
let client = ClientBuilder::new(reqwest::Client::new())
    .with(TokenMiddleware::new(authorizer))
    .build();
let orders = client.get(\"https://api.example/orders\").send().await?;
# let _ = orders;
# Ok(())
# }
```
"
)]
//! # Request handling
//!
//! - It goes to an allowed origin: it gets the token's preformatted header. If no token is available, nothing is sent,
//!   and the caller gets the [`TokenError`].
//! - It goes elsewhere: nothing is sent, and the caller gets a [`TokenError`]; unless the authorizer was built to pass
//!   such requests, which are then sent without a token.
//! - It has an `Authorization` header already: it is sent as it is, unless the authorizer was built to replace the
//!   header. A default header of the `reqwest::Client` is added later and cannot be seen here: the token replaces it.
//! - The API refuses the token with 401: the token is dropped, and the request is retried once with a new one, if that
//!   is safe (see below). If not, the caller gets the 401, and the next request the new token.
//! - Its token is bound to a key (DPoP): it also gets a new proof each time that it is sent. If the API demands another
//!   nonce in the proof, it is sent again with that nonce and the same token, under the same condition. Otherwise the
//!   nonce is stored for the next request.
//! - The API refuses for another reason, for example 403 `insufficient_scope`: the response is returned as it is, with
//!   an [`ApiRefusal`] in its extensions that says why.
//!
//! # Which requests are retried
//!
//! An API may carry out a POST, redirect to the result, and refuse the token of the second request. Retrying that POST
//! would carry it out twice. reqwest follows redirects by itself, and its response does not say whether it did: the URL
//! may be the same.
//!
//! | | a safe method ([RFC 9110 section 9.2.1]) without a body | everything else |
//! |---|---|---|
//! | [`TokenClient`] | retried | retried if the body is in memory and no redirect was followed |
//! | [`RequestBuilderExt`], `TokenMiddleware` | retried | never retried |
//!
//! # Redirects
//!
//! reqwest drops the `Authorization` header if a redirect changes scheme, host or port; tests here verify that. No
//! token goes to another server, but the request there has none. A client that is built with [`same_origin_redirects`]
//! does not follow such a redirect, and returns it to its caller. A [`TokenClient`] always does so.
//!
//! A DPoP proof contains the method and the URL, and reqwest forwards it with the request that follows a redirect. It is
//! useless there: the API refuses it, and another server has no token for it. A [`TokenClient`] returns such a redirect
//! to its caller; build another client with reqwest's `Policy::none()`.
//!
//! [RFC 9110 section 9.2.1]: https://www.rfc-editor.org/rfc/rfc9110#section-9.2.1
//!
//! [`Authorizer`]: hallpass_core::authorize::Authorizer
//! [`ApiRefusal`]: hallpass_core::authorize::ApiRefusal
//! [`TokenError`]: hallpass_core::TokenError

mod client;
mod error;
mod extension;
#[cfg(feature = "middleware")]
mod middleware;
mod redirect;
mod send;

pub use client::TokenClient;
pub use error::Error;
pub use extension::RequestBuilderExt;
#[cfg(feature = "middleware")]
pub use middleware::TokenMiddleware;
pub use redirect::same_origin_redirects;
