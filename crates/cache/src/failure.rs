//! A failure that is cached for a while, instead of calling the source again.

use std::time::Duration;

use hallpass_core::{ErrorKind, Timestamp, TokenError};

#[derive(Clone)]
pub(crate) struct CachedFailure {
    pub(crate) error: TokenError,
    pub(crate) until: Timestamp,
    /// The time of the first of the consecutive failures.
    pub(crate) since: Timestamp,
    /// The epoch of the credentials if they were at fault; a new epoch drops the failure at once.
    pub(crate) epoch: Option<u64>,
}

impl CachedFailure {
    /// Creates a cached error of the source, to be repeated for `rest`.
    pub(crate) fn new(error: &TokenError, now: Timestamp, rest: Duration, epoch: u64) -> Self {
        Self {
            error: error.clone(),
            until: now.saturating_add(rest),
            since: now,
            epoch: (!error.is_transient()).then_some(epoch),
        }
    }

    pub(crate) fn holds(&self, now: Timestamp, epoch: u64) -> bool {
        now < self.until && self.epoch.is_none_or(|at| at == epoch)
    }

    /// Returns the error as callers get it now: with the rest of the wait.
    pub(crate) fn repeated(&self, now: Timestamp) -> TokenError {
        let left = self.until.saturating_since(now);
        self.error.clone().with_retry_after(left)
    }
}

/// Returns true if the error concerns the source, not just the key: its credentials are refused, it asks for a delay,
/// or it cannot be reached.
pub(crate) fn concerns_all_keys(error: &TokenError) -> bool {
    match error.kind() {
        ErrorKind::CredentialsRefused => true,
        _ if !error.is_transient() => false,
        _ if error.retry_after().is_some() => true,
        // Without a response, or with one from a gateway instead. Any other may concern the request.
        ErrorKind::Unavailable => error
            .status()
            .is_none_or(|status| matches!(status.as_u16(), 429 | 502..=504)),
        _ => false,
    }
}

/// Returns true if other processes with the same credentials would get this failure too. One that cannot reach the
/// server does not speak for the others.
pub(crate) fn is_shared(error: &TokenError) -> bool {
    match error.kind() {
        ErrorKind::CredentialsRefused | ErrorKind::RequestRefused => true,
        _ => error.is_transient() && error.retry_after().is_some(),
    }
}

/// Returns the time for which other keys do not call the source, if the key whose fetch failed does not for `rest`.
///
/// It is a little shorter, so that another key tries first: the fault may be specific to the failed key. It is the same
/// if the server named the time, or if the credentials are at fault.
pub(crate) fn rest_of_others(error: &TokenError, rest: Duration) -> Duration {
    let named = error.retry_after().is_some() || !error.is_transient();
    if named { rest } else { rest / 4 * 3 }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn a_failure_of_the_source_concerns_all_keys() {
        let wait = Duration::from_secs(1);
        let unavailable = || TokenError::unavailable("down");
        let status = |code| unavailable().with_status(StatusCode::from_u16(code).unwrap());
        let unusable = || TokenError::unusable_response("cut").with_transient(true);
        for (error, concerns) in [
            (TokenError::credentials_refused("wrong secret"), true),
            (unavailable(), true),
            (status(429), true),
            (status(502), true),
            (status(504), true),
            (status(500).with_retry_after(wait), true),
            (unusable().with_retry_after(wait), true),
            // Perhaps only for this request.
            (status(500), false),
            (unusable(), false),
            (TokenError::request_refused("no such scope"), false),
            // Waiting does not help.
            (unavailable().with_transient(false), false),
            (
                TokenError::request_refused("no").with_retry_after(wait),
                false,
            ),
        ] {
            assert_eq!(concerns_all_keys(&error), concerns, "{error:?}");
        }
    }
}
