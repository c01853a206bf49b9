use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use hallpass_core::{
    AccessToken, Clock, ErrorKind, SystemClock, TokenError, TokenRequest, TokenSource,
};

/// A token source for tests of code that uses tokens: no server and no cache; clones share their state.
///
/// It behaves as a cached source does: it returns the same token, `fake-1`, until that expires or is refused, and then
/// the next one.
///
/// ```
/// use std::time::Duration;
/// use hallpass_core::{ErrorKind, TokenRequest, TokenSource, TokenSourceExt};
/// use hallpass_testkit::{FakeTokens, ManualClock};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let request = TokenRequest::default();
///
/// let tokens = FakeTokens::valid();
/// let token = tokens.access_token(&request).await?;
/// assert_eq!(token.header_value(), "Bearer fake-1");
/// tokens.invalidate(&token);
/// assert_eq!(tokens.access_token(&request).await?.header_value(), "Bearer fake-2");
///
/// let clock = ManualClock::new();
/// let tokens = FakeTokens::expired_after(Duration::from_secs(60)).clock(clock.clone());
/// assert_eq!(tokens.access_token(&request).await?.header_value(), "Bearer fake-1");
/// clock.advance(Duration::from_secs(60));
/// assert!(tokens.ready_token(&request).is_none());
///
/// let tokens = FakeTokens::failing(ErrorKind::Unavailable);
/// assert!(tokens.access_token(&request).await.unwrap_err().is_transient());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FakeTokens {
    /// The lifetime of each token, or the kind of each failure.
    result: Result<Duration, ErrorKind>,
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    calls: usize,
    tokens: usize,
    current: Option<AccessToken>,
}

impl FakeTokens {
    /// Creates a source of tokens that never expire.
    pub fn valid() -> Self {
        Self::expired_after(Duration::MAX)
    }

    /// Creates a source of tokens that expire after `lifetime`. The next call then gets a new token.
    pub fn expired_after(lifetime: Duration) -> Self {
        Self::new(Ok(lifetime))
    }

    /// Creates a source whose calls fail with an error of this kind, which is transient for
    /// [`ErrorKind::Unavailable`] only.
    pub fn failing(kind: ErrorKind) -> Self {
        Self::new(Err(kind))
    }

    fn new(result: Result<Duration, ErrorKind>) -> Self {
        Self {
            result,
            clock: Arc::new(SystemClock),
            state: Arc::default(),
        }
    }

    /// Sets the clock by which tokens expire, such as a [`ManualClock`](crate::ManualClock). Default: the system's.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Returns the number of calls that found no token: those that would send a request with a real source.
    pub fn calls(&self) -> usize {
        self.with_state(|state| state.calls)
    }

    fn with_state<T>(&self, use_it: impl FnOnce(&mut State) -> T) -> T {
        use_it(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl TokenSource for FakeTokens {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        if let Some(token) = self.ready_token(request) {
            return Ok(token);
        }
        self.with_state(|state| {
            state.calls += 1;
            let lifetime = self
                .result
                .map_err(|kind| TokenError::new(kind, "a fake failure"))?;
            state.tokens += 1;
            let text = format!("fake-{}", state.tokens);
            let token = AccessToken::bearer(&text, self.clock.moment(), lifetime)?
                .with_scopes(request.scopes().clone());
            state.current = Some(token.clone());
            Ok(token)
        })
    }

    fn ready_token(&self, _: &TokenRequest) -> Option<AccessToken> {
        let now = self.clock.now();
        let current = self.with_state(|state| state.current.clone());
        current.filter(|token| !token.is_expired(now))
    }

    fn invalidate(&self, token: &AccessToken) {
        self.with_state(|state| {
            if state
                .current
                .as_ref()
                .is_some_and(|current| current.is_same(token))
            {
                state.current = None;
            }
        });
    }
}

impl fmt::Debug for FakeTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeTokens")
            .field("result", &self.result)
            .field("calls", &self.calls())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use hallpass_core::TokenSourceExt as _;

    use super::*;
    use crate::ManualClock;

    async fn name(tokens: &FakeTokens) -> String {
        let token = tokens.access_token(&TokenRequest::default()).await;
        token.unwrap().expose().to_owned()
    }

    #[tokio::test]
    async fn a_valid_fake_returns_one_token_until_it_is_refused() {
        let tokens = FakeTokens::valid();
        assert_eq!(
            (name(&tokens).await, name(&tokens).await),
            ("fake-1".into(), "fake-1".into())
        );
        assert_eq!(tokens.calls(), 1);
        let request = TokenRequest::default();
        let refused = tokens.ready_token(&request).unwrap();
        tokens.invalidate(&refused);
        assert!(tokens.ready_token(&request).is_none());
        assert_eq!(name(&tokens).await, "fake-2");
        // A late report of the old token changes nothing.
        tokens.invalidate(&refused);
        assert_eq!((name(&tokens).await, tokens.calls()), ("fake-2".into(), 2));
    }

    #[tokio::test]
    async fn an_expired_fake_is_replaced() {
        let minute = Duration::from_secs(60);
        let clock = ManualClock::new();
        let tokens = FakeTokens::expired_after(minute).clock(clock.clone());
        assert_eq!(name(&tokens).await, "fake-1");
        clock.advance(minute.saturating_sub(Duration::from_nanos(1)));
        assert_eq!(name(&tokens).await, "fake-1");
        clock.advance(Duration::from_nanos(1));
        assert_eq!(name(&tokens).await, "fake-2");
    }

    #[tokio::test]
    async fn a_failing_fake_fails_with_its_kind() {
        for (kind, transient) in [
            (ErrorKind::Unavailable, true),
            (ErrorKind::CredentialsRefused, false),
            (ErrorKind::RequestRefused, false),
        ] {
            let tokens = FakeTokens::failing(kind);
            let error = tokens
                .access_token(&TokenRequest::default())
                .await
                .unwrap_err();
            assert_eq!((error.kind(), error.is_transient()), (kind, transient));
            assert_eq!(tokens.calls(), 1);
        }
    }
}
