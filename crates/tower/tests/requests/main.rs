//! Requests of a tower service.

#![allow(missing_docs, clippy::unwrap_used)]

mod hyper;
mod policy;
mod replay;
mod support;
