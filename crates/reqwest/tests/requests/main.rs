//! Requests of a reqwest client, with the extension and with the middleware.

#![allow(missing_docs, clippy::unwrap_used)]

mod policy;
mod support;
