//! An assertion that is sent more than once.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use hallpass_core::TokenError;
use hallpass_endpoint::AuthenticationContext;

use crate::{
    AssertionSettings, Signer,
    assertion::{CompactAssertion, IAT_OFFSET, audience},
    keys::Key,
};

/// The time before its expiry from which an assertion is not sent again: the request must arrive in time, at a server
/// whose clock may be ahead.
const EXPIRY_MARGIN: Duration = Duration::from_secs(10);

/// The current assertion, and whether the server accepts it repeatedly.
#[derive(Default)]
pub(super) struct Reuse {
    state: Mutex<State>,
    /// The number of refusals of a repeated assertion.
    refusals: AtomicU64,
}

#[derive(Default)]
struct State {
    current: Option<Current>,
    /// True once a repeated assertion was refused.
    is_stopped: bool,
}

struct Current {
    purpose: Purpose,
    assertion: CompactAssertion,
    is_repeated: bool,
}

/// The content of an assertion but for its times and its `jti`.
pub(super) struct Purpose {
    client_id: String,
    audience: String,
    signer: Arc<dyn Signer>,
    lifetime: Duration,
    now: SystemTime,
}

impl Purpose {
    pub(super) fn new(
        settings: &AssertionSettings,
        context: &AuthenticationContext<'_>,
        key: &Key,
    ) -> Result<Self, TokenError> {
        Ok(Self {
            client_id: context.client_id().to_owned(),
            audience: audience(settings, context)?.to_owned(),
            signer: key.signer.clone(),
            lifetime: settings.lifetime,
            now: settings.clock.wall(),
        })
    }

    fn is_same(&self, other: &Self) -> bool {
        self.client_id == other.client_id
            && self.audience == other.audience
            && self.lifetime == other.lifetime
            && Arc::ptr_eq(&self.signer, &other.signer)
    }
}

impl Reuse {
    /// Returns the current assertion if it fits, and is not about to expire.
    pub(super) fn assertion(&self, purpose: &Purpose) -> Option<CompactAssertion> {
        let mut state = self.state();
        let current = state.current.as_mut()?;
        // An error if the clock was set back.
        let age = purpose.now.duration_since(current.assertion.made).ok()?;
        let is_valid = age + IAT_OFFSET + EXPIRY_MARGIN < purpose.lifetime;
        if !is_valid || !current.purpose.is_same(purpose) {
            return None;
        }
        current.is_repeated = true;
        Some(current.assertion.clone())
    }

    /// Keeps a new assertion, and returns it.
    pub(super) fn keep(&self, purpose: Purpose, assertion: CompactAssertion) -> CompactAssertion {
        let mut state = self.state();
        if !state.is_stopped {
            state.current = Some(Current {
                purpose,
                assertion: assertion.clone(),
                is_repeated: false,
            });
        }
        assertion
    }

    /// Drops a refused assertion; if it was repeated, none is repeated from now on.
    pub(super) fn refused(&self, assertion: &str) {
        let mut state = self.state();
        let is_refused = |current: &mut Current| *current.assertion.text == *assertion;
        let refused = state.current.take_if(is_refused);
        if refused.is_some_and(|refused| refused.is_repeated) {
            state.is_stopped = true;
            self.refusals.fetch_add(1, Ordering::Relaxed);
            tracing::warn!("repeated assertion refused, each request is signed from now on");
        }
    }

    /// Returns a number that changes when a repeated assertion is refused, so that the request is retried.
    pub(super) fn epoch(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Reuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reuse(..)")
    }
}
