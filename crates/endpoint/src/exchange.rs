//! Exchanges with an authorization server: attempts, retries and changed credentials, for every kind of request.

pub(crate) mod answer;
pub(crate) mod client;
pub(crate) mod dpop;
pub(crate) mod form;
pub(crate) mod grant;
pub(crate) mod retry;

pub use grant::Source;
pub use retry::Retry;
