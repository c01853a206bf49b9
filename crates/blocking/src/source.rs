use std::{fmt, io, sync::Arc, time::Duration};

use hallpass_core::{AccessToken, TokenError, TokenRequest, TokenSource};

use crate::driver::{Driver, Hook, ThreadScope};

const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// A token source for threads that may block.
///
/// It has a thread with a tokio runtime, on which the async source fetches and refreshes tokens. Build one when the
/// program starts; a clone costs one reference count and shares the thread.
///
/// ```
/// use hallpass_blocking::BlockingTokenSource;
/// use hallpass_core::TokenRequest;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let source = hallpass_testkit::StaticSource::new("fake");
/// let tokens = BlockingTokenSource::new(source)?;
/// let token = tokens.token(&TokenRequest::default())?;
/// assert_eq!(token.header_value(), "Bearer fake");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct BlockingTokenSource(Arc<Inner>);

struct Inner {
    // Dropped first: the thread ends before the source.
    driver: Driver,
    source: Arc<dyn TokenSource>,
}

impl BlockingTokenSource {
    /// Creates a source that takes its tokens from `source`, and starts its thread. `source` should be a cache.
    ///
    /// # Errors
    ///
    /// The operating system's error if it starts no thread or no event queue.
    pub fn new(source: impl TokenSource + 'static) -> io::Result<Self> {
        Self::builder(source).build()
    }

    /// Creates a builder, for a source with work to do before the shutdown.
    pub fn builder(source: impl TokenSource + 'static) -> BlockingTokenSourceBuilder {
        BlockingTokenSourceBuilder {
            source: Arc::new(source),
            hook: None,
            scope: None,
            timeout: SHUTDOWN_TIMEOUT,
        }
    }

    /// Returns a token that is valid now for `request`. A cached token is returned at once; otherwise the thread waits.
    ///
    /// The source's own timeouts bound the wait.
    ///
    /// # Errors
    ///
    /// The source's errors, and:
    ///
    /// - kind [`Configuration`](hallpass_core::ErrorKind::Configuration) on a thread that runs async tasks, whether a
    ///   token is cached or not, and after a fork;
    /// - kind [`Unavailable`](hallpass_core::ErrorKind::Unavailable) after [`shutdown`](Self::shutdown).
    #[inline]
    pub fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        Driver::check_thread()?;
        if let Some(token) = self.ready_token(request) {
            return Ok(token);
        }
        self.run(self.0.source.token(request))
    }

    /// Returns a token without waiting, if one is cached. It may be called on any thread.
    #[inline]
    pub fn ready_token(&self, request: &TokenRequest) -> Option<AccessToken> {
        // A hit past the refresh point starts a task.
        let _context = self.0.driver.enter();
        self.0.source.ready_token(request)
    }

    /// Drops `token` if it is the current one, because a resource server refused it; the next call fetches.
    pub fn invalidate(&self, token: &AccessToken) {
        // A shared store removes it in a task.
        let _context = self.0.driver.enter();
        self.0.source.invalidate(token);
    }

    /// Returns the async source, such as for an [`Authorizer`](hallpass_core::authorize::Authorizer).
    pub fn source(&self) -> Arc<dyn TokenSource> {
        self.0.source.clone()
    }

    /// Calls `f` with the runtime of the source's thread as the current one: tasks, timers and connections that it creates
    /// belong to it.
    pub fn with_runtime<T>(&self, f: impl FnOnce() -> T) -> T {
        let _context = self.0.driver.enter();
        f()
    }

    /// Polls `future` on the thread that polls this one, with the runtime of the source's thread as the current one, as
    /// in [`with_runtime`](Self::with_runtime). For async code that may run outside of a runtime, such as an exporter that
    /// a thread of its own calls.
    ///
    /// # Errors
    ///
    /// Those of `future`, and errors of the source:
    ///
    /// - kind [`Configuration`](hallpass_core::ErrorKind::Configuration) after a fork;
    /// - kind [`Unavailable`](hallpass_core::ErrorKind::Unavailable) after [`shutdown`](Self::shutdown), also if it was
    ///   called while `future` was in progress.
    ///
    /// # Cancellation
    ///
    /// Dropping the returned future drops `future`, with the runtime as the current one too.
    pub async fn in_runtime<T, E: From<TokenError>>(
        &self,
        future: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.0.driver.in_runtime(future).await
    }

    /// Ends the calls in progress with an error, completes the work of
    /// [`on_shutdown`](BlockingTokenSourceBuilder::on_shutdown), and ends the thread. Dropping the last clone does the
    /// same.
    ///
    /// Returns true if all of this ended within the [timeout](BlockingTokenSourceBuilder::shutdown_timeout), and false at
    /// once in a forked process. Cached tokens are still returned afterwards, until they expire.
    pub fn shutdown(&self) -> bool {
        self.0.driver.shutdown()
    }

    #[cfg(any(feature = "reqwest", feature = "ureq"))]
    pub(crate) fn enter(&self) -> tokio::runtime::EnterGuard<'_> {
        self.0.driver.enter()
    }

    pub(crate) fn run<T>(
        &self,
        future: impl Future<Output = Result<T, TokenError>>,
    ) -> Result<T, TokenError> {
        self.0.driver.run(future)
    }
}

impl fmt::Debug for BlockingTokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingTokenSource")
            .field("driver", &self.0.driver)
            .finish_non_exhaustive()
    }
}

/// A builder for a [`BlockingTokenSource`] with work to do before the shutdown.
#[must_use]
pub struct BlockingTokenSourceBuilder {
    source: Arc<dyn TokenSource>,
    hook: Option<Hook>,
    scope: Option<ThreadScope>,
    timeout: Duration,
}

impl BlockingTokenSourceBuilder {
    /// Sets a future that runs before the runtime ends, such as the shutdown of a cache with a shared store, or a
    /// revocation. It must not own a clone of the blocking source, which would then never be dropped.
    pub fn on_shutdown(mut self, work: impl Future<Output = ()> + Send + 'static) -> Self {
        self.hook = Some(Box::pin(work));
        self
    }

    /// Sets a function that the thread calls first. Its result is dropped when the thread ends: a scope for the tasks of
    /// this thread, such as one that suppresses their telemetry.
    pub fn thread_scope<G: 'static>(mut self, enter: impl FnOnce() -> G + Send + 'static) -> Self {
        self.scope = Some(Box::new(|| Box::new(enter())));
        self
    }

    /// Sets how long the shutdown waits. Default: 5 s. Work that is not complete by then is abandoned.
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Builds the source, and starts its thread.
    ///
    /// # Errors
    ///
    /// As [`BlockingTokenSource::new`].
    pub fn build(self) -> io::Result<BlockingTokenSource> {
        Ok(BlockingTokenSource(Arc::new(Inner {
            driver: Driver::start(self.hook, self.scope, self.timeout)?,
            source: self.source,
        })))
    }
}

impl fmt::Debug for BlockingTokenSourceBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingTokenSourceBuilder")
            .field("shutdown_timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
