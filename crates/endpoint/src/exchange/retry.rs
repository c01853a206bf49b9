use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use hallpass_core::TokenError;
use tokio::time::Instant;

use crate::{BuildError, transport::error};

/// A retry policy for token requests: transient failures only, with jittered exponential backoff.
///
/// A longer `Retry-After` of the server takes precedence. If a wait would exceed the deadline, the call fails at once,
/// and [`retry_after`](hallpass_core::TokenError::retry_after) returns how long to wait.
///
/// In addition to the retries, a request is sent once more, at once, if its connection is lost before a response and
/// HTTP/2 reports that the server did not process it (RFC 9113 section 8.7). An HTTP/1 server may close a pooled
/// connection as idle while the request is sent, without a report, so the same holds there for requests that do no harm
/// when they are processed twice: the client credentials grant, introspection and revocation. Any other lost connection
/// is an ordinary failure.
///
/// ```
/// use std::time::Duration;
/// use hallpass_endpoint::Retry;
///
/// let longer = Retry::new().max_retries(5).deadline(Duration::from_secs(60));
/// let never = Retry::never();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Retry {
    max_retries: usize,
    min_delay: Duration,
    max_delay: Duration,
    deadline: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_retries: 2,
            min_delay: Duration::from_millis(200),
            max_delay: Duration::from_secs(5),
            deadline: Duration::from_secs(30),
        }
    }
}

impl Retry {
    /// Creates the default policy: two retries, 200 ms and then 400 ms apart, each with up to 100 % of jitter, within
    /// 30 s.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a policy with one request per call. Nothing causes a second one: not a closed pooled connection, not
    /// credentials that were rotated after the server refused them, and not the nonce that a server demands for DPoP
    /// (RFC 9449 section 8). Rotated credentials and the nonce are used by the next call.
    ///
    /// For credentials that may be presented only once, such as another party's single-use assertion.
    pub fn never() -> Self {
        Self::default().max_retries(0)
    }

    /// Sets the maximum number of attempts after the first.
    pub fn max_retries(mut self, retries: usize) -> Self {
        self.max_retries = retries;
        self
    }

    /// Sets the first wait, before jitter; each later one is twice as long.
    pub fn min_delay(mut self, delay: Duration) -> Self {
        self.min_delay = delay;
        self
    }

    /// Sets the longest wait between two attempts, before jitter.
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// Sets the deadline of a call, attempts and waits included. A deadline of zero is refused by the builder of a source.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    pub(crate) fn check(&self) -> Result<(), BuildError> {
        BuildError::check_timeout("Retry::deadline", self.deadline)
    }

    /// Starts the deadline of a call. `idempotent`: processing its request twice does no harm.
    pub(crate) fn tries(&self, idempotent: bool) -> Attempts {
        Attempts {
            ends: Instant::now().checked_add(self.deadline),
            delays: Box::new(self.delays()),
            may_repeat: self.max_retries > 0,
            idempotent,
            reconnected: false,
        }
    }

    fn delays(&self) -> impl Iterator<Item = Duration> + Send + Sync + use<> {
        ExponentialBuilder::new()
            .with_min_delay(self.min_delay)
            .with_max_delay(self.max_delay)
            .with_max_times(self.max_retries)
            .with_jitter()
            .build()
    }
}

/// A wait that the server demanded of a client (`Retry-After`), and that a call waits for: no other call of the client
/// sends a request before its end.
#[derive(Debug, Default)]
pub(crate) struct Pause(Mutex<Option<(Instant, TokenError)>>);

impl Pause {
    /// Begins the wait of this error, unless one that ends later is in force.
    fn begin(&self, error: &TokenError) {
        let wait = error.retry_after();
        let Some(until) = wait.and_then(|wait| Instant::now().checked_add(wait)) else {
            return;
        };
        let mut pause = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if pause.as_ref().is_none_or(|(end, _)| *end < until) {
            *pause = Some((until, error.clone()));
        }
    }

    /// Returns the rest of the wait, and its error.
    fn rest(&self) -> Option<(Duration, TokenError)> {
        let mut pause = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, error) = pause.as_ref()?;
        let rest = until.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            *pause = None;
            return None;
        }
        Some((rest, error.clone()))
    }
}

/// The attempts of one call.
pub(crate) struct Attempts {
    /// `None` if there is no deadline.
    ends: Option<Instant>,
    delays: Box<dyn Iterator<Item = Duration> + Send + Sync>,
    /// False if a call sends one request, independent of the response.
    may_repeat: bool,
    idempotent: bool,
    /// True once a lost connection was replaced.
    reconnected: bool,
}

impl Attempts {
    /// Returns true if a response may lead to a second request.
    pub(crate) fn may_repeat(&self) -> bool {
        self.may_repeat
    }

    /// Returns the remaining time.
    pub(crate) fn left(&self) -> Duration {
        let left = |ends: Instant| ends.saturating_duration_since(Instant::now());
        self.ends.map_or(Duration::MAX, left)
    }

    /// Awaits the future within the remaining time, or fails with the error of `timeout_error`.
    pub(crate) async fn within<T>(
        &self,
        made: impl Future<Output = Result<T, TokenError>>,
        timeout_error: impl FnOnce() -> TokenError,
    ) -> Result<T, TokenError> {
        let made = tokio::time::timeout(self.left(), made).await;
        made.unwrap_or_else(|_| Err(timeout_error()))
    }

    /// Waits for the end of a pause, unless the call has one attempt only.
    ///
    /// # Errors
    ///
    /// The error that began the pause, if the time runs out before its end.
    pub(crate) async fn wait(&self, pause: &Pause) -> Result<(), TokenError> {
        while let Some((rest, error)) = pause.rest().filter(|_| self.may_repeat) {
            if rest >= self.left() {
                return Err(error.with_retry_after(rest));
            }
            tokio::time::sleep(rest).await;
        }
        Ok(())
    }

    /// Waits until another attempt is due after this failure; a wait that the server demands is a pause for all calls.
    ///
    /// # Errors
    ///
    /// The failure itself, if it is permanent or local, or the retries or the time run out.
    pub(crate) async fn after(
        &mut self,
        error: TokenError,
        host: &str,
        pause: &Pause,
    ) -> Result<(), TokenError> {
        if self.may_repeat && !self.reconnected && error::can_resend(&error, self.idempotent) {
            self.reconnected = true;
            return Ok(());
        }
        // Retrying a local failure would make the call wait, or ask a person, again.
        if !error.is_transient() || error.is_local() {
            return Err(error);
        }
        let Some(delay) = self.delays.next() else {
            return Err(error);
        };
        let delay = delay.max(error.retry_after().unwrap_or_default());
        if delay >= self.left() {
            return Err(error);
        }
        pause.begin(&error);
        tracing::debug!(host, %error, ?delay, "token request failed, retrying");
        tokio::time::sleep(delay).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failure_of_this_machine_is_not_retried() {
        let down = || TokenError::unavailable("down");
        let mut tries = Retry::new().tries(false);
        let pause = Pause::default();
        tries.after(down(), "a.example", &pause).await.unwrap();
        let local = down().with_local(true);
        tries.after(local, "a.example", &pause).await.unwrap_err();
    }

    // covers: F-52
    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_for_calls_that_have_the_time() {
        let second = Duration::from_secs(1);
        let (pause, start) = (Pause::default(), Instant::now());
        let limited = TokenError::unavailable("busy").with_retry_after(3 * second);
        let mut first = Retry::new().tries(true);
        let others = async {
            tokio::time::sleep(second).await;
            let once = Retry::never().tries(true);
            once.wait(&pause).await.unwrap();
            let hasty = Retry::new().deadline(second).tries(true);
            let error = hasty.wait(&pause).await.unwrap_err();
            assert_eq!(error.retry_after(), Some(2 * second));
            assert_eq!(start.elapsed(), second);
            let other = Retry::new().tries(true);
            other.wait(&pause).await.unwrap();
            assert_eq!(start.elapsed(), 3 * second);
        };
        let (first, ()) = tokio::join!(first.after(limited, "a.example", &pause), others);
        first.unwrap();
    }

    // covers: F-52
    #[tokio::test(start_paused = true)]
    async fn a_short_retry_after_does_not_shorten_the_delay() {
        let (pause, start) = (Pause::default(), Instant::now());
        let busy = TokenError::unavailable("busy").with_retry_after(Duration::ZERO);
        let mut tries = Retry::new().tries(true);
        tries.after(busy, "a.example", &pause).await.unwrap();
        assert!(start.elapsed() >= Duration::from_millis(200));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_lasts_as_long_as_its_longest_wait() {
        let pause = Pause::default();
        for seconds in [3, 5, 2] {
            let wait = Duration::from_secs(seconds);
            pause.begin(&TokenError::unavailable("busy").with_retry_after(wait));
        }
        let (rest, error) = pause.rest().unwrap();
        assert_eq!(rest, Duration::from_secs(5));
        assert_eq!(error.retry_after(), Some(rest));
    }

    #[test]
    fn delays_grow_with_jitter_and_end() {
        for _ in 0..50 {
            let delays: Vec<_> = Retry::new()
                .max_retries(6)
                .max_delay(Duration::from_secs(1))
                .delays()
                .collect();
            assert_eq!(delays.len(), 6);
            for (delay, base) in delays.iter().zip([200, 400, 800, 1_000, 1_000, 1_000]) {
                let base = Duration::from_millis(base);
                assert!(*delay >= base && *delay <= base * 2, "{delays:?}");
            }
        }
        assert_eq!(Retry::never().delays().count(), 0);
    }
}
