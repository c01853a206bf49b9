//! The cache's access to the shared store: with timeouts, a circuit breaker, and no trust.

use std::{
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hallpass_core::{AccessToken, Clock, Moment, Prover, TokenRequest};
use tokio::time::{self, Instant};

use crate::{
    breaker::{Admission, Breaker, Probe},
    entry::{self, DecodeResult, answers::Answer},
    observe::Observe,
    panics::CatchPanic,
    policy::Policy,
    polls::LEASE_TTL,
    stats::{Counters, count},
    store::{EntryOrLease, Lease, StoreEntry, StoreError, StoreKey, TokenStore, bound_namespace},
};

mod credentials;
pub(crate) mod wait;

pub(crate) use credentials::{CredentialClaim, Outcome};

/// The interval at which the holder of a lease extends it.
const EXTEND_INTERVAL: Duration = Duration::from_secs(1);

pub(crate) struct SecondLevel {
    store: Arc<dyn TokenStore>,
    namespace: String,
    /// The prover of the key that the processes have in common.
    prover: Option<Arc<dyn Prover>>,
    breaker: Arc<Breaker>,
    /// The timeout of calls that callers wait for.
    timeout: Duration,
    /// The timeout of such calls until the store has answered once, counted from the first call.
    start_timeout: Duration,
    /// The timeout of other calls.
    write_timeout: Duration,
    /// The maximum duration of another process's fetch.
    fetch_timeout: Duration,
    first_call: OnceLock<Instant>,
    has_answered: AtomicBool,
}

/// The use of an entry.
pub(crate) enum EntryUse<T> {
    Use(T),
    Ignore,
    /// The token was refused by a resource server.
    Refused,
}

/// The value of a token from the store to the cache.
pub(crate) enum Fitness {
    Good,
    /// About to expire, no better than the current one, or not what the source would have returned.
    Unfit,
    /// A resource server refused it.
    Refused,
}

/// The right to put a fetched token.
#[derive(Default)]
pub(crate) enum PutPermission {
    /// Under this lease, which must be released.
    Leased(Lease),
    /// Without a lease: another process held it for too long.
    Unleased,
    #[default]
    None,
}

/// The parts of the cache that a store call needs.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) observe: &'a Observe,
    pub(crate) clock: &'a Arc<dyn Clock>,
    pub(crate) policy: &'a Policy,
    pub(crate) counters: &'a Counters,
}

impl Context<'_> {
    fn fault(&self, what: &'static str, reason: &str, warn: bool) {
        count(&self.counters.store_faults);
        self.observe.store_fault(what, reason, warn);
    }
}

impl SecondLevel {
    pub(crate) fn new(
        store: Arc<dyn TokenStore>,
        namespace: String,
        prover: Option<Arc<dyn Prover>>,
        policy: &Policy,
    ) -> Self {
        let prover = prover.filter(|prover| prover.shared_key().is_some());
        let key = prover.as_ref().and_then(|prover| prover.shared_key());
        let namespace = match key {
            Some(key) => bound_namespace(&namespace, key),
            None => namespace,
        };
        Self {
            store,
            namespace,
            prover,
            breaker: Arc::default(),
            timeout: policy.store_timeout,
            start_timeout: policy.store_start_timeout,
            write_timeout: policy.store_write_timeout,
            fetch_timeout: policy.fetch_timeout,
            first_call: OnceLock::new(),
            has_answered: AtomicBool::new(false),
        }
    }

    pub(crate) fn store(&self) -> &Arc<dyn TokenStore> {
        &self.store
    }

    pub(crate) fn key(&self, request: &TokenRequest) -> StoreKey {
        StoreKey::new(&self.namespace, request)
    }

    fn shared_key(&self) -> Option<&str> {
        self.prover.as_ref()?.shared_key()
    }

    /// Returns true if other processes can use this token.
    pub(crate) fn is_shareable(&self, token: &AccessToken) -> bool {
        entry::is_shareable(token, self.shared_key())
    }

    fn decode(&self, entry: &StoreEntry, now: Moment) -> DecodeResult {
        entry::decode(entry.bytes(), entry.ttl(), now, self.prover.as_ref())
    }

    /// Evaluates the token of an entry.
    pub(crate) fn evaluate(
        &self,
        entry: &StoreEntry,
        fitness: impl Fn(&AccessToken) -> Fitness,
        context: Context<'_>,
    ) -> EntryUse<AccessToken> {
        let token = match self.decode(entry, context.clock.moment()) {
            DecodeResult::Token(token) => token,
            DecodeResult::Nothing => return EntryUse::Ignore,
            DecodeResult::Corrupt => {
                context.fault("entry", "the entry cannot be read", true);
                return EntryUse::Ignore;
            }
        };
        match fitness(&token) {
            Fitness::Good => EntryUse::Use(token),
            Fitness::Unfit => EntryUse::Ignore,
            Fitness::Refused => EntryUse::Refused,
        }
    }

    /// Returns the token of the entry, if it is a good one.
    pub(crate) async fn read(
        &self,
        key: &StoreKey,
        fitness: impl Fn(&AccessToken) -> Fitness,
        context: Context<'_>,
    ) -> Option<AccessToken> {
        let entry = self.look_up(key, context).await??;
        match self.evaluate(&entry, fitness, context) {
            EntryUse::Use(token) => Some(token),
            EntryUse::Ignore | EntryUse::Refused => None,
        }
    }

    /// Looks up the entry; `None` if the store is unavailable.
    async fn look_up(&self, key: &StoreKey, context: Context<'_>) -> Option<Option<StoreEntry>> {
        match self.breaker.admit(context.clock.now()) {
            Admission::Granted => {
                let look_up = self.store.look_up(key);
                self.ask("look_up", self.timeout(), look_up, context).await
            }
            Admission::Probe(probe) => self.probe(probe, key, context).await,
            Admission::Denied => None,
        }
    }

    /// Looks up the entry or takes a lease; `None` if the store is unavailable. A failed store is probed by a look-up:
    /// the probe outlives its caller, and must not take a lease for it.
    ///
    /// If this is dropped, or times out, a store on the network may still grant the lease, which nobody then releases: it
    /// expires after its time to live.
    async fn look_up_or_lease(
        &self,
        key: &StoreKey,
        except: Option<u64>,
        ttl: Duration,
        context: Context<'_>,
    ) -> Option<EntryOrLease> {
        if !self.breaker.is_closed() {
            self.look_up(key, context).await?;
        }
        let call = self.store.look_up_or_lease(key, except, ttl);
        self.ask("look_up_or_lease", self.timeout(), call, context)
            .await
    }

    /// Runs the look-up in its own task, which continues after the caller's timeout: a slow connection is established
    /// nevertheless, and the next call uses it.
    async fn probe(
        &self,
        probe: Probe,
        key: &StoreKey,
        context: Context<'_>,
    ) -> Option<Option<StoreEntry>> {
        let (store, key) = (self.store.clone(), key.clone());
        let (clock, timeout, limit) = (context.clock.clone(), self.write_timeout, self.timeout());
        let task = tokio::spawn(async move {
            let start = Instant::now();
            let mut found = answer(timeout, store.look_up(&key)).await;
            if found.is_ok() && start.elapsed() > limit {
                // Connected by now, or too slow for callers, who would wait for each further call in vain.
                found = answer(limit, store.look_up(&key)).await;
            }
            probe.report(found.is_ok(), clock.now());
            found
        });
        let answer = match time::timeout(limit, task).await {
            Ok(Ok(answer)) => answer,
            // Its runtime shuts down.
            Ok(Err(_)) => return None,
            Err(_) => Err(too_slow(limit)),
        };
        answer
            .inspect_err(|reason| context.fault("look_up", reason, true))
            .ok()
    }

    /// Runs the work, and extends the lease until it is done.
    pub(crate) async fn extending<T>(
        &self,
        key: &StoreKey,
        lease: &Lease,
        work: impl Future<Output = T>,
        context: Context<'_>,
    ) -> T {
        let mut work = pin!(work);
        loop {
            if let Ok(done) = time::timeout(EXTEND_INTERVAL, &mut work).await {
                return done;
            }
            let extend = self.store.extend(key, lease, LEASE_TTL);
            let extend = self.ask("extend", self.write_timeout, extend, context);
            tokio::select! {
                done = &mut work => return done,
                // Lost: another process fetches too, and puts its own result.
                extended = extend => if extended == Some(false) {
                    return work.await;
                },
            }
        }
    }

    /// Puts the fetched token, unless it is bound to this process, or the server's refusal, and releases the lease.
    pub(crate) async fn finish(
        &self,
        request: &TokenRequest,
        fetched: Option<&AccessToken>,
        refusal: Option<Answer>,
        right: PutPermission,
        context: Context<'_>,
    ) {
        let lease = match right {
            PutPermission::Leased(lease) => Some(lease),
            PutPermission::Unleased if fetched.is_some() => None,
            PutPermission::Unleased | PutPermission::None => return,
        };
        let key = self.key(request);
        if let Some(token) = fetched {
            self.put(&key, token, lease.as_ref(), context).await;
        } else if let Some(refusal) = refusal {
            self.put_refusal(&key, refusal, lease.as_ref(), context)
                .await;
        }
        if let Some(lease) = lease {
            self.release(&key, &lease, context).await;
        }
    }

    async fn release(&self, key: &StoreKey, lease: &Lease, context: Context<'_>) {
        let release = self.store.release(key, lease);
        self.ask("release", self.write_timeout, release, context)
            .await;
    }

    /// Removes the entry with this fence; the caller waits for it.
    async fn remove(&self, key: &StoreKey, fence: u64, context: Context<'_>) {
        let remove = self.store.remove(key, fence);
        self.ask("remove", self.timeout(), remove, context).await;
    }

    async fn put(
        &self,
        key: &StoreKey,
        token: &AccessToken,
        lease: Option<&Lease>,
        context: Context<'_>,
    ) {
        let left = token.deadline().saturating_since(context.clock.now());
        let ttl = left.min(entry::MAX_LIFETIME);
        match entry::encode(token, self.shared_key()) {
            Ok(Some(bytes)) if !ttl.is_zero() => {
                let put = self.store.put(key, &bytes, ttl, lease);
                self.ask("put", self.write_timeout, put, context).await;
            }
            Ok(_) => {}
            Err(reason) => context.fault("put", reason, true),
        }
    }

    /// Puts the server's refusal, unless there is a token: a process with other settings may have a use for it.
    async fn put_refusal(
        &self,
        key: &StoreKey,
        refusal: Answer,
        lease: Option<&Lease>,
        context: Context<'_>,
    ) {
        let Some(before) = self.look_up(key, context).await else {
            return;
        };
        let (now, before) = (context.clock.moment(), before.as_ref());
        let is_token =
            |entry: &StoreEntry| matches!(self.decode(entry, now), DecodeResult::Token(_));
        if before.is_some_and(is_token) {
            return;
        }
        self.put_answer(key, refusal, before, lease, context).await;
    }

    /// Removes this refused token, unless another one has replaced it.
    pub(crate) async fn forget(
        &self,
        request: &TokenRequest,
        refused: &AccessToken,
        context: Context<'_>,
    ) {
        if !self.is_shareable(refused) {
            return;
        }
        let key = self.key(request);
        let Some(Some(entry)) = self.look_up(&key, context).await else {
            return;
        };
        let is_refused = |token: &AccessToken| {
            if token.is_same(refused) {
                Fitness::Refused
            } else {
                Fitness::Unfit
            }
        };
        if let EntryUse::Refused = self.evaluate(&entry, is_refused, context) {
            self.remove(&key, entry.fence(), context).await;
        }
    }

    /// Returns the timeout of a call that a caller waits for. Until the store has answered once, it includes the time to
    /// connect.
    fn timeout(&self) -> Duration {
        if self.has_answered.load(Ordering::Relaxed) {
            return self.timeout;
        }
        let began = self.first_call.get_or_init(Instant::now);
        let left = self.start_timeout.saturating_sub(began.elapsed());
        self.timeout.max(left)
    }

    /// Returns the store's response, or `None` if there was none in time. Consecutive faults open the breaker.
    async fn ask<T>(
        &self,
        what: &'static str,
        timeout: Duration,
        question: impl Future<Output = Result<T, StoreError>>,
        context: Context<'_>,
    ) -> Option<T> {
        if !self.breaker.is_closed() {
            return None;
        }
        match answer(timeout, question).await {
            Ok(answer) => {
                self.breaker.succeeded();
                self.has_answered.store(true, Ordering::Relaxed);
                Some(answer)
            }
            Err(reason) => {
                let warn = self.breaker.failed(context.clock.now());
                context.fault(what, &reason, warn);
                None
            }
        }
    }
}

/// Returns the store's response, or the reason why there was none.
async fn answer<T>(
    timeout: Duration,
    question: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, String> {
    match time::timeout(timeout, CatchPanic::new(question)).await {
        Ok(Some(Ok(answer))) => Ok(answer),
        Ok(Some(Err(error))) => Err(error.to_string()),
        // The panic's message is not repeated: it may contain anything.
        Ok(None) => Err("the token store panicked".to_owned()),
        Err(_) => Err(too_slow(timeout)),
    }
}

fn too_slow(timeout: Duration) -> String {
    format!("no answer within {timeout:?}")
}
