//! The entries of the server's answers, which concern all processes with the same credentials: to any request with them,
//! or to the requests for one key.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use hallpass_core::{ErrorKind, Moment, TokenError};
use serde::{Deserialize, Serialize};

use super::{Head, MAX_CLOCK_SKEW, VERSION, milliseconds};
use crate::failure::is_shared;

const ANSWERS: &str = "answers";

/// The maximum number of credentials in an entry: those before and after a rotation, and one mistake of each.
const MAX_ANSWERS: usize = 4;

/// The digest of a source's credentials.
pub(crate) type CredentialDigest = [u8; 32];

/// The server's last known answer to requests with some credentials.
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
    answers: Vec<Answer>,
}

/// The server's answer to a request with some credentials, and the time for which it holds.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Answer {
    credentials: CredentialDigest,
    failure: Option<Failure>,
    /// Milliseconds since 1970, by the writer's clock.
    answered_at_ms: u64,
    rest_ms: u64,
}

#[derive(Clone, Serialize, Deserialize)]
struct Failure {
    kind: FailureKind,
    message: String,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FailureKind {
    CredentialsRefused,
    RequestRefused,
    /// The server asked to wait.
    Unavailable,
}

impl Answer {
    /// Creates the answer to accepted credentials.
    pub(crate) fn accepted(
        credentials: CredentialDigest,
        rest: Duration,
        now: Moment,
    ) -> Option<Self> {
        Self::new(credentials, None, rest, now)
    }

    /// Creates the answer from a failure; `None` if it is not one to share.
    pub(crate) fn failed(
        credentials: CredentialDigest,
        error: &TokenError,
        rest: Duration,
        now: Moment,
    ) -> Option<Self> {
        let kind = match error.kind() {
            ErrorKind::CredentialsRefused => FailureKind::CredentialsRefused,
            ErrorKind::RequestRefused => FailureKind::RequestRefused,
            _ => FailureKind::Unavailable,
        };
        let failure = Failure {
            kind,
            message: error.message(),
        };
        is_shared(error).then(|| Self::new(credentials, Some(failure), rest, now))?
    }

    fn new(
        credentials: CredentialDigest,
        failure: Option<Failure>,
        rest: Duration,
        now: Moment,
    ) -> Option<Self> {
        let since_1970 = now.wall.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(Self {
            credentials,
            failure,
            answered_at_ms: milliseconds(since_1970),
            rest_ms: milliseconds(rest),
        })
    }

    /// Returns the time for which it still holds. As with tokens, neither the writer's clock nor its times are trusted
    /// alone.
    fn left(&self, now: Moment) -> Option<Duration> {
        let answered_at = Duration::from_millis(self.answered_at_ms);
        let answered_at = SystemTime::UNIX_EPOCH.checked_add(answered_at)?;
        let ahead = answered_at.duration_since(now.wall).unwrap_or_default();
        let age = now.wall.duration_since(answered_at).unwrap_or_default();
        let left = Duration::from_millis(self.rest_ms).saturating_sub(age);
        (!left.is_zero() && ahead <= MAX_CLOCK_SKEW).then_some(left)
    }
}

/// Returns the bytes of an entry that has this answer beside those of `before` to other credentials, and its time to
/// live.
pub(crate) fn encode(answer: Answer, before: &[u8], now: Moment) -> Option<(Vec<u8>, Duration)> {
    let mut answers = decode(before);
    answers.retain(|other| other.credentials != answer.credentials && other.left(now).is_some());
    answers.push(answer);
    answers.drain(..answers.len().saturating_sub(MAX_ANSWERS));
    let ttl = answers.iter().filter_map(|answer| answer.left(now)).max()?;
    let entry = Entry {
        version: VERSION,
        kind: ANSWERS.into(),
        answers,
    };
    Some((serde_json::to_vec(&entry).ok()?, ttl))
}

/// Returns true if the entry holds answers.
pub(crate) fn is_of_answers(bytes: &[u8]) -> bool {
    let head = serde_json::from_slice::<Head<'_>>(bytes);
    head.is_ok_and(|head| head.version == VERSION && head.kind == ANSWERS)
}

/// Returns the answers of an entry; none if it is of another kind, or unreadable.
fn decode(bytes: &[u8]) -> Vec<Answer> {
    if !is_of_answers(bytes) {
        return Vec::new();
    }
    serde_json::from_slice::<Entry<'_>>(bytes).map_or_else(|_| Vec::new(), |entry| entry.answers)
}

/// Returns the state of these credentials, if the entry has one that still holds.
pub(crate) fn state(
    bytes: &[u8],
    credentials: CredentialDigest,
    ttl: Option<Duration>,
    now: Moment,
) -> Option<CredentialState> {
    let answers = decode(bytes).into_iter();
    let mut ours = answers.filter(|answer| answer.credentials == credentials);
    let answer = ours.next()?;
    let left = answer.left(now)?.min(ttl.unwrap_or(Duration::MAX));
    let Some(failure) = answer.failure else {
        return Some(CredentialState::Accepted);
    };
    let message = format!("{} (the response to another process)", failure.message);
    let error = match failure.kind {
        FailureKind::CredentialsRefused => TokenError::credentials_refused(message),
        FailureKind::RequestRefused => TokenError::request_refused(message),
        FailureKind::Unavailable => TokenError::unavailable(message),
    };
    Some(CredentialState::Failed(error.with_retry_after(left), left))
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

    /// Returns the entry after the one `before` in which these credentials were refused, or accepted.
    fn after(before: &[u8], byte: u8, refusal: bool, now: Moment) -> Vec<u8> {
        let answer = if refusal {
            Answer::failed([byte; 32], &refused(), MINUTE, now)
        } else {
            Answer::accepted([byte; 32], MINUTE, now)
        };
        let (bytes, ttl) = encode(answer.unwrap(), before, now).unwrap();
        assert_eq!(ttl, MINUTE);
        bytes
    }

    fn is_refused(bytes: &[u8], byte: u8, now: Moment) -> Option<bool> {
        let state = state(bytes, [byte; 32], None, now)?;
        Some(matches!(state, CredentialState::Failed(..)))
    }

    #[test]
    fn a_failure_is_read_for_the_same_credentials_until_it_ends() {
        let clock = ManualClock::new();
        let bytes = after(b"", 1, true, clock.moment());
        let read = |digest, ttl| match state(&bytes, digest, ttl, clock.moment()) {
            Some(CredentialState::Failed(error, left)) => Some((error, left)),
            Some(CredentialState::Accepted) => panic!("a failure was written"),
            None => None,
        };
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
    fn answers_to_other_credentials_stay() {
        let clock = ManualClock::new();
        let first = after(b"", 1, true, clock.moment());
        let second = after(&first, 2, false, clock.moment());
        let now = clock.moment();
        assert_eq!(is_refused(&second, 1, now), Some(true));
        assert_eq!(is_refused(&second, 2, now), Some(false));
        // A later answer replaces an earlier one, and what has ended is dropped.
        let third = after(&second, 1, false, now);
        assert_eq!(is_refused(&third, 1, now), Some(false));
        assert_eq!(decode(&third).len(), 2);
        clock.advance(MINUTE);
        assert_eq!(decode(&after(&third, 3, false, clock.moment())).len(), 1);
        // Their number is bounded.
        let now = clock.moment();
        let many = (10..20).fold(Vec::new(), |before, byte| after(&before, byte, false, now));
        assert_eq!(decode(&many).len(), 4);
        assert_eq!(is_refused(&many, 19, now), Some(false));
    }

    #[test]
    fn only_failures_of_all_processes_are_written() {
        let now = ManualClock::new().moment();
        let is_written = |error: &TokenError| Answer::failed(OURS, error, MINUTE, now).is_some();
        assert!(is_written(&refused()));
        let busy = TokenError::unavailable("busy");
        assert!(is_written(&busy.clone().with_retry_after(MINUTE)));
        assert!(is_written(&TokenError::request_refused("scope")));
        // Perhaps only this process cannot reach the server.
        assert!(!is_written(&busy));
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
            assert!(state(bytes, OURS, None, now).is_none());
            assert_eq!(decode(&after(bytes, 1, true, now)).len(), 1);
        }
    }
}
