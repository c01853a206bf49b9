//! Access tokens for the requests of a tower service: hyper's and axum's clients, tonic channels.
//!
//! An [`Authorizer`] decides which origins may have tokens; a [`TokenLayer`] applies it to any
//! `Service<http::Request<B>>`:
//!
//! ```
//! use hallpass_core::authorize::Authorizer;
//! use hallpass_tower::TokenLayer;
//! use http::{Request, Response};
//! use tower::{Layer, Service, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! # let source = hallpass_testkit::StaticSource::new("0123abc");
//! let authorizer = Authorizer::builder(source).allow_origin("https://api.example").build()?;
//! // Instead of hyper's client:
//! let client = service_fn(async |request: Request<String>| {
//!     assert!(request.headers()["authorization"].is_sensitive());
//!     Ok::<_, std::io::Error>(Response::new("orders".to_owned()))
//! });
//! let mut client = TokenLayer::new(authorizer).retry_cloned().layer(client);
//!
//! let request = Request::get("https://api.example/orders").body(String::new())?;
//! let response = client.ready().await?.call(request).await?;
//! assert_eq!(response.body(), "orders");
//! # Ok(())
//! # }
//! ```
//!
//! # Request handling
//!
//! - It goes to an allowed origin: it gets the token's preformatted header. If no token is available, nothing is sent,
//!   and the error is a [`TokenError`].
//! - It goes elsewhere: nothing is sent, and the error is a [`TokenError`]; unless the authorizer was built to pass
//!   such requests, which are then sent without a token.
//! - It has an `Authorization` header already: it is sent as it is, unless the authorizer was built to replace the
//!   header.
//! - It needs a token other than the one that its origin was allowed with: put a [`TokenRequest`] into its extensions.
//! - The API refuses the token with 401: the token is dropped, so that the next request has a new one; and this one is
//!   retried once, if a [`Replay`] is set that can copy its body.
//! - Its token is bound to a key (DPoP): it also gets a new proof each time that it is sent. If the API demands another
//!   nonce in the proof, it is sent again with that nonce and the same token, if a [`Replay`] can copy its body.
//! - The API refuses for another reason, for example 403 `insufficient_scope`: the response is returned as it is, with
//!   an [`ApiRefusal`] in its extensions that says why.
//!
//! A layer that follows redirects belongs around this one, not inside it. Each request of a redirect chain is then
//! checked by its own origin, has its own proof if its token needs one, and is retried alone: no earlier request is
//! repeated.
//!
//! # Errors
//!
//! The error of a [`TokenService`] is a [`BoxError`], as with tower's own middleware: either the inner service's, or a
//! [`TokenError`], found with `error.downcast_ref::<TokenError>()`.
//!
//! # tonic
//!
//! A channel's requests have only a path, since the channel knows its server: set it with
//! [`connected_to`](TokenLayer::connected_to). The body of a gRPC request is a stream and is not sent again; a token
//! that was refused with UNAUTHENTICATED is dropped nevertheless, so that the next call has another one. A server reports
//! it in a response without a body, as tonic's interceptors do, or in the trailers of one, which
//! [`grpc`](TokenLayer::grpc) reads too. `examples/tonic.rs` is a complete service and client. A [`TokenError`] becomes a
//! status of code UNKNOWN whose `source()` is the error.
//!
//! [`Authorizer`]: hallpass_core::authorize::Authorizer
//! [`ApiRefusal`]: hallpass_core::authorize::ApiRefusal
//! [`TokenError`]: hallpass_core::TokenError
//! [`TokenRequest`]: hallpass_core::TokenRequest

mod future;
mod grpc;
mod layer;
mod replay;
mod request_copy;
mod service;

pub use future::ResponseFuture;
pub use grpc::{GrpcBody, GrpcResponseFuture, GrpcTokenLayer, GrpcTokenService};
pub use layer::TokenLayer;
pub use replay::{CloneBody, EmptyBody, NoReplay, Replay, ReplayWith};
pub use service::TokenService;

/// Any error, as in tower's own middleware.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
