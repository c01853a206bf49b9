//! The entries of the server's answers, which concern all processes with the same credentials: to any request with them,
//! or to the requests for one key.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use hallpass_core::{ErrorKind, Moment, OAuthError, TextFilter, TokenError};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{Head, MAX_CLOCK_SKEW, MAX_LIFETIME, VERSION, milliseconds};
use crate::{failure::is_shared, policy::Policy};

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

/// A failure in parts, so that the error of a reader has them too. Each text is short and escaped again by its reader.
#[derive(Clone, Serialize, Deserialize)]
struct Failure {
    kind: FailureKind,
    message: String,
    host: Option<String>,
    status: Option<u16>,
    oauth_error: Option<OAuthFailure>,
    server_message: Option<String>,
}

#[derive(Clone, Serialize, Deserialize)]
struct OAuthFailure {
    code: String,
    description: Option<String>,
    uri: Option<String>,
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
        is_shared(error).then(|| Self::new(credentials, Some(Failure::new(error)), rest, now))?
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

    /// Returns the time for which it still holds, at most `limit` in all. As with tokens, neither the writer's clock nor
    /// its times are trusted alone.
    fn left(&self, limit: Duration, now: Moment) -> Option<Duration> {
        let answered_at = Duration::from_millis(self.answered_at_ms);
        let answered_at = SystemTime::UNIX_EPOCH.checked_add(answered_at)?;
        let ahead = answered_at.duration_since(now.wall).unwrap_or_default();
        let age = now.wall.duration_since(answered_at).unwrap_or_default();
        let rest = Duration::from_millis(self.rest_ms).min(limit);
        let left = rest.saturating_sub(age);
        (!left.is_zero() && ahead <= MAX_CLOCK_SKEW).then_some(left)
    }
}

impl Failure {
    fn new(error: &TokenError) -> Self {
        let (message, server_part) = (error.message(), error.clone().with_message("").message());
        let message = message.strip_suffix(&server_part).unwrap_or(&message);
        let oauth_error = error.oauth_error().map(|error| OAuthFailure {
            code: error.code().to_owned(),
            description: error.description().map(ToOwned::to_owned),
            uri: error.uri().map(ToOwned::to_owned),
        });
        Self {
            kind: match error.kind() {
                ErrorKind::CredentialsRefused => FailureKind::CredentialsRefused,
                ErrorKind::RequestRefused => FailureKind::RequestRefused,
                _ => FailureKind::Unavailable,
            },
            message: TextFilter::new().clean(message),
            host: error.host().map(ToOwned::to_owned),
            status: error.status().map(|status| status.as_u16()),
            oauth_error,
            server_message: error.server_message().map(ToOwned::to_owned),
        }
    }

    /// Returns the time for which this process caches such a failure at most.
    fn limit(&self, policy: &Policy) -> Duration {
        match self.kind {
            FailureKind::CredentialsRefused | FailureKind::RequestRefused => policy.refusal_ttl,
            FailureKind::Unavailable => policy.max_retry_after,
        }
    }

    fn into_error(self) -> TokenError {
        let message = TextFilter::new().clean(&self.message);
        let message = format!("{message} (the response to another process)");
        let mut error = match self.kind {
            FailureKind::CredentialsRefused => TokenError::credentials_refused(message),
            FailureKind::RequestRefused => TokenError::request_refused(message),
            FailureKind::Unavailable => TokenError::unavailable(message),
        };
        if let Some(host) = self.host {
            error = error.with_host(&host);
        }
        if let Some(status) = self.status.and_then(|code| StatusCode::from_u16(code).ok()) {
            error = error.with_status(status);
        }
        if let Some(oauth) = self.oauth_error {
            let mut given = OAuthError::new(&oauth.code);
            if let Some(description) = oauth.description {
                given = given.with_description(&description);
            }
            if let Some(uri) = oauth.uri {
                given = given.with_uri(&uri);
            }
            error = error.with_oauth_error(given);
        }
        match self.server_message {
            Some(message) => error.with_server_message(&message),
            None => error,
        }
    }
}

/// Returns the bytes of an entry that has this answer beside those of `before` to other credentials, and its time to
/// live.
pub(crate) fn encode(answer: Answer, before: &[u8], now: Moment) -> Option<(Vec<u8>, Duration)> {
    let mut answers = decode(before);
    let left = |answer: &Answer| answer.left(MAX_LIFETIME, now);
    answers.retain(|other| other.credentials != answer.credentials && left(other).is_some());
    answers.push(answer);
    answers.drain(..answers.len().saturating_sub(MAX_ANSWERS));
    let ttl = answers.iter().filter_map(left).max()?;
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

/// Returns the state of these credentials, if the entry has one that still holds. A failure holds for no longer than one
/// of this process: another one may have other settings.
pub(crate) fn state(
    bytes: &[u8],
    credentials: CredentialDigest,
    ttl: Option<Duration>,
    policy: &Policy,
    now: Moment,
) -> Option<CredentialState> {
    let answers = decode(bytes).into_iter();
    let mut ours = answers.filter(|answer| answer.credentials == credentials);
    let answer = ours.next()?;
    let limit = answer.failure.as_ref();
    let limit = limit.map_or(Duration::MAX, |failure| failure.limit(policy));
    let left = answer.left(limit, now)?.min(ttl.unwrap_or(Duration::MAX));
    Some(match answer.failure {
        Some(failure) => CredentialState::Failed(failure.into_error().with_retry_after(left), left),
        None => CredentialState::Accepted,
    })
}

#[cfg(test)]
mod tests {
    use hallpass_core::Clock as _;
    use hallpass_testkit::ManualClock;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const OURS: CredentialDigest = [1; 32];

    fn policy() -> Policy {
        Policy {
            refusal_ttl: MINUTE,
            ..Policy::default()
        }
    }

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
        let state = state(bytes, [byte; 32], None, &policy(), now)?;
        Some(matches!(state, CredentialState::Failed(..)))
    }

    #[test]
    fn a_failure_is_read_for_the_same_credentials_until_it_ends() {
        let clock = ManualClock::new();
        let bytes = after(b"", 1, true, clock.moment());
        let read = |digest, ttl| match state(&bytes, digest, ttl, &policy(), clock.moment()) {
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

    /// Writes the failure, changes the entry's text, and returns the error that a reader gets.
    fn read_back(error: &TokenError, rest: Duration, change: [&str; 2], now: Moment) -> TokenError {
        let answer = Answer::failed(OURS, error, rest, now).unwrap();
        let (bytes, _) = encode(answer, b"", now).unwrap();
        let [from, to] = change;
        let text = str::from_utf8(&bytes).unwrap().replace(from, to);
        match state(text.as_bytes(), OURS, None, &policy(), now) {
            Some(CredentialState::Failed(error, _)) => error,
            _ => panic!("a failure was written: {text}"),
        }
    }

    #[test]
    fn an_error_of_another_process_has_the_same_parts() {
        let oauth = OAuthError::new("invalid_scope").with_description("not for this client");
        let error = TokenError::request_refused("the server refused the request")
            .with_oauth_error(oauth.with_uri("https://login.example/errors"))
            .with_status(StatusCode::BAD_REQUEST)
            .with_host("login.example");
        let now = ManualClock::new().moment();
        let read = read_back(&error, MINUTE, ["", ""], now);
        assert_eq!(read.oauth_error(), error.oauth_error());
        assert_eq!((read.status(), read.host()), (error.status(), error.host()));
        let own = "the server refused the request";
        let marked = format!("{own} (the response to another process)");
        assert_eq!(read.message(), error.message().replace(own, &marked));
        let error = refused().with_server_message("no such client");
        let read = read_back(&error, MINUTE, ["", ""], now);
        assert_eq!(read.server_message(), error.server_message());
    }

    #[test]
    fn no_text_of_an_entry_steers_a_terminal_or_fills_a_log() {
        let now = ManualClock::new().moment();
        let hostile = format!("\\u001b[2J{}", "x".repeat(1_000_000));
        let oauth = OAuthError::new("MARK").with_description("MARK");
        let error = TokenError::request_refused("MARK")
            .with_oauth_error(oauth)
            .with_host("MARK");
        let read = read_back(&error, MINUTE, ["MARK", &hostile], now).to_string();
        assert_eq!(read.matches("\\u{1b}[2J").count(), 4, "{read}");
        assert!(!read.contains('\u{1b}') && read.len() < 1_500, "{read}");
    }

    #[test]
    fn a_failure_holds_no_longer_than_one_of_this_process() {
        let clock = ManualClock::new();
        let now = clock.moment();
        let busy = TokenError::unavailable("busy").with_retry_after(MINUTE);
        for (error, limit) in [(refused(), MINUTE), (busy, 60 * MINUTE)] {
            for rest in [limit * 2, Duration::MAX] {
                let left = read_back(&error, rest, ["", ""], now).retry_after();
                assert_eq!(left, Some(limit));
            }
            let answer = Answer::failed(OURS, &error, Duration::MAX, now).unwrap();
            let (bytes, ttl) = encode(answer, b"", now).unwrap();
            assert_eq!(ttl, MAX_LIFETIME);
            let later = ManualClock::new();
            later.advance(limit);
            assert!(state(&bytes, OURS, None, &policy(), later.moment()).is_none());
        }
    }

    #[test]
    fn clock_skew_does_not_extend_an_answer() {
        let clock = ManualClock::new();
        let bytes = after(b"", 1, true, clock.moment());
        let read = |behind: Duration| {
            let reader = ManualClock::new();
            reader.set_wall(clock.moment().wall - behind);
            is_refused(&bytes, 1, reader.moment())
        };
        assert_eq!(read(MAX_CLOCK_SKEW), Some(true));
        // This clock was set back since: an answer that has ended would hold again.
        assert_eq!(read(MAX_CLOCK_SKEW + Duration::from_millis(1)), None);
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
            assert!(state(bytes, OURS, None, &policy(), now).is_none());
            assert_eq!(decode(&after(bytes, 1, true, now)).len(), 1);
        }
    }
}
