//! The entry of a failure that concerns all processes with the same credentials.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use hallpass_core::{ErrorKind, Moment, TokenError};
use serde::{Deserialize, Serialize};

use super::{Head, MAX_CLOCK_SKEW, VERSION, milliseconds};
use crate::failure::is_shared;

const FAILURE: &str = "failure";

/// The digest of a source's credentials.
pub(crate) type CredentialDigest = [u8; 32];

#[derive(Serialize, Deserialize)]
struct Entry<'a> {
    version: u32,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    credentials: CredentialDigest,
    /// Whether the credentials were refused; otherwise the server asked to wait.
    refused: bool,
    #[serde(borrow)]
    message: Cow<'a, str>,
    /// Milliseconds since 1970, by the writer's clock.
    failed_at_ms: u64,
    rest_ms: u64,
}

/// Returns the entry's bytes, or `None` if the failure is not one to share.
pub(crate) fn encode(
    error: &TokenError,
    credentials: CredentialDigest,
    rest: Duration,
    now: Moment,
) -> Option<Vec<u8>> {
    if !is_shared(error) {
        return None;
    }
    let since_1970 = now.wall.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let entry = Entry {
        version: VERSION,
        kind: FAILURE.into(),
        credentials,
        refused: error.kind() == ErrorKind::CredentialsRefused,
        message: error.message().into(),
        failed_at_ms: milliseconds(since_1970),
        rest_ms: milliseconds(rest),
    };
    serde_json::to_vec(&entry).ok()
}

/// Returns the failure and the remaining time for which it is repeated, if it concerns these credentials. As with
/// tokens, neither the writer's clock nor its times are trusted alone.
pub(crate) fn decode(
    bytes: &[u8],
    credentials: CredentialDigest,
    ttl: Option<Duration>,
    now: Moment,
) -> Option<(TokenError, Duration)> {
    let head = serde_json::from_slice::<Head<'_>>(bytes).ok()?;
    if head.version != VERSION || head.kind != FAILURE {
        return None;
    }
    let entry = serde_json::from_slice::<Entry<'_>>(bytes).ok()?;
    let rest = Duration::from_millis(entry.rest_ms);
    let failed_at = Duration::from_millis(entry.failed_at_ms);
    let failed_at = SystemTime::UNIX_EPOCH.checked_add(failed_at)?;
    let ahead = failed_at.duration_since(now.wall).unwrap_or_default();
    let age = now.wall.duration_since(failed_at).unwrap_or_default();
    let left = rest.saturating_sub(age).min(ttl.unwrap_or(Duration::MAX));
    if entry.credentials != credentials || left.is_zero() || ahead > MAX_CLOCK_SKEW {
        return None;
    }
    let message = format!("{} (the response to another process)", entry.message);
    let error = if entry.refused {
        TokenError::credentials_refused(message)
    } else {
        TokenError::unavailable(message)
    };
    Some((error.with_retry_after(left), left))
}

#[cfg(test)]
mod tests {
    use hallpass_core::Clock as _;
    use hallpass_testkit::ManualClock;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const OURS: CredentialDigest = [1; 32];

    fn refused() -> TokenError {
        TokenError::credentials_refused("the server refused the client")
    }

    #[test]
    fn a_failure_is_read_for_the_same_credentials_until_it_ends() {
        let clock = ManualClock::new();
        let bytes = encode(&refused(), OURS, MINUTE, clock.moment()).unwrap();
        let read = |digest, ttl| decode(&bytes, digest, ttl, clock.moment());
        let (error, left) = read(OURS, None).unwrap();
        assert_eq!(error.kind(), ErrorKind::CredentialsRefused);
        assert!(error.to_string().contains("refused the client"), "{error}");
        assert_eq!(left, MINUTE);
        assert!(read([2; 32], None).is_none());
        assert_eq!(read(OURS, Some(MINUTE / 2)).unwrap().1, MINUTE / 2);
        clock.advance(MINUTE / 4);
        assert_eq!(read(OURS, None).unwrap().1, MINUTE * 3 / 4);
        clock.advance(MINUTE);
        assert!(read(OURS, None).is_none());
    }

    #[test]
    fn only_failures_of_all_processes_are_written() {
        let now = ManualClock::new().moment();
        let is_written = |error: &TokenError| encode(error, OURS, MINUTE, now).is_some();
        assert!(is_written(&refused()));
        let busy = TokenError::unavailable("busy");
        assert!(is_written(&busy.clone().with_retry_after(MINUTE)));
        // Perhaps only this process cannot reach the server.
        assert!(!is_written(&busy));
        assert!(!is_written(&TokenError::request_refused("scope")));
    }

    #[test]
    fn other_entries_are_not_read() {
        let now = ManualClock::new().moment();
        for bytes in [
            &b""[..],
            b"{}",
            b"{\"version\":1,\"kind\":\"token\"}",
            b"\xff",
        ] {
            assert!(decode(bytes, OURS, None, now).is_none());
        }
    }
}
