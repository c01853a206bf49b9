//! Requests of a reqwest client, with the extension and with the middleware.

#![allow(missing_docs, clippy::unwrap_used)]

mod matrix;
#[cfg(feature = "middleware")]
mod middleware;
mod policy;
mod redirects;
mod replay;
mod support;
