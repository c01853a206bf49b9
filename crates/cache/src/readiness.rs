use std::time::Duration;

use hallpass_core::{AccessToken, TokenError, TokenRequest, TokenSource};
use tokio::{
    runtime::Handle,
    task::JoinSet,
    time::{self, Instant},
};

use crate::{cache::CachedTokenSource, current::is_live};

/// The state of one token in a [`CachedTokenSource`], for a readiness probe: from
/// [`readiness`](CachedTokenSource::readiness).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Readiness {
    /// A valid token is cached.
    #[non_exhaustive]
    Ready {
        /// The rest of its lifetime.
        valid_for: Duration,
    },
    /// A valid token is cached, but its refresh fails.
    #[non_exhaustive]
    Stale {
        /// The rest of its lifetime. Afterwards callers get the failure.
        valid_for: Duration,
        /// The failure of the refresh.
        failure: OngoingFailure,
    },
    /// There is no valid token, and the last fetch failed for a reason that a retry does not solve, such as refused
    /// credentials.
    Refused(OngoingFailure),
    /// There is no valid token, and the last fetch failed for a reason that may pass, such as a server that cannot be
    /// reached.
    Unavailable(OngoingFailure),
    /// There is no valid token and no failure: the next call fetches.
    Missing,
}

/// A failure to get a token that lasts.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OngoingFailure {
    /// The latest error. It contains no secret.
    pub error: TokenError,
    /// The time since the first of the consecutive failures.
    pub failing_for: Duration,
}

impl Readiness {
    /// Returns true if a call gets a token at once.
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready { .. } | Self::Stale { .. })
    }

    /// Returns the failure, if there is one.
    pub fn failure(&self) -> Option<&OngoingFailure> {
        match self {
            Self::Stale { failure, .. } | Self::Refused(failure) | Self::Unavailable(failure) => {
                Some(failure)
            }
            Self::Ready { .. } | Self::Missing => None,
        }
    }

    /// Returns a fixed word for the state, for the response of a probe or the label of a metric.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Ready { .. } => "ready",
            Self::Stale { .. } => "stale",
            Self::Refused(_) => "refused",
            Self::Unavailable(_) => "unavailable",
            Self::Missing => "missing",
        }
    }
}

impl<S: TokenSource + 'static> CachedTokenSource<S> {
    /// Returns the state of this request's token: at once, without I/O, and without starting a fetch.
    ///
    /// ```
    /// use hallpass_cache::CachedTokenSource;
    /// use hallpass_core::{TokenError, TokenRequest, TokenSourceExt};
    /// # use hallpass_testkit::ScriptedSource;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let source = ScriptedSource::new([Err(TokenError::unavailable("the server is down"))]);
    /// let tokens = CachedTokenSource::new(source);
    /// let request = TokenRequest::default();
    /// assert_eq!(tokens.readiness(&request).as_str(), "missing");
    /// let _ = tokens.access_token(&request).await;
    /// assert_eq!(tokens.readiness(&request).as_str(), "unavailable");
    /// # }
    /// ```
    pub fn readiness(&self, request: &TokenRequest) -> Readiness {
        let now = self.shared.clock.now();
        let Some(slot) = self.shared.known_slot(request) else {
            return Readiness::Missing;
        };
        let (token, failure) = slot.snapshot();
        let failure = failure.map(|failure| OngoingFailure {
            error: failure.repeated(now),
            failing_for: now.saturating_since(failure.since),
        });
        let valid_for = |token: AccessToken| token.deadline().saturating_since(now);
        let token = token.filter(|token| is_live(token, now)).map(valid_for);
        match (token, failure) {
            (Some(valid_for), None) => Readiness::Ready { valid_for },
            (Some(valid_for), Some(failure)) => Readiness::Stale { valid_for, failure },
            (None, Some(failure)) if failure.error.is_transient() => {
                Readiness::Unavailable(failure)
            }
            (None, Some(failure)) => Readiness::Refused(failure),
            (None, None) => Readiness::Missing,
        }
    }

    /// Fetches the tokens of these requests in parallel, and returns when all are cached: for the start of a service, and
    /// for a probe of one that is not ready.
    ///
    /// Transient failures are retried within the timeout, as soon as the back-off or a `Retry-After` allows.
    ///
    /// ```
    /// use std::time::Duration;
    /// use hallpass_cache::CachedTokenSource;
    /// use hallpass_core::TokenRequest;
    /// # use hallpass_testkit::StaticSource;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let source = StaticSource::new("fake");
    /// let tokens = CachedTokenSource::new(source);
    /// let requests = [TokenRequest::default(), TokenRequest::new().with_audience("billing")?];
    /// tokens.warm_up(requests.clone(), Duration::from_secs(30)).await?;
    /// assert!(requests.iter().all(|request| tokens.readiness(request).is_ready()));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The first error that a retry does not solve, at once; the last transient one if its retry would not be in time; or
    /// an error of kind [`Unavailable`](hallpass_core::ErrorKind::Unavailable) after the timeout.
    ///
    /// # Cancellation
    ///
    /// Fetches in progress continue, also after the timeout or an error, and their tokens are cached.
    pub async fn warm_up(
        &self,
        requests: impl IntoIterator<Item = TokenRequest>,
        timeout: Duration,
    ) -> Result<(), TokenError> {
        let began = Instant::now();
        let mut fetches = JoinSet::new();
        for request in requests {
            if self.ready_token(&request).is_some() {
                continue;
            }
            if Handle::try_current().is_err() {
                // It fails, and says why.
                return self.token(&request).await.map(drop);
            }
            let cache = self.share();
            fetches.spawn(async move { cache.fetch_within(&request, began, timeout).await });
        }
        while let Some(fetch) = fetches.join_next().await {
            // The cache catches panics of its source.
            fetch.map_err(|_| TokenError::unavailable("the tokio runtime shut down"))??;
        }
        Ok(())
    }

    async fn fetch_within(
        &self,
        request: &TokenRequest,
        began: Instant,
        timeout: Duration,
    ) -> Result<(), TokenError> {
        let mut last = None;
        loop {
            let left = timeout.saturating_sub(began.elapsed());
            let error = match time::timeout(left, self.token(request)).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) if !error.is_transient() => return Err(error),
                Ok(Err(error)) => error,
                Err(_) => return Err(last.unwrap_or_else(|| too_slow(timeout))),
            };
            let pause = error.retry_after().unwrap_or_default();
            let pause = pause.max(self.shared.policy.min_interval);
            if pause > timeout.saturating_sub(began.elapsed()) {
                return Err(error);
            }
            last = Some(error);
            time::sleep(pause).await;
        }
    }
}

fn too_slow(timeout: Duration) -> TokenError {
    TokenError::unavailable(format!("the token was not fetched within {timeout:?}"))
}
