//! A broker that checks tokens, a source that a test controls, and a context that records its calls.

mod broker;
mod recorder;
mod source;

use std::time::Duration;

use hallpass_core::{AccessToken, Clock as _, SystemClock};

pub(crate) use {
    broker::{Authentication, Broker},
    recorder::Recorder,
    source::Source,
};

/// Fails if this takes longer than a minute.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(Duration::from_secs(60), future).await;
    result.unwrap()
}

/// Creates a token that is valid for an hour.
pub(crate) fn token(text: &str) -> AccessToken {
    AccessToken::bearer(text, SystemClock.moment(), Duration::from_secs(3_600)).unwrap()
}
