use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{AccessToken, Timestamp, TokenRequest};

/// The minimum time between two tokens for one token request that are dropped because of a 403.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60);
/// The maximum number of token requests that are remembered for an origin.
const MAX_REQUESTS: usize = 256;

/// The 403 responses of an origin that may stand for a refused token.
///
/// Such a response may also mean a missing permission, which no other token has. A token is therefore dropped for it at
/// most once, a token that replaced it and got a 403 too is never dropped for it, and there is at most one drop an
/// interval for each token request.
#[derive(Debug, Default)]
pub(super) struct ForbiddenResponses(Mutex<Vec<Entry>>);

/// The treatment of a token after a 403.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ForbiddenAction {
    /// The token is dropped, and another one tried.
    Drop,
    /// The token was dropped before: the current one is tried.
    Replace,
    /// The token stays.
    Keep,
}

#[derive(Debug)]
struct Entry {
    request: TokenRequest,
    dropped: AccessToken,
    at: Timestamp,
    /// The replacement, once it got a 403 too: the token is not the reason.
    permitted: Option<AccessToken>,
}

impl ForbiddenResponses {
    /// Returns the treatment of `token` after a 403. `again` is true if it replaced another one in this call.
    pub(super) fn action(
        &self,
        request: &TokenRequest,
        token: &AccessToken,
        again: bool,
        now: Timestamp,
    ) -> ForbiddenAction {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = |entry: &Entry| now.saturating_since(entry.at);
        if let Some(entry) = entries.iter_mut().find(|entry| entry.request == *request) {
            if entry.dropped.is_same(token) {
                // Of a call that began before the drop, or of a source that returns it again.
                return ForbiddenAction::Replace;
            }
            if again {
                entry.permitted = Some(token.clone());
            }
            let is_permitted = entry
                .permitted
                .as_ref()
                .is_some_and(|known| known.is_same(token));
            if is_permitted || elapsed(entry) < REFRESH_INTERVAL {
                return ForbiddenAction::Keep;
            }
        }
        if again {
            return ForbiddenAction::Keep;
        }
        entries.retain(|entry| entry.request != *request);
        if entries.len() == MAX_REQUESTS {
            let Some(oldest) = entries
                .iter()
                .position(|entry| elapsed(entry) >= REFRESH_INTERVAL)
            else {
                return ForbiddenAction::Keep;
            };
            entries.remove(oldest);
        }
        entries.push(Entry {
            request: request.clone(),
            dropped: token.clone(),
            at: now,
            permitted: None,
        });
        ForbiddenAction::Drop
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Clock as _, SystemClock};

    fn token(text: &str) -> AccessToken {
        AccessToken::bearer(text, SystemClock.moment(), Duration::from_secs(60)).unwrap()
    }

    fn scope(scope: &str) -> TokenRequest {
        TokenRequest::new().with_scopes(scope.parse().unwrap())
    }

    #[test]
    fn a_token_is_dropped_once_and_its_replacement_never() {
        let responses = ForbiddenResponses::default();
        let [first, second, third] = ["a", "b", "c"].map(token);
        let (request, start) = (scope("a"), SystemClock.now());
        let later = start.saturating_add(10 * REFRESH_INTERVAL);
        for (token, again, now, expected) in [
            (&first, false, start, ForbiddenAction::Drop),
            (&first, false, start, ForbiddenAction::Replace),
            (&second, true, start, ForbiddenAction::Keep),
            (&second, false, later, ForbiddenAction::Keep),
            // The second expired.
            (&third, false, later, ForbiddenAction::Drop),
        ] {
            assert_eq!(responses.action(&request, token, again, now), expected);
        }
    }

    #[test]
    fn calls_that_are_not_retried_drop_one_token_an_interval() {
        let responses = ForbiddenResponses::default();
        let (request, start) = (scope("a"), SystemClock.now());
        let mut dropped = 0;
        for second in 0..=120_u32 {
            // Each call has a new token at worst.
            let token = token(&format!("t{second}"));
            let now = start.saturating_add(Duration::from_secs(1) * second);
            let action = responses.action(&request, &token, false, now);
            dropped += u32::from(action == ForbiddenAction::Drop);
        }
        assert_eq!(dropped, 3);
    }

    #[test]
    fn token_requests_are_counted_alone_up_to_a_bound() {
        let responses = ForbiddenResponses::default();
        let start = SystemClock.now();
        let drop = |number: usize, text: &str, now| {
            let request = scope(&format!("s{number}"));
            responses.action(&request, &token(text), false, now) == ForbiddenAction::Drop
        };
        for number in 0..MAX_REQUESTS {
            assert!(drop(number, "a", start));
        }
        assert!(!drop(MAX_REQUESTS, "a", start));
        assert!(!drop(0, "b", start));
        assert!(drop(
            MAX_REQUESTS,
            "a",
            start.saturating_add(REFRESH_INTERVAL)
        ));
        assert_eq!(responses.0.lock().unwrap().len(), MAX_REQUESTS);
    }
}
