//! Access tokens on the requests of a reqwest client.
//!
//! An [`Authorizer`] says which origins may have tokens. A [`TokenClient`] puts them on requests, and sends a request
//! again whose token was refused:
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
//! A `reqwest::Client` that exists already can be used too: [`send_with`](RequestBuilderExt::send_with) takes the place
//! of `send`.
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
//! # What happens to a request
//!
//! - It goes to an allowed origin: it gets the token's ready-made header. Where no token can be had, nothing is sent,
//!   and the caller gets the [`TokenError`].
//! - It goes elsewhere: nothing is sent, and the caller gets a [`TokenError`]; unless the authorizer was built to pass
//!   such requests, which then go without a token.
//! - It has an `Authorization` header already: it goes as it is, unless the authorizer was built to replace it. A
//!   default header of the `reqwest::Client` is added later and cannot be seen here: the token takes its place.
//! - The API refuses the token with 401: the token is dropped, and the request is sent once more with a new one, if
//!   that is safe (see below). If not, the caller gets the 401, and the next request the new token.
//! - Its token is bound to a key (DPoP): it gets a fresh proof too, each time that it is sent. Where the API demands
//!   another nonce in the proof, it is sent again with that one and the same token, under the same condition. If that
//!   is not met, the nonce is kept for the next request.
//! - The API refuses otherwise, for example with 403 `insufficient_scope`: the response is returned as it is, with an
//!   [`ApiRefusal`] in its extensions that says why.
//!
//! # Which requests are sent again
//!
//! An API may do what a POST asks, redirect to the result, and refuse the token of the second request. To send that POST
//! again would do its work twice. reqwest follows redirects by itself, and its response does not say whether it did:
//! the URL may be the same.
//!
//! | | a safe method ([RFC 9110 section 9.2.1]) without a body | everything else |
//! |---|---|---|
//! | [`TokenClient`] | sent again | sent again if the body is in memory and no redirect was followed |
//! | [`RequestBuilderExt`], `TokenMiddleware` | sent again | never sent again |
//!
//! # Redirects
//!
//! reqwest drops the `Authorization` header where a redirect leaves scheme, host or port; tests here verify that. So no
//! token goes to another server, but the request there has none. A client that is built with [`same_origin_redirects`]
//! does not follow such a redirect, and returns it to its caller. A [`TokenClient`] always does so.
//!
//! A DPoP proof names its method and URL, and reqwest keeps it on the request that follows a redirect. It is of no
//! use there, neither to the API, which refuses it, nor to a stranger, who has no token to go with it. A
//! [`TokenClient`] returns such a redirect to its caller; build another client with reqwest's `Policy::none()`.
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
