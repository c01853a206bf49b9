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

use crate::{
    ScopeSet, TokenError,
    authorize::{ApiRefusal, Origin},
};

/// Is told what becomes of tokens: for those who use neither `tracing` nor `metrics`, and for alarms of their own.
///
/// Hand one to a cache or an integration as `Arc<dyn Observer>`; a closure is one too. A hit of a cache tells nothing,
/// so that it costs nothing. No event holds a token or a secret.
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
/// It must return at once: it is called in the middle of a fetch or of a call, never with a lock held. It may ask the
/// cache that calls it. One that panics harms nobody where panics unwind: the panic is caught, said once in a trace,
/// and the observer is told of the next event as before.
pub trait Observer: Send + Sync {
    /// Is told of one event.
    fn observe(&self, event: &Event<'_>);
}

impl<F: Fn(&Event<'_>) + Send + Sync> Observer for F {
    fn observe(&self, event: &Event<'_>) {
        self(event);
    }
}

/// What happened, and where.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Event<'a> {
    /// The name that the cache or the integration was given when it was built.
    pub name: &'a str,
    /// What happened.
    pub kind: EventKind<'a>,
}

impl<'a> Event<'a> {
    /// An event of the cache or the integration of this name.
    pub fn new(name: &'a str, kind: EventKind<'a>) -> Self {
        Self { name, kind }
    }
}

/// What happened to a token, or to a call that was to carry one.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum EventKind<'a> {
    /// A source is asked for a token.
    FetchStarted,
    /// A source yielded one.
    #[non_exhaustive]
    Fetched {
        /// How long that took.
        took: Duration,
        /// How long the token lives in all.
        lifetime: Duration,
        /// The scopes that were granted.
        scopes: &'a ScopeSet,
    },
    /// A source yielded none.
    #[non_exhaustive]
    FetchFailed {
        /// How long that took.
        took: Duration,
        /// Why.
        error: &'a TokenError,
    },
    /// A token nears its end, and its successor is looked for.
    #[non_exhaustive]
    RenewalStarted {
        /// How long the token still lives; `None` where there is none any more.
        left: Option<Duration>,
    },
    /// A renewal failed, and the token at hand is handed out until it expires.
    #[non_exhaustive]
    OldTokenServed {
        /// How long that is.
        left: Duration,
    },
    /// After a failure nothing is fetched for a while.
    #[non_exhaustive]
    BackingOff {
        /// For how long.
        wait: Duration,
    },
    /// All who waited for a token were told.
    #[non_exhaustive]
    FlightLanded {
        /// How many waited.
        waiters: usize,
        /// The age of the token that was replaced, where one was.
        replaced_age: Option<Duration>,
    },
    /// A token was dropped, because a resource server refused it.
    Invalidated,
    /// Keys had to make room for others.
    #[non_exhaustive]
    Evicted {
        /// How many.
        keys: usize,
    },
    /// A shared store was slow, failed, or held something unusable.
    #[non_exhaustive]
    StoreFault {
        /// The question that failed, or `entry`.
        what: &'static str,
        /// The reason: the store's own text, or the cache's.
        reason: &'a str,
    },
    /// An API answered a request that carried a token, and did not refuse the token.
    #[non_exhaustive]
    CallAccepted {
        /// Where the request went.
        origin: &'a Origin,
        /// What the API answered, which may be an error of another kind.
        status: StatusCode,
    },
    /// An API refused a token, which was dropped.
    #[non_exhaustive]
    TokenRefused {
        /// Where the request went.
        origin: &'a Origin,
        /// What the API said.
        refusal: &'a ApiRefusal,
        /// Is it the second token in a row that was refused for one request? It was new.
        again: bool,
    },
    /// A request goes out once more: with another token, or with the nonce that the API demands (RFC 9449 section 9).
    #[non_exhaustive]
    CallRepeated {
        /// Where it goes.
        origin: &'a Origin,
    },
    /// An API refused a request for a reason that a new token does not mend: insufficient scope, before all.
    #[non_exhaustive]
    CallRefused {
        /// Where the request went.
        origin: &'a Origin,
        /// What the API said.
        refusal: &'a ApiRefusal,
    },
    /// A request was not sent, because there was no token for it.
    #[non_exhaustive]
    CallWithoutToken {
        /// Where it was to go.
        origin: &'a Origin,
        /// Why.
        error: &'a TokenError,
    },
    /// A request was not sent, because its origin may not have tokens.
    #[non_exhaustive]
    CallKeptBack {
        /// Its host, and its port where that is not the scheme's own; `None` where the request named none.
        host: Option<&'a str>,
    },
}

/// An event is made by whoever tells of it: a decorator or an integration.
impl<'a> EventKind<'a> {
    /// Makes a [`Fetched`](Self::Fetched).
    pub fn fetched(took: Duration, lifetime: Duration, scopes: &'a ScopeSet) -> Self {
        Self::Fetched {
            took,
            lifetime,
            scopes,
        }
    }

    /// Makes a [`FetchFailed`](Self::FetchFailed).
    pub fn fetch_failed(took: Duration, error: &'a TokenError) -> Self {
        Self::FetchFailed { took, error }
    }

    /// Makes a [`RenewalStarted`](Self::RenewalStarted).
    pub fn renewal_started(left: Option<Duration>) -> Self {
        Self::RenewalStarted { left }
    }

    /// Makes an [`OldTokenServed`](Self::OldTokenServed).
    pub fn old_token_served(left: Duration) -> Self {
        Self::OldTokenServed { left }
    }

    /// Makes a [`BackingOff`](Self::BackingOff).
    pub fn backing_off(wait: Duration) -> Self {
        Self::BackingOff { wait }
    }

    /// Makes a [`FlightLanded`](Self::FlightLanded).
    pub fn flight_landed(waiters: usize, replaced_age: Option<Duration>) -> Self {
        Self::FlightLanded {
            waiters,
            replaced_age,
        }
    }

    /// Makes an [`Evicted`](Self::Evicted).
    pub fn evicted(keys: usize) -> Self {
        Self::Evicted { keys }
    }

    /// Makes a [`StoreFault`](Self::StoreFault).
    pub fn store_fault(what: &'static str, reason: &'a str) -> Self {
        Self::StoreFault { what, reason }
    }

    /// Makes a [`CallAccepted`](Self::CallAccepted).
    pub fn call_accepted(origin: &'a Origin, status: StatusCode) -> Self {
        Self::CallAccepted { origin, status }
    }

    /// Makes a [`TokenRefused`](Self::TokenRefused).
    pub fn token_refused(origin: &'a Origin, refusal: &'a ApiRefusal, again: bool) -> Self {
        Self::TokenRefused {
            origin,
            refusal,
            again,
        }
    }

    /// Makes a [`CallRepeated`](Self::CallRepeated).
    pub fn call_repeated(origin: &'a Origin) -> Self {
        Self::CallRepeated { origin }
    }

    /// Makes a [`CallRefused`](Self::CallRefused).
    pub fn call_refused(origin: &'a Origin, refusal: &'a ApiRefusal) -> Self {
        Self::CallRefused { origin, refusal }
    }

    /// Makes a [`CallWithoutToken`](Self::CallWithoutToken).
    pub fn call_without_token(origin: &'a Origin, error: &'a TokenError) -> Self {
        Self::CallWithoutToken { origin, error }
    }

    /// Makes a [`CallKeptBack`](Self::CallKeptBack).
    pub fn call_kept_back(host: Option<&'a str>) -> Self {
        Self::CallKeptBack { host }
    }

    /// Its name, for a log or a label: `fetch_failed`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::FetchStarted => "fetch_started",
            Self::Fetched { .. } => "fetched",
            Self::FetchFailed { .. } => "fetch_failed",
            Self::RenewalStarted { .. } => "renewal_started",
            Self::OldTokenServed { .. } => "old_token_served",
            Self::BackingOff { .. } => "backing_off",
            Self::FlightLanded { .. } => "flight_landed",
            Self::Invalidated => "invalidated",
            Self::Evicted { .. } => "evicted",
            Self::StoreFault { .. } => "store_fault",
            Self::CallAccepted { .. } => "call_accepted",
            Self::TokenRefused { .. } => "token_refused",
            Self::CallRepeated { .. } => "call_repeated",
            Self::CallRefused { .. } => "call_refused",
            Self::CallWithoutToken { .. } => "call_without_token",
            Self::CallKeptBack { .. } => "call_kept_back",
        }
    }
}

/// The observers of one cache or integration: for those who write decorators and integrations.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use hallpass_core::{Event, EventKind, Observers};
///
/// let told = Arc::new(Mutex::new(Vec::new()));
/// let list = told.clone();
/// let mut observers = Observers::default();
/// observers.add(Arc::new(move |event: &Event<'_>| list.lock().unwrap().push(event.kind.as_str())));
/// observers.tell("orders", EventKind::FetchStarted)?;
/// assert_eq!(*told.lock().unwrap(), ["fetch_started"]);
/// # Ok::<(), hallpass_core::ObserverPanicked>(())
/// ```
#[derive(Clone, Default)]
pub struct Observers {
    list: Vec<Arc<dyn Observer>>,
    panicked: Arc<AtomicBool>,
}

impl Observers {
    /// Adds one.
    pub fn add(&mut self, observer: Arc<dyn Observer>) {
        self.list.push(observer);
    }

    /// Is there nobody to tell?
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Tells each of them. With none it costs a comparison.
    ///
    /// # Errors
    ///
    /// Says that one of them panicked, the first time that this happens, so that whoever calls can log it once. All
    /// were told nevertheless.
    #[inline]
    pub fn tell(&self, name: &str, kind: EventKind<'_>) -> Result<(), ObserverPanicked> {
        if self.list.is_empty() {
            return Ok(());
        }
        self.tell_all(&Event::new(name, kind))
    }

    #[cold]
    fn tell_all(&self, event: &Event<'_>) -> Result<(), ObserverPanicked> {
        let mut outcome = Ok(());
        for observer in &self.list {
            // Nothing of ours is left half done by it.
            let told = catch_unwind(AssertUnwindSafe(|| observer.observe(event)));
            if told.is_err() && !self.panicked.swap(true, Ordering::Relaxed) {
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

/// An observer panicked. What it said is not repeated: it may say anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an observer panicked; it goes on being told, and this is said once")]
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
    fn each_is_told_in_turn() {
        let notes = Notes::default();
        let closure = notes.clone();
        let mut observers = Observers::default();
        assert!(observers.is_empty());
        observers.add(Arc::new(notes.clone()));
        observers.add(Arc::new(move |event: &Event<'_>| closure.observe(event)));
        observers.tell("orders", EventKind::FetchStarted).unwrap();
        let told = ["orders: fetch_started", "orders: fetch_started"];
        assert_eq!(*notes.0.lock().unwrap(), told);
    }

    #[test]
    fn a_panic_is_said_once_and_keeps_nobody_from_being_told() {
        let notes = Notes::default();
        let mut observers = Observers::default();
        // Without a message on stderr: the hook does not run for it.
        observers.add(Arc::new(|_: &Event<'_>| {
            std::panic::resume_unwind(Box::new(()));
        }));
        observers.add(Arc::new(notes.clone()));
        let clone = observers.clone();
        assert!(observers.tell("orders", EventKind::Invalidated).is_err());
        for observers in [&observers, &clone] {
            assert!(observers.tell("orders", EventKind::Invalidated).is_ok());
        }
        assert_eq!(notes.0.lock().unwrap().len(), 3);
    }

    #[test]
    fn nobody_to_tell_is_no_error() {
        let observers = Observers::default();
        assert_eq!(observers.tell("orders", EventKind::evicted(1)), Ok(()));
        assert_eq!(format!("{observers:?}"), "Observers(0)");
    }
}
