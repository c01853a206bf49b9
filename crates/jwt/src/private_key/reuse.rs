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

/// The assertions that may be sent again, and whether the server accepts that.
#[derive(Default)]
pub(super) struct Reuse {
    state: Mutex<State>,
    /// The number of refusals of a repeated assertion.
    refusals: AtomicU64,
}

#[derive(Default)]
struct State {
    /// In the order of their signatures. An older one is there because its refusal may still arrive.
    sent: Vec<SentAssertion>,
    /// True once a repeated assertion was refused.
    is_stopped: bool,
}

struct SentAssertion {
    purpose: Purpose,
    assertion: CompactAssertion,
    is_repeated: bool,
}

impl SentAssertion {
    /// Returns the time since it was made; `None` if the clock was set back.
    fn age(&self, now: SystemTime) -> Option<Duration> {
        now.duration_since(self.assertion.made).ok()
    }

    fn is_about_to_expire(&self, now: SystemTime) -> bool {
        let limit = self
            .purpose
            .lifetime
            .saturating_sub(IAT_OFFSET + EXPIRY_MARGIN);
        self.age(now).is_none_or(|age| age >= limit)
    }

    /// Returns true while a response to it may arrive: a call with it began before its expiry, and takes no longer than
    /// that.
    fn may_be_refused(&self, now: SystemTime) -> bool {
        let limit = self.purpose.lifetime * 2;
        self.age(now).is_some_and(|age| age < limit)
    }
}

/// The content of an assertion but for its times and its `jti`.
pub(super) struct Purpose {
    client_id: String,
    audience: String,
    signer: Arc<dyn Signer>,
    signer_epoch: u64,
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
            signer_epoch: key.signer.epoch(),
            lifetime: settings.lifetime,
            now: settings.clock.wall(),
        })
    }

    fn is_same(&self, other: &Self) -> bool {
        self.client_id == other.client_id
            && self.audience == other.audience
            && self.lifetime == other.lifetime
            && self.signer_epoch == other.signer_epoch
            && Arc::ptr_eq(&self.signer, &other.signer)
    }
}

impl Reuse {
    /// Returns an assertion that fits and is not about to expire.
    pub(super) fn assertion(&self, purpose: &Purpose) -> Option<CompactAssertion> {
        let mut state = self.state();
        let mut sent = state.sent.iter_mut().rev();
        let fit = sent.find(|sent| sent.purpose.is_same(purpose))?;
        if fit.is_about_to_expire(purpose.now) {
            return None;
        }
        fit.is_repeated = true;
        Some(fit.assertion.clone())
    }

    /// Keeps a new assertion, and returns it.
    pub(super) fn keep(&self, purpose: Purpose, assertion: CompactAssertion) -> CompactAssertion {
        let mut state = self.state();
        if !state.is_stopped {
            state.sent.retain(|sent| sent.may_be_refused(purpose.now));
            state.sent.push(SentAssertion {
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
        let is_refused = |sent: &SentAssertion| *sent.assertion.text == *assertion;
        let Some(at) = state.sent.iter().position(is_refused) else {
            return;
        };
        if state.sent.remove(at).is_repeated {
            state.sent.clear();
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
