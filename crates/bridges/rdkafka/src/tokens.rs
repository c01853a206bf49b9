use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use hallpass_core::{AccessToken, Clock as _, SystemClock, TokenError, TokenRequest, TokenSource};
use rdkafka::{
    client::OAuthToken,
    error::{KafkaError, RDKafkaErrorCode},
};
use tokio::runtime::Handle;

use crate::fetch::{Fetch, lock};

const TIMEOUT: Duration = Duration::from_secs(1);
const REFRESH_INTERVAL: Duration = Duration::from_secs(10);

/// librdkafka looks once per second whether it needs a token.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_secs(1);
const MAX_REFRESH_INTERVAL: Duration = Duration::from_secs(3_600);

/// Part of the reason that librdkafka gives if a broker refused a token. A failed refresh has the same error code.
const REFUSAL: &str = "SASL authentication error: ";

/// The tokens of a source, for one Kafka client.
///
/// A [`TokenContext`](crate::TokenContext) is a client's context with them. A context of your own, such as one with
/// rebalance callbacks, has a field of this type and calls two of its methods:
///
/// ```
/// use std::error::Error;
///
/// use hallpass_rdkafka::KafkaTokens;
/// use rdkafka::{ClientContext, client::OAuthToken, consumer::ConsumerContext, error::KafkaError};
///
/// struct Context {
///     tokens: KafkaTokens,
/// }
///
/// impl ClientContext for Context {
///     const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;
///
///     fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
///         Ok(self.tokens.oauth_token()?)
///     }
///
///     fn error(&self, error: KafkaError, reason: &str) {
///         self.tokens.handle_error(&error, reason);
///     }
/// }
///
/// impl ConsumerContext for Context {}
/// ```
///
/// The source should be a cache: librdkafka asks for a token once per [refresh interval](Self::refresh_interval).
///
/// # Cancellation
///
/// Dropping it cancels its fetch.
pub struct KafkaTokens {
    source: Arc<dyn TokenSource>,
    request: TokenRequest,
    runtime: Handle,
    principal: String,
    timeout: Duration,
    refresh_interval: Duration,
    state: Mutex<State>,
    /// The last fetch, until a call has its answer.
    fetch: Mutex<Option<Arc<Fetch>>>,
}

#[derive(Default)]
struct State {
    /// The token that librdkafka has, until a broker refuses it.
    given: Option<AccessToken>,
    error: Option<TokenError>,
}

impl KafkaTokens {
    /// Creates tokens from this source, which are fetched on `runtime`.
    pub fn new(source: impl TokenSource + 'static, runtime: Handle) -> Self {
        Self {
            source: Arc::new(source),
            request: TokenRequest::new(),
            runtime,
            principal: "hallpass".to_owned(),
            timeout: TIMEOUT,
            refresh_interval: REFRESH_INTERVAL,
            state: Mutex::default(),
            fetch: Mutex::new(None),
        }
    }

    /// Sets the token request, with the cluster's scope for example.
    #[must_use]
    pub fn request(mut self, request: TokenRequest) -> Self {
        self.request = request;
        self
    }

    /// Sets the principal's name in librdkafka's messages. Default: `hallpass`.
    ///
    /// It is not sent to a broker, which reads the principal from the token. It is not read from the token here, since
    /// access tokens are opaque to clients (RFC 6749 section 1.4).
    #[must_use]
    pub fn principal(mut self, name: impl Into<String>) -> Self {
        self.principal = name.into();
        self
    }

    /// Sets how long [`oauth_token`](Self::oauth_token) waits for a fetch. Default: 1 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the time after which librdkafka asks for a token again, between 1 s and 1 hour. Default: 10 s. librdkafka may
    /// be 1 s late.
    ///
    /// A refreshed token, or the successor of a refused one, is used by new connections after this time at the latest.
    #[must_use]
    pub fn refresh_interval(mut self, interval: Duration) -> Self {
        self.refresh_interval = interval.clamp(MIN_REFRESH_INTERVAL, MAX_REFRESH_INTERVAL);
        self
    }

    /// Returns a token for librdkafka: a cached one at once, otherwise one that is fetched within the
    /// [timeout](Self::timeout).
    ///
    /// A fetch continues in the background after the timeout, and the next call joins it, or returns its error. On a thread with a current
    /// tokio runtime, the call does not wait: it may be a thread that runs async tasks.
    ///
    /// The reported lifetime ends at the token's expiry or 1.25 [refresh intervals](Self::refresh_interval) from now,
    /// whichever is earlier. librdkafka uses it only to decide when to ask again: after 80 % of it.
    ///
    /// # Errors
    ///
    /// The source's errors, and:
    ///
    /// - kind [`Configuration`](hallpass_core::ErrorKind::Configuration) for a token that is bound to a key (DPoP);
    /// - kind [`Unavailable`](hallpass_core::ErrorKind::Unavailable) after the timeout, or if the runtime was shut down.
    ///
    /// If rdkafka's callback returns an error, librdkafka keeps the token that it has, and asks again after 10 s.
    pub fn oauth_token(&self) -> Result<OAuthToken, TokenError> {
        let answer = self.token().and_then(|token| {
            let oauth_token = self.convert(&token)?;
            Ok((token, oauth_token))
        });
        let mut state = self.state();
        match answer {
            Ok((token, oauth_token)) => {
                *state = State {
                    given: Some(token),
                    error: None,
                };
                Ok(oauth_token)
            }
            Err(error) => {
                state.error = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Invalidates the last token if this error is a broker's refusal of it, and starts to fetch another one. Other errors
    /// are ignored.
    ///
    /// librdkafka reports no identical error of a broker within 30 s.
    pub fn handle_error(&self, error: &KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        if code != Some(RDKafkaErrorCode::Authentication) || !reason.contains(REFUSAL) {
            return;
        }
        // One refusal per token: each broker reports its own.
        let Some(refused) = self.state().given.take() else {
            return;
        };
        let _context = self.runtime.enter();
        self.source.invalidate(&refused);
        if self.source.ready_token(&self.request).is_none() {
            let mut fetch = lock(&self.fetch);
            // A late answer may be the refused token.
            take_answer(&mut fetch);
            fetch.get_or_insert_with(|| self.start());
        }
    }

    /// Returns the error of the last [`oauth_token`](Self::oauth_token), with its kind and its hint; `None` if it
    /// succeeded. rdkafka itself reports the error's text only.
    pub fn last_error(&self) -> Option<TokenError> {
        self.state().error.clone()
    }

    fn token(&self) -> Result<AccessToken, TokenError> {
        // A hit past the cache's refresh point starts a task.
        let context = self.runtime.enter();
        let ready = self.source.ready_token(&self.request);
        drop(context);
        if let Some(token) = ready {
            *lock(&self.fetch) = None;
            return Ok(token);
        }
        let timeout = if Handle::try_current().is_ok() {
            Duration::ZERO
        } else {
            self.timeout
        };
        let mut current = lock(&self.fetch);
        // The answer to an earlier call, which did not wait for it.
        let failure = match take_answer(&mut current) {
            // By the clock that no one sets.
            Some(Ok(token)) if !token.is_expired(SystemClock.now()) => return Ok(token),
            Some(Err(error)) => Some(error),
            _ => None,
        };
        let fetch = current.get_or_insert_with(|| self.start()).clone();
        drop(current);
        let Some(answer) = fetch.wait(timeout) else {
            return Err(failure.unwrap_or_else(pending));
        };
        lock(&self.fetch).take_if(|current| Arc::ptr_eq(current, &fetch));
        answer
    }

    fn start(&self) -> Arc<Fetch> {
        let fetch = Fetch::start(&self.runtime, self.source.clone(), self.request.clone());
        Arc::new(fetch)
    }

    fn convert(&self, token: &AccessToken) -> Result<OAuthToken, TokenError> {
        token.require_bearer()?;
        let interval = self.refresh_interval.mul_f64(1.25);
        // By the clock that no one sets: the wall clock may have been set since the token was issued.
        let left = token.deadline().saturating_since(SystemClock.now());
        let lifetime = left.clamp(MIN_REFRESH_INTERVAL, interval);
        let end = (SystemTime::now() + lifetime)
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Ok(OAuthToken {
            token: token.expose().to_owned(),
            principal_name: self.principal.clone(),
            lifetime_ms: i64::try_from(end.as_millis()).unwrap_or(i64::MAX),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl fmt::Debug for KafkaTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaTokens")
            .field("request", &self.request)
            .field("principal", &self.principal)
            .field("timeout", &self.timeout)
            .field("refresh_interval", &self.refresh_interval)
            .finish_non_exhaustive()
    }
}

/// Takes the answer of a fetch that has ended.
fn take_answer(fetch: &mut Option<Arc<Fetch>>) -> Option<Result<AccessToken, TokenError>> {
    let answer = fetch.as_ref()?.wait(Duration::ZERO)?;
    *fetch = None;
    Some(answer)
}

#[cold]
fn pending() -> TokenError {
    TokenError::unavailable("no access token was fetched in time; the fetch continues")
        .with_hint("fetch a token before you create the Kafka client, or set a longer timeout")
}
