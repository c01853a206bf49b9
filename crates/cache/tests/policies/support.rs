//! A source that mints tokens by the test's clock, and helpers for the tests.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use hallpass_cache::{CacheBuilder, CachedTokenSource};
use hallpass_core::{AccessToken, Clock, Timestamp, TokenError, TokenRequest, TokenSource};
use hallpass_testkit::{Gate, ManualClock, TokioClock};
use tokio::task::JoinHandle;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

/// The source's response to a fetch.
#[derive(Clone)]
pub(crate) enum Answer {
    /// A new token with this lifetime.
    New(Duration),
    /// The same token each time, with this lifetime.
    Same(Duration),
    /// A new token with this lifetime, and the advice to refresh it after the second duration.
    Advised(Duration, Duration),
    Fail(TokenError),
    Panic,
    Hang,
}

/// A source that mints `t1`, `t2` and so on; clones share their counts.
#[derive(Clone)]
pub(crate) struct Mint(Arc<Inner>);

struct Inner {
    clock: TokioClock,
    answers: Mutex<VecDeque<Answer>>,
    latency: Mutex<Duration>,
    gate: Mutex<Option<Gate>>,
    calls: AtomicUsize,
    epoch: AtomicU64,
    digest: Mutex<Option<[u8; 32]>>,
    asked_at: Mutex<Vec<Timestamp>>,
    invalidated: AtomicUsize,
}

impl Mint {
    /// Creates a source with these responses in order; the last one repeats.
    pub(crate) fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self(Arc::new(Inner {
            clock: TokioClock::new(),
            answers: Mutex::new(answers.into_iter().collect()),
            latency: Mutex::new(Duration::ZERO),
            gate: Mutex::new(None),
            calls: AtomicUsize::new(0),
            epoch: AtomicU64::new(0),
            digest: Mutex::new(None),
            asked_at: Mutex::default(),
            invalidated: AtomicUsize::new(0),
        }))
    }

    /// Creates a source of new tokens of one hour.
    pub(crate) fn hourly() -> Self {
        Self::new([Answer::New(HOUR)])
    }

    pub(crate) fn latency(self, latency: Duration) -> Self {
        *self.0.latency.lock().unwrap() = latency;
        self
    }

    /// Makes fetches wait at a gate from now on.
    pub(crate) fn close(&self) -> Gate {
        let gate = Gate::new();
        *self.0.gate.lock().unwrap() = Some(gate.clone());
        gate
    }

    /// Sets the responses to the next fetches.
    pub(crate) fn then(&self, answers: impl IntoIterator<Item = Answer>) {
        *self.0.answers.lock().unwrap() = answers.into_iter().collect();
    }

    /// Sets the digest of the credentials, by which failures are shared.
    pub(crate) fn digest(self, digest: u8) -> Self {
        self.set_digest(digest);
        self
    }

    pub(crate) fn set_digest(&self, digest: u8) {
        *self.0.digest.lock().unwrap() = Some([digest; 32]);
    }

    pub(crate) fn rotate(&self) {
        self.0.epoch.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn calls(&self) -> usize {
        self.0.calls.load(Ordering::SeqCst)
    }

    /// Returns the time between consecutive fetches.
    pub(crate) fn gaps(&self) -> Vec<Duration> {
        let asked = self.0.asked_at.lock().unwrap();
        let pairs = asked.windows(2);
        pairs
            .map(|pair| pair[1].saturating_since(pair[0]))
            .collect()
    }

    pub(crate) fn invalidated(&self) -> usize {
        self.0.invalidated.load(Ordering::SeqCst)
    }

    pub(crate) fn clock(&self) -> TokioClock {
        self.0.clock.clone()
    }

    pub(crate) fn cached(&self) -> CachedTokenSource<Self> {
        self.builder().build()
    }

    pub(crate) fn builder(&self) -> CacheBuilder<Self> {
        CachedTokenSource::builder(self.clone()).clock(self.clock())
    }
}

#[async_trait]
impl TokenSource for Mint {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        let number = self.0.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let asked = self.0.clock.moment();
        self.0.asked_at.lock().unwrap().push(asked.timestamp);
        let answer = {
            let mut answers = self.0.answers.lock().unwrap();
            if answers.len() > 1 {
                answers.pop_front()
            } else {
                answers.front().cloned()
            }
        };
        let gate = self.0.gate.lock().unwrap().clone();
        if let Some(gate) = gate {
            gate.pass().await;
        }
        let latency = *self.0.latency.lock().unwrap();
        tokio::time::sleep(latency).await;
        let (name, lifetime) = match answer.expect("an answer") {
            Answer::New(lifetime) => (format!("t{number}"), lifetime),
            Answer::Same(lifetime) => ("same".to_owned(), lifetime),
            Answer::Advised(lifetime, advice) => {
                let token = AccessToken::bearer(&format!("t{number}"), asked, lifetime)?;
                return Ok(token.with_refresh_in(advice));
            }
            Answer::Fail(error) => return Err(error),
            Answer::Panic => panic!("the source's own words"),
            Answer::Hang => std::future::pending().await,
        };
        Ok(AccessToken::bearer(&name, asked, lifetime)?)
    }

    fn invalidate(&self, _: &AccessToken) {
        self.0.invalidated.fetch_add(1, Ordering::SeqCst);
    }

    async fn credential_digest(&self) -> Option<[u8; 32]> {
        *self.0.digest.lock().unwrap()
    }

    fn credential_epoch(&self) -> u64 {
        self.0.epoch.load(Ordering::SeqCst)
    }
}

/// A source on a clock that the test sets, which tokio's time does not follow.
pub(crate) struct Manual(ManualClock, AtomicUsize);

#[async_trait]
impl TokenSource for Manual {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        let number = self.1.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(AccessToken::bearer(
            &format!("t{number}"),
            self.0.moment(),
            HOUR,
        )?)
    }
}

impl Manual {
    pub(crate) fn cached() -> (ManualClock, CachedTokenSource<Self>) {
        let (clock, builder) = Self::builder();
        (clock, builder.build())
    }

    pub(crate) fn builder() -> (ManualClock, CacheBuilder<Self>) {
        let clock = ManualClock::new();
        let source = Self(clock.clone(), AtomicUsize::new(0));
        (
            clock.clone(),
            CachedTokenSource::builder(source).clock(clock),
        )
    }
}

/// Requests the default token.
pub(crate) async fn ask(source: &impl TokenSource) -> Result<AccessToken, TokenError> {
    source.token(&TokenRequest::default()).await
}

/// Requests the default token in a task of its own.
pub(crate) fn spawn_ask(
    source: &Arc<impl TokenSource + 'static>,
) -> JoinHandle<Result<AccessToken, TokenError>> {
    let source = source.clone();
    tokio::spawn(async move { ask(&*source).await })
}

/// Returns the default token's text.
pub(crate) async fn name(source: &impl TokenSource) -> String {
    ask(source).await.expect("a token").expose().to_owned()
}

/// Starts this many callers of the default token; each is waiting when this returns.
pub(crate) async fn callers<S: TokenSource + 'static>(
    source: &Arc<CachedTokenSource<S>>,
    count: usize,
) -> tokio::task::JoinSet<Result<AccessToken, TokenError>> {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..count {
        let source = source.clone();
        tasks.spawn(async move { ask(&*source).await });
    }
    while source.stats().waiters < count {
        tokio::task::yield_now().await;
    }
    tasks
}

/// Returns a key other than the default one.
pub(crate) fn key(scope: impl std::fmt::Display) -> TokenRequest {
    TokenRequest::new().with_scopes(scope.to_string().parse().unwrap())
}

/// Runs the ready tasks, without advancing time.
pub(crate) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

pub(crate) fn down() -> Answer {
    Answer::Fail(TokenError::unavailable("the server is down"))
}

pub(crate) fn refused() -> Answer {
    Answer::Fail(TokenError::credentials_refused("the secret is wrong"))
}
