//! Exchanges with an authorization server: one attempt and its retries, for every kind of request.

pub(crate) mod body;
pub(crate) mod client;
pub(crate) mod dpop;
pub(crate) mod form;
pub(crate) mod grant;
pub(crate) mod request;
pub(crate) mod retry;
pub(crate) mod settings;
pub(crate) mod source;
pub(crate) mod token;

pub use client::Hints;
pub use retry::Retry;
pub use source::GrantSource;
