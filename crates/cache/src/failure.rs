//! A failure that is remembered for a while, instead of asking the source again.

use std::time::Duration;

use hallpass_core::{ErrorKind, Timestamp, TokenError};

#[derive(Clone)]
pub(crate) struct Failure {
    pub(crate) error: TokenError,
    pub(crate) until: Timestamp,
    /// Ends at once when the credentials change, where they were at fault.
    pub(crate) epoch: Option<u64>,
}

impl Failure {
    /// Creates the memory of an error that the source returned, to be repeated for `rest`.
    pub(crate) fn new(error: &TokenError, now: Timestamp, rest: Duration, epoch: u64) -> Self {
        Self {
            error: error.clone(),
            until: now.saturating_add(rest),
            epoch: (!error.is_transient()).then_some(epoch),
        }
    }

    pub(crate) fn holds(&self, now: Timestamp, epoch: u64) -> bool {
        now < self.until && self.epoch.is_none_or(|at| at == epoch)
    }

    /// Returns the error as callers get it now: with what is left of the wait.
    pub(crate) fn repeated(&self, now: Timestamp) -> TokenError {
        let left = self.until.saturating_since(now);
        self.error.clone().with_retry_after(left)
    }
}

/// Returns true if the error says something about the source, whatever the key: its credentials are refused, it asks
/// to be left alone, or it cannot be reached.
pub(crate) fn concerns_all_keys(error: &TokenError) -> bool {
    match error.kind() {
        ErrorKind::CredentialsRefused => true,
        _ if !error.is_transient() => false,
        _ if error.retry_after().is_some() => true,
        // Without an answer, or one of a gateway in its place. Any other may be about what was asked for.
        ErrorKind::Unavailable => error
            .status()
            .is_none_or(|status| matches!(status.as_u16(), 429 | 502..=504)),
        _ => false,
    }
}

/// Returns the time for which other keys do not ask the source, where the key whose fetch failed does not for `rest`.
///
/// It is a little shorter, so that another key tries first: the fault may lie with the one that failed. It is the same
/// where the server named the time, or where the credentials are at fault.
pub(crate) fn rest_of_others(error: &TokenError, rest: Duration) -> Duration {
    let named = error.retry_after().is_some() || !error.is_transient();
    if named { rest } else { rest / 4 * 3 }
}
