use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::StatusCode;

use crate::{Quota, ScopeSet, TokenError, origin::Origin, refusal::ApiRefusal};

/// A receiver of token events, for programs without `tracing` and `metrics`, and for custom alarms.
///
/// Pass one to a cache or an integration as `Arc<dyn Observer>`; a closure is one too. A cache hit reports nothing, so
/// that it costs nothing. No event holds a token or a secret.
///
/// ```
/// use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
/// use hallpass_core::{ErrorKind, Event, EventKind, Observer};
///
/// /// Counts what should never happen twice in a row.
/// #[derive(Default)]
/// struct Anomalies {
///     credentials_refused: AtomicU64,
///     tokens_refused: AtomicU64,
/// }
///
/// impl Observer for Anomalies {
///     fn observe(&self, event: &Event<'_>) {
///         match event.kind {
///             EventKind::FetchFailed { error, .. } if error.kind() == ErrorKind::CredentialsRefused => {
///                 self.credentials_refused.fetch_add(1, Ordering::Relaxed);
///             }
///             EventKind::Invalidated => {
///                 self.tokens_refused.fetch_add(1, Ordering::Relaxed);
///             }
///             _ => {}
///         }
///     }
/// }
///
/// let anomalies = Arc::new(Anomalies::default());
/// let observer: Arc<dyn Observer> = anomalies.clone(); // for CacheBuilder::observer
/// # observer.observe(&Event::new("orders", EventKind::Invalidated));
/// assert_eq!(anomalies.tokens_refused.load(Ordering::Relaxed), 1);
/// ```
///
/// # Promises
///
/// It must return at once: it is called during a fetch or a call, never with a lock held. It may call the cache that
/// calls it. Where panics unwind, a panic is caught and reported once in a trace, and the observer receives the next
/// event as before.
pub trait Observer: Send + Sync {
    /// Receives one event.
    fn observe(&self, event: &Event<'_>);
}

impl<F: Fn(&Event<'_>) + Send + Sync> Observer for F {
    fn observe(&self, event: &Event<'_>) {
        self(event);
    }
}

/// An event, and its origin.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Event<'a> {
    /// The name of the cache or the integration.
    pub name: &'a str,
    /// The kind of event, with its details.
    pub kind: EventKind<'a>,
}

impl<'a> Event<'a> {
    /// Creates an event of the cache or the integration of this name.
    pub fn new(name: &'a str, kind: EventKind<'a>) -> Self {
        Self { name, kind }
    }
}

/// The kinds of events of a token, or of a call that needs one.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum EventKind<'a> {
    /// A fetch of a token from a source started.
    FetchStarted,
    /// A source returned a token.
    #[non_exhaustive]
    Fetched {
        /// The duration of the fetch.
        duration: Duration,
        /// The total lifetime of the token.
        lifetime: Duration,
        /// The granted scopes.
        scopes: &'a ScopeSet,
    },
    /// A server reported a quota with a token.
    #[non_exhaustive]
    QuotaReported {
        /// The quota.
        quota: &'a Quota,
    },
    /// A source returned an error.
    #[non_exhaustive]
    FetchFailed {
        /// The duration of the fetch.
        duration: Duration,
        /// The error.
        error: &'a TokenError,
    },
    /// A token is about to expire, and its replacement is being fetched.
    #[non_exhaustive]
    RefreshStarted {
        /// The remaining lifetime of the token; `None` if there is none any more.
        remaining: Option<Duration>,
    },
    /// A refresh failed, and the cached token is used until it expires.
    #[non_exhaustive]
    CachedTokenServed {
        /// The remaining lifetime of the token.
        remaining: Duration,
    },
    /// After a failure, fetches are paused for a while.
    #[non_exhaustive]
    BackingOff {
        /// The duration of the pause.
        wait: Duration,
    },
    /// All waiters of a fetch received its result.
    #[non_exhaustive]
    FetchCompleted {
        /// The number of waiters.
        waiters: usize,
        /// The age of the replaced token, if there was one.
        replaced_age: Option<Duration>,
    },
    /// A token was dropped, because a resource server refused it.
    Invalidated,
    /// Keys were evicted to make room for others.
    #[non_exhaustive]
    Evicted {
        /// The number of evicted keys.
        keys: usize,
    },
    /// A shared store was slow, failed, or held an invalid entry.
    #[non_exhaustive]
    StoreFault {
        /// The operation that failed, or `entry`.
        operation: &'static str,
        /// The reason: the store's own text, or the cache's.
        reason: &'a str,
    },
    /// An API answered a request that carried a token, and did not refuse the token.
    #[non_exhaustive]
    CallAccepted {
        /// The origin of the request.
        origin: &'a Origin,
        /// The status of the response, which may be an error of another kind.
        status: StatusCode,
    },
    /// An API refused a token, which was dropped.
    #[non_exhaustive]
    TokenRefused {
        /// The origin of the request.
        origin: &'a Origin,
        /// The API's reason.
        refusal: &'a ApiRefusal,
        /// True if this is the second token in a row that was refused for one request. It was new.
        retried: bool,
    },
    /// A request is retried with another token, or with the nonce that the API demands (RFC 9449 section 9).
    #[non_exhaustive]
    CallRetried {
        /// The origin of the request.
        origin: &'a Origin,
    },
    /// An API refused a request for a reason that a new token does not fix: usually insufficient scope.
    #[non_exhaustive]
    CallRefused {
        /// The origin of the request.
        origin: &'a Origin,
        /// The API's reason.
        refusal: &'a ApiRefusal,
    },
    /// A request was not sent, because there was no token for it.
    #[non_exhaustive]
    CallWithoutToken {
        /// The origin of the request.
        origin: &'a Origin,
        /// The error.
        error: &'a TokenError,
    },
    /// A request was not sent, because its origin may not have tokens.
    #[non_exhaustive]
    CallBlocked {
        /// Its host, and its port if not the scheme's default; `None` if the request has none.
        host: Option<&'a str>,
    },
}

/// Constructors, for decorators and integrations.
impl<'a> EventKind<'a> {
    /// Creates a [`Fetched`](Self::Fetched).
    pub fn fetched(duration: Duration, lifetime: Duration, scopes: &'a ScopeSet) -> Self {
        Self::Fetched {
            duration,
            lifetime,
            scopes,
        }
    }

    /// Creates a [`QuotaReported`](Self::QuotaReported).
    pub fn quota_reported(quota: &'a Quota) -> Self {
        Self::QuotaReported { quota }
    }

    /// Creates a [`FetchFailed`](Self::FetchFailed).
    pub fn fetch_failed(duration: Duration, error: &'a TokenError) -> Self {
        Self::FetchFailed { duration, error }
    }

    /// Creates a [`RefreshStarted`](Self::RefreshStarted).
    pub fn refresh_started(remaining: Option<Duration>) -> Self {
        Self::RefreshStarted { remaining }
    }

    /// Creates a [`CachedTokenServed`](Self::CachedTokenServed).
    pub fn cached_token_served(remaining: Duration) -> Self {
        Self::CachedTokenServed { remaining }
    }

    /// Creates a [`BackingOff`](Self::BackingOff).
    pub fn backing_off(wait: Duration) -> Self {
        Self::BackingOff { wait }
    }

    /// Creates a [`FetchCompleted`](Self::FetchCompleted).
    pub fn fetch_completed(waiters: usize, replaced_age: Option<Duration>) -> Self {
        Self::FetchCompleted {
            waiters,
            replaced_age,
        }
    }

    /// Creates an [`Evicted`](Self::Evicted).
    pub fn evicted(keys: usize) -> Self {
        Self::Evicted { keys }
    }

    /// Creates a [`StoreFault`](Self::StoreFault).
    pub fn store_fault(operation: &'static str, reason: &'a str) -> Self {
        Self::StoreFault { operation, reason }
    }

    /// Creates a [`CallAccepted`](Self::CallAccepted).
    pub fn call_accepted(origin: &'a Origin, status: StatusCode) -> Self {
        Self::CallAccepted { origin, status }
    }

    /// Creates a [`TokenRefused`](Self::TokenRefused).
    pub fn token_refused(origin: &'a Origin, refusal: &'a ApiRefusal, retried: bool) -> Self {
        Self::TokenRefused {
            origin,
            refusal,
            retried,
        }
    }

    /// Creates a [`CallRetried`](Self::CallRetried).
    pub fn call_retried(origin: &'a Origin) -> Self {
        Self::CallRetried { origin }
    }

    /// Creates a [`CallRefused`](Self::CallRefused).
    pub fn call_refused(origin: &'a Origin, refusal: &'a ApiRefusal) -> Self {
        Self::CallRefused { origin, refusal }
    }

    /// Creates a [`CallWithoutToken`](Self::CallWithoutToken).
    pub fn call_without_token(origin: &'a Origin, error: &'a TokenError) -> Self {
        Self::CallWithoutToken { origin, error }
    }

    /// Creates a [`CallBlocked`](Self::CallBlocked).
    pub fn call_blocked(host: Option<&'a str>) -> Self {
        Self::CallBlocked { host }
    }

    /// Returns its name, for a log or a label: `fetch_failed`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::FetchStarted => "fetch_started",
            Self::Fetched { .. } => "fetched",
            Self::QuotaReported { .. } => "quota_reported",
            Self::FetchFailed { .. } => "fetch_failed",
            Self::RefreshStarted { .. } => "refresh_started",
            Self::CachedTokenServed { .. } => "cached_token_served",
            Self::BackingOff { .. } => "backing_off",
            Self::FetchCompleted { .. } => "fetch_completed",
            Self::Invalidated => "invalidated",
            Self::Evicted { .. } => "evicted",
            Self::StoreFault { .. } => "store_fault",
            Self::CallAccepted { .. } => "call_accepted",
            Self::TokenRefused { .. } => "token_refused",
            Self::CallRetried { .. } => "call_retried",
            Self::CallRefused { .. } => "call_refused",
            Self::CallWithoutToken { .. } => "call_without_token",
            Self::CallBlocked { .. } => "call_blocked",
        }
    }
}

/// The observers of one cache or integration, for implementations of decorators and integrations.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use hallpass_core::{Event, EventKind, Observers};
///
/// let names = Arc::new(Mutex::new(Vec::new()));
/// let list = names.clone();
/// let mut observers = Observers::default();
/// observers.add(Arc::new(move |event: &Event<'_>| list.lock().unwrap().push(event.kind.as_str())));
/// observers.notify("orders", EventKind::FetchStarted)?;
/// assert_eq!(*names.lock().unwrap(), ["fetch_started"]);
/// # Ok::<(), hallpass_core::ObserverPanicked>(())
/// ```
#[derive(Clone, Default)]
pub struct Observers {
    list: Vec<Arc<dyn Observer>>,
    panicked: Arc<AtomicBool>,
}

impl Observers {
    /// Adds an observer.
    pub fn add(&mut self, observer: Arc<dyn Observer>) {
        self.list.push(observer);
    }

    /// Returns true if there are no observers.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Reports an event to each observer. Without observers it costs a comparison.
    ///
    /// # Errors
    ///
    /// An [`ObserverPanicked`] the first time that one of them panics, so that the caller can log it once. All
    /// observers receive the event nevertheless.
    #[inline]
    pub fn notify(&self, name: &str, kind: EventKind<'_>) -> Result<(), ObserverPanicked> {
        if self.list.is_empty() {
            return Ok(());
        }
        self.notify_all(&Event::new(name, kind))
    }

    #[cold]
    fn notify_all(&self, event: &Event<'_>) -> Result<(), ObserverPanicked> {
        let mut outcome = Ok(());
        for observer in &self.list {
            // No state of ours is left inconsistent by a panic.
            let observed = catch_unwind(AssertUnwindSafe(|| observer.observe(event)));
            if observed.is_err() && !self.panicked.swap(true, Ordering::Relaxed) {
                outcome = Err(ObserverPanicked(()));
            }
        }
        outcome
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Observers({})", self.list.len())
    }
}

/// The error for a panic of an observer. Its message is not repeated: it may hold anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("observer panicked; it stays registered, and this is logged once")]
pub struct ObserverPanicked(());

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Notes(Arc<Mutex<Vec<String>>>);

    impl Observer for Notes {
        fn observe(&self, event: &Event<'_>) {
            let line = format!("{}: {}", event.name, event.kind.as_str());
            self.0.lock().unwrap().push(line);
        }
    }

    #[test]
    fn each_observer_is_called_in_turn() {
        let notes = Notes::default();
        let closure = notes.clone();
        let mut observers = Observers::default();
        assert!(observers.is_empty());
        observers.add(Arc::new(notes.clone()));
        observers.add(Arc::new(move |event: &Event<'_>| closure.observe(event)));
        observers.notify("orders", EventKind::FetchStarted).unwrap();
        let expected = ["orders: fetch_started", "orders: fetch_started"];
        assert_eq!(*notes.0.lock().unwrap(), expected);
    }

    #[test]
    fn a_panic_is_logged_once_and_stops_no_other_observer() {
        let notes = Notes::default();
        let mut observers = Observers::default();
        // No message on stderr: `resume_unwind` does not run the hook.
        observers.add(Arc::new(|_: &Event<'_>| {
            std::panic::resume_unwind(Box::new(()));
        }));
        observers.add(Arc::new(notes.clone()));
        let clone = observers.clone();
        assert!(observers.notify("orders", EventKind::Invalidated).is_err());
        for observers in [&observers, &clone] {
            assert!(observers.notify("orders", EventKind::Invalidated).is_ok());
        }
        assert_eq!(notes.0.lock().unwrap().len(), 3);
    }

    #[test]
    fn no_observer_is_no_error() {
        let observers = Observers::default();
        assert_eq!(observers.notify("orders", EventKind::evicted(1)), Ok(()));
        assert_eq!(format!("{observers:?}"), "Observers(0)");
    }
}
