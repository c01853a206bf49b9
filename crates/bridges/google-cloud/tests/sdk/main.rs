//! Clients and credentials of the Google Cloud SDK.

#![allow(clippy::unwrap_used)]

mod credentials;
mod shared;
mod source;
