//! Access tokens on the requests of a reqwest client.
//!
//! An [`Authorizer`] says which origins may have tokens. With it,
//! [`send_with`](RequestBuilderExt::send_with) takes the place of `send`:
//!
//! ```
//! use std::sync::Arc;
//! use hallpass_core::{TokenSource, authorize::Authorizer};
//! use hallpass_reqwest::{RequestBuilderExt, same_origin_redirects};
//!
//! # async fn example(source: Arc<dyn TokenSource>) -> Result<(), Box<dyn std::error::Error>> {
//! let authorizer = Authorizer::builder(source).allow_origin("https://api.example").build()?;
//! let client = reqwest::Client::builder().redirect(same_origin_redirects()).build()?;
//!
//! let orders = client.get("https://api.example/orders").send_with(&authorizer).await?;
//! # let _ = orders;
//! # Ok(())
//! # }
//! ```
#![cfg_attr(
    feature = "middleware",
    doc = "
With the feature `middleware`, a [`TokenMiddleware`] does it for every request of a client, and its callers know
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
//!   its body is in memory (a stream cannot be sent again) and it was not redirected.
//! - Its token is bound to a key (DPoP): it gets a fresh proof too, each time that it is sent. Where the API demands
//!   another nonce in the proof, it is sent again with that one and the same token, as long as its body can be.
//! - The API refuses otherwise, with 403 `insufficient_scope` for one: the response comes back as it is, with an
//!   [`ApiRefusal`] in its extensions that says why.
//!
//! # Redirects
//!
//! reqwest follows them by itself, below this crate, and drops the `Authorization` header where scheme, host or port
//! changes; tests here hold it to that. So no token goes astray, but what is asked there is asked without one. A
//! client that is built with [`same_origin_redirects`] stops there, and hands the redirect to its caller.
//!
//! A proof (DPoP) is for one method and one URL, and reqwest carries it along: where it follows a redirect, the proof is
//! for another URL than the one that is asked. It is of no use there, neither to the API, which refuses it, nor to a
//! stranger, who has no token to go with it. For APIs with such tokens build the client with reqwest's `Policy::none()`,
//! and follow a redirect by a request of its own.
//!
//! [`Authorizer`]: hallpass_core::authorize::Authorizer
//! [`ApiRefusal`]: hallpass_core::authorize::ApiRefusal
//! [`TokenError`]: hallpass_core::TokenError

mod error;
mod extension;
mod headers;
#[cfg(feature = "middleware")]
mod middleware;
mod proven;
mod redirect;
mod send;
mod sending;
mod spare;

pub use error::Error;
pub use extension::RequestBuilderExt;
#[cfg(feature = "middleware")]
pub use middleware::TokenMiddleware;
pub use redirect::same_origin_redirects;
