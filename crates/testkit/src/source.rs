use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use hallpass_core::{AccessToken, Clock as _, SystemClock, TokenError, TokenRequest, TokenSource};
use tokio::sync::watch;

/// A source that returns the same token to every caller, and holds none: each call is a fetch.
///
/// ```
/// use hallpass_core::{TokenRequest, TokenSource};
/// use hallpass_testkit::StaticSource;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let source = StaticSource::new("fake");
/// let token = source.token(&TokenRequest::default()).await?;
/// assert_eq!(token.header_value(), "Bearer fake");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct StaticSource(AccessToken);

impl StaticSource {
    /// Creates a source that returns this token for every request: an [`AccessToken`], or the text of a bearer token
    /// that never expires.
    ///
    /// # Panics
    ///
    /// If the text is empty or has a character that no token may have.
    pub fn new(token: impl Into<Self>) -> Self {
        token.into()
    }
}

impl From<AccessToken> for StaticSource {
    fn from(token: AccessToken) -> Self {
        Self(token)
    }
}

impl From<&str> for StaticSource {
    /// Panics as [`StaticSource::new`] does.
    fn from(token: &str) -> Self {
        let token = AccessToken::bearer(token, SystemClock.moment(), Duration::MAX);
        Self(token.expect("a token in visible ASCII"))
    }
}

#[async_trait]
impl TokenSource for StaticSource {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        Ok(self.0.clone())
    }
}

/// A source that follows a script: the n-th call returns the n-th result, and the last one repeats.
///
/// With a [`Gate`] each call waits until the gate is open.
#[derive(Clone)]
pub struct ScriptedSource(Arc<Script>);

struct Script {
    results: Mutex<VecDeque<Result<AccessToken, TokenError>>>,
    calls: AtomicUsize,
    gate: Option<Gate>,
}

impl ScriptedSource {
    /// Creates a source that returns these results in turn.
    ///
    /// # Panics
    ///
    /// If there are none.
    pub fn new(results: impl IntoIterator<Item = Result<AccessToken, TokenError>>) -> Self {
        Self::build(results, None)
    }

    /// Creates a source that returns these results in turn, each once `gate` is open.
    ///
    /// # Panics
    ///
    /// If there are none.
    pub fn gated(
        results: impl IntoIterator<Item = Result<AccessToken, TokenError>>,
        gate: Gate,
    ) -> Self {
        Self::build(results, Some(gate))
    }

    fn build(
        results: impl IntoIterator<Item = Result<AccessToken, TokenError>>,
        gate: Option<Gate>,
    ) -> Self {
        let results: VecDeque<_> = results.into_iter().collect();
        assert!(!results.is_empty(), "a script needs a result to yield");
        Self(Arc::new(Script {
            results: Mutex::new(results),
            calls: AtomicUsize::new(0),
            gate,
        }))
    }

    /// Returns the number of calls that began.
    pub fn calls(&self) -> usize {
        self.0.calls.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for ScriptedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedSource")
            .field("calls", &self.calls())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl TokenSource for ScriptedSource {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        if let Some(gate) = &self.0.gate {
            gate.pass().await;
        }
        let mut results = self
            .0
            .results
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if results.len() > 1 {
            // More than one, so that there is a first.
            return results.pop_front().expect("more than one result");
        }
        results[0].clone()
    }
}

/// A gate that holds tasks back until all of them have arrived: for tests that assert concurrency exactly.
///
/// ```
/// use hallpass_testkit::Gate;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let gate = Gate::new();
/// let tasks: Vec<_> = (0..3)
///     .map(|_| {
///         let gate = gate.clone();
///         tokio::spawn(async move { gate.pass().await })
///     })
///     .collect();
/// gate.arrived(3).await;
/// gate.open();
/// for task in tasks {
///     task.await.unwrap();
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Gate(Arc<watch::Sender<(usize, bool)>>);

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// Creates a closed gate.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new((0, false))))
    }

    /// Arrives at the gate and waits until it is open.
    pub async fn pass(&self) {
        self.0.send_modify(|(arrived, _)| *arrived += 1);
        self.until(|&(_, open)| open).await;
    }

    /// Waits until at least `count` have arrived.
    pub async fn arrived(&self, count: usize) {
        self.until(|&(arrived, _)| arrived >= count).await;
    }

    /// Lets every task through from now on.
    pub fn open(&self) {
        self.0.send_modify(|(_, open)| *open = true);
    }

    async fn until(&self, condition: impl FnMut(&(usize, bool)) -> bool) {
        // The sender lives as long as `self`: the wait cannot fail.
        let _ = self.0.subscribe().wait_for(condition).await;
    }
}
