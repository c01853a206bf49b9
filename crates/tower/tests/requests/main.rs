//! Requests of a tower service.

#![allow(missing_docs, clippy::unwrap_used)]

mod policy;
mod support;
