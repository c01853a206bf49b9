//! Clients and credentials of the Azure SDK.

#![allow(clippy::unwrap_used)]

mod credential;
mod shared;
mod source;
