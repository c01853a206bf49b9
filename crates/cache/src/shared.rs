//! The state of a cache that its callers and its flights share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use hallpass_core::{AccessToken, Clock, TokenError, TokenRequest, TokenSource};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time,
};

use crate::{
    entry::answers::{self, CredentialDigest, CredentialState},
    failure::CachedFailure,
    keys::{Holders, Keys},
    level2::{Context, CredentialClaim, SecondLevel},
    nesting,
    observe::Observe,
    panics::{self, CatchPanic},
    policy::Policy,
    slot::Slot,
    stats::Counters,
    store::StoreEntry,
    upstream::{FlightPermit, Upstream},
};

/// More tasks than run at once.
pub(crate) const MAX_TASKS: u32 = 1 << 24;

pub(crate) struct Shared<S> {
    pub(crate) source: Arc<S>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) policy: Policy,
    pub(crate) observe: Observe,
    pub(crate) default: Arc<Slot>,
    pub(crate) upstream: Upstream,
    pub(crate) keys: Keys,
    pub(crate) holders: Holders,
    pub(crate) counters: Counters,
    pub(crate) store: Option<Box<SecondLevel>>,
    /// Bounds the number of keys whose changes in the store are listened to.
    pub(crate) watches: Arc<Semaphore>,
    pub(crate) keep_warm: bool,
    /// True while a task refreshes the default token.
    pub(crate) kept_warm: AtomicBool,
    pub(crate) alive: watch::Receiver<bool>,
    /// Each task that uses the shared store has a permit of [`MAX_TASKS`].
    pub(crate) work: Arc<Semaphore>,
    /// The epoch that the source returned last.
    pub(crate) last_epoch: AtomicU64,
}

/// Publishes the counts since the last fetch.
impl<S> Drop for Shared<S> {
    fn drop(&mut self) {
        self.observe.publish(&self.counters, &self.keys);
    }
}

impl<S> Shared<S> {
    /// Returns the parts that a store call needs.
    pub(crate) fn context(&self) -> Context<'_> {
        Context {
            observe: &self.observe,
            clock: &self.clock,
            policy: &self.policy,
            counters: &self.counters,
        }
    }

    /// Returns true if a task should refresh the default token, and none runs.
    #[inline]
    pub(crate) fn lacks_keeper(&self) -> bool {
        self.keep_warm && !self.kept_warm.load(Ordering::Relaxed) && *self.alive.borrow()
    }

    /// Returns a permit for a task that uses the shared store: a shutdown waits for it, unless it began before.
    pub(crate) fn work_permit(&self) -> Option<OwnedSemaphorePermit> {
        self.work.clone().try_acquire_owned().ok()
    }

    /// Returns the key's slot, existing or new, which is not evicted before [`unpin`](Self::unpin).
    pub(crate) fn pin(&self, request: &TokenRequest) -> Arc<Slot> {
        if request.is_default() {
            return self.default.clone();
        }
        let (slot, evicted) = self.keys.pin(request);
        self.note_evictions(evicted);
        slot
    }

    /// Allows the eviction of a key again.
    pub(crate) fn unpin(&self, request: &TokenRequest) {
        if !request.is_default() {
            self.note_evictions(self.keys.unpin(request));
        }
    }

    fn note_evictions(&self, keys: usize) {
        if keys > 0 {
            let evictions = &self.counters.evictions;
            evictions.fetch_add(keys as u64, Ordering::Relaxed);
            self.observe.evicted(keys);
        }
    }
}

impl<S: TokenSource> Shared<S> {
    /// Returns the epoch of the source's credentials, or the last known one if the source panics.
    pub(crate) fn epoch(&self) -> u64 {
        let epoch = panics::catch(|| self.source.credential_epoch());
        if let Some(epoch) = epoch {
            self.last_epoch.store(epoch, Ordering::Relaxed);
            return epoch;
        }
        self.observe.source_panicked("credential_epoch");
        self.last_epoch.load(Ordering::Relaxed)
    }

    /// Returns true if the source's tokens are bound to this process, so that sharing them is pointless.
    pub(crate) fn binds_tokens(&self) -> bool {
        panics::catch(|| self.source.binds_tokens()).unwrap_or(false)
    }

    /// Returns the digest of the source's credentials, if it has one and it is not slow.
    pub(crate) async fn credential_digest(&self) -> Option<CredentialDigest> {
        let digest = CatchPanic::new(async { self.source.credential_digest().await });
        let digest = time::timeout(self.policy.store_write_timeout, digest).await;
        let Ok(digest) = digest else { return None };
        if digest.is_none() {
            self.observe.source_panicked("credential_digest");
        }
        digest?
    }

    /// Admits a fetch with credentials of this epoch, as [`SecondLevel::claim_credentials`] describes; caches the failure
    /// of another process for all keys. Without a store or a digest, processes share nothing about their credentials.
    pub(crate) async fn claim_credentials(
        &self,
        epoch: u64,
        trial: bool,
    ) -> Result<Option<CredentialClaim>, CachedFailure> {
        let Some(store) = &self.store else {
            return Ok(None);
        };
        let Some(digest) = self.credential_digest().await else {
            return Ok(None);
        };
        let claim = store.claim_credentials(digest, trial, self.context()).await;
        claim.map(Some).map_err(|(error, rest)| {
            let failure = self.cached(&error, rest, epoch);
            let now = self.clock.now();
            self.upstream.failed_elsewhere(failure.clone(), now, epoch);
            failure
        })
    }

    /// Returns the server's refusal of a request by another process with these credentials, if the entry has one.
    pub(crate) async fn refusal(&self, entry: &StoreEntry) -> Option<CachedFailure> {
        let epoch = self.epoch();
        let digest = self.credential_digest().await?;
        let now = self.clock.moment();
        match answers::state(entry.bytes(), digest, entry.ttl(), &self.policy, now)? {
            CredentialState::Failed(error, rest) => Some(self.cached(&error, rest, epoch)),
            CredentialState::Accepted => None,
        }
    }

    fn cached(&self, error: &TokenError, rest: Duration, epoch: u64) -> CachedFailure {
        CachedFailure::new(error, self.clock.now(), rest, epoch)
    }

    /// Returns a permit to start a flight for this key, if one is available.
    pub(crate) fn permit(&self, request: &TokenRequest) -> Option<FlightPermit> {
        if request.is_default() || nesting::is_within_fetch() {
            return Some(FlightPermit::Free);
        }
        self.upstream.try_permit()
    }

    /// Waits for a permit to start a flight, until another one ends.
    pub(crate) async fn wait_for_permit(&self) -> Result<FlightPermit, TokenError> {
        let limit = self.policy.fetch_timeout;
        let _waiting = Waiting::new(self);
        let permit = self.upstream.wait_for_permit(limit).await;
        permit.ok_or_else(|| {
            let max = self.policy.max_concurrent_fetches;
            let message = format!(
                "the token fetch did not start within {limit:?}: {max} fetches for other keys are in progress"
            );
            TokenError::unavailable(message)
                .with_hint("if the server allows more concurrent requests, raise `CacheBuilder::max_concurrent_fetches`")
        })
    }

    /// Returns the key's slot, if there is one.
    pub(crate) fn known_slot(&self, request: &TokenRequest) -> Option<Arc<Slot>> {
        if request.is_default() {
            return Some(self.default.clone());
        }
        self.keys.known(request)
    }

    /// Returns the key's slot, existing or new.
    pub(crate) fn slot(&self, request: &TokenRequest) -> Arc<Slot> {
        if request.is_default() {
            return self.default.clone();
        }
        let (slot, evicted) = self.keys.slot(request);
        self.note_evictions(evicted);
        slot
    }

    /// Returns true if a token that was valid when its fetch completed has expired before its waiter ran. A token without
    /// a lifetime is valid for those who waited for it.
    pub(crate) fn expired_in_transit(&self, token: &AccessToken) -> bool {
        !token.lifetime().is_zero() && token.is_expired(self.clock.now())
    }
}

/// A guard that counts a caller while it waits.
pub(crate) struct Waiting<'a, S>(&'a Shared<S>);

impl<'a, S> Waiting<'a, S> {
    pub(crate) fn new(shared: &'a Shared<S>) -> Self {
        shared.counters.waiters.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl<S> Drop for Waiting<'_, S> {
    fn drop(&mut self) {
        self.0.counters.waiters.fetch_sub(1, Ordering::Relaxed);
    }
}
