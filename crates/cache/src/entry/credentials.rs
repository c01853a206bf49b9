//! The entry of the state of credentials, which concerns all processes that have them: its key is named by their digest.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use hallpass_core::{ErrorKind, Moment, TokenError};
use serde::{Deserialize, Serialize};

use super::{Head, MAX_CLOCK_SKEW, VERSION, milliseconds};
use crate::failure::is_shared;

const CREDENTIALS: &str = "credentials";

/// The digest of a source's credentials.
pub(crate) type CredentialDigest = [u8; 32];

/// The server's last known answer to requests with these credentials.
pub(crate) enum CredentialState {
    Accepted,
    /// A failure, and the remaining time for which it is repeated.
    Failed(TokenError, Duration),
}

#[derive(Serialize, Deserialize)]
struct Entry<'a> {
    version: u32,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    failure: Option<Failure<'a>>,
    /// Milliseconds since 1970, by the writer's clock.
    answered_at_ms: u64,
    rest_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct Failure<'a> {
    /// Whether the credentials were refused; otherwise the server asked to wait.
    refused: bool,
    #[serde(borrow)]
    message: Cow<'a, str>,
}

/// Returns the bytes of an entry for accepted credentials.
pub(crate) fn accepted(rest: Duration, now: Moment) -> Option<Vec<u8>> {
    encode(None, rest, now)
}

/// Returns the bytes of an entry for a failure, or `None` if the failure is not one to share.
pub(crate) fn failed(error: &TokenError, rest: Duration, now: Moment) -> Option<Vec<u8>> {
    let failure = Failure {
        refused: error.kind() == ErrorKind::CredentialsRefused,
        message: error.message().into(),
    };
    is_shared(error).then(|| encode(Some(failure), rest, now))?
}

fn encode(failure: Option<Failure<'_>>, rest: Duration, now: Moment) -> Option<Vec<u8>> {
    let since_1970 = now.wall.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let entry = Entry {
        version: VERSION,
        kind: CREDENTIALS.into(),
        failure,
        answered_at_ms: milliseconds(since_1970),
        rest_ms: milliseconds(rest),
    };
    serde_json::to_vec(&entry).ok()
}

/// Returns the state, unless it is out of date. As with tokens, neither the writer's clock nor its times are trusted
/// alone.
pub(crate) fn decode(bytes: &[u8], ttl: Option<Duration>, now: Moment) -> Option<CredentialState> {
    let head = serde_json::from_slice::<Head<'_>>(bytes).ok()?;
    if head.version != VERSION || head.kind != CREDENTIALS {
        return None;
    }
    let entry = serde_json::from_slice::<Entry<'_>>(bytes).ok()?;
    let rest = Duration::from_millis(entry.rest_ms);
    let answered_at = Duration::from_millis(entry.answered_at_ms);
    let answered_at = SystemTime::UNIX_EPOCH.checked_add(answered_at)?;
    let ahead = answered_at.duration_since(now.wall).unwrap_or_default();
    let age = now.wall.duration_since(answered_at).unwrap_or_default();
    let left = rest.saturating_sub(age).min(ttl.unwrap_or(Duration::MAX));
    if left.is_zero() || ahead > MAX_CLOCK_SKEW {
        return None;
    }
    let Some(failure) = entry.failure else {
        return Some(CredentialState::Accepted);
    };
    let message = format!("{} (the response to another process)", failure.message);
    let error = if failure.refused {
        TokenError::credentials_refused(message)
    } else {
        TokenError::unavailable(message)
    };
    Some(CredentialState::Failed(error.with_retry_after(left), left))
}

#[cfg(test)]
mod tests {
    use hallpass_core::Clock as _;
    use hallpass_testkit::ManualClock;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn refused() -> TokenError {
        TokenError::credentials_refused("the server refused the client")
    }

    #[test]
    fn a_failure_is_read_until_it_ends() {
        let clock = ManualClock::new();
        let bytes = failed(&refused(), MINUTE, clock.moment()).unwrap();
        let read = |ttl| match decode(&bytes, ttl, clock.moment()) {
            Some(CredentialState::Failed(error, left)) => Some((error, left)),
            Some(CredentialState::Accepted) => panic!("a failure was written"),
            None => None,
        };
        let (error, left) = read(None).unwrap();
        assert_eq!(error.kind(), ErrorKind::CredentialsRefused);
        assert!(error.to_string().contains("refused the client"), "{error}");
        assert_eq!(left, MINUTE);
        assert_eq!(read(Some(MINUTE / 2)).unwrap().1, MINUTE / 2);
        clock.advance(MINUTE / 4);
        assert_eq!(read(None).unwrap().1, MINUTE * 3 / 4);
        clock.advance(MINUTE);
        assert!(read(None).is_none());
    }

    #[test]
    fn accepted_credentials_are_read_until_the_entry_ends() {
        let clock = ManualClock::new();
        let bytes = accepted(MINUTE, clock.moment()).unwrap();
        let read = || decode(&bytes, None, clock.moment());
        assert!(matches!(read(), Some(CredentialState::Accepted)));
        clock.advance(MINUTE);
        assert!(read().is_none());
    }

    #[test]
    fn only_failures_of_all_processes_are_written() {
        let now = ManualClock::new().moment();
        let is_written = |error: &TokenError| failed(error, MINUTE, now).is_some();
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
            assert!(decode(bytes, None, now).is_none());
        }
    }
}
