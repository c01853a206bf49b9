//! The cache's access to the shared store: with timeouts, a circuit breaker, and no trust.

use std::{
    future,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use hallpass_core::{AccessToken, Clock, TokenError, TokenRequest};
use tokio::time::{self, Instant};

use crate::{
    breaker::{Admission, Breaker, Probe},
    entry::{self, DecodeResult, failure::CredentialDigest},
    observe::Observe,
    panics::CatchPanic,
    policy::Policy,
    polls::{LEASE_TTL, Polls},
    stats::{Counters, count},
    store::{Lease, LeaseOutcome, StoreEntry, StoreError, StoreKey, TokenStore},
};

/// The interval at which the holder of a lease extends it.
const EXTEND_INTERVAL: Duration = Duration::from_secs(1);

pub(crate) struct SecondLevel {
    store: Arc<dyn TokenStore>,
    namespace: String,
    breaker: Arc<Breaker>,
    /// The timeout of calls that callers wait for.
    timeout: Duration,
    /// The timeout of other calls.
    write_timeout: Duration,
    /// The maximum duration of another process's fetch.
    fetch_timeout: Duration,
}

/// The cache's judgement of a token from the store.
pub(crate) enum Fitness {
    Good,
    /// About to expire, no better than the current one, or not what the source would have returned.
    Unfit,
    /// A resource server refused it.
    Refused,
}

/// The result of a look-up in the store.
enum LookupResult {
    Token(AccessToken),
    /// Nothing usable.
    Nothing,
    /// A token that a resource server refused, and its fence.
    Refused(u64),
}

/// The right to put a fetched token.
pub(crate) enum Right {
    /// Under this lease, which must be released.
    Leased(Lease),
    /// Without a lease: another process held it for too long.
    Unleased,
    None,
}

/// The parts of the cache that a store call needs.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) observe: &'a Observe,
    pub(crate) clock: &'a Arc<dyn Clock>,
    pub(crate) counters: &'a Counters,
}

type ChangeNotification<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
type FitnessCheck<'a> = &'a (dyn Fn(&AccessToken) -> Fitness + Send + Sync);

impl Context<'_> {
    fn fault(&self, what: &'static str, reason: &str, warn: bool) {
        count(&self.counters.store_faults);
        self.observe.store_fault(what, reason, warn);
    }
}

impl SecondLevel {
    pub(crate) fn new(store: Arc<dyn TokenStore>, namespace: String, policy: &Policy) -> Self {
        Self {
            store,
            namespace,
            breaker: Arc::default(),
            timeout: policy.store_timeout,
            write_timeout: policy.store_write_timeout,
            fetch_timeout: policy.fetch_timeout,
        }
    }

    /// Returns a token that is judged good, or `None` if the source must be called. Waits while another process fetches.
    ///
    /// Sets `right` as soon as a lease is granted, so that it is released even if this is cancelled.
    pub(crate) async fn find(
        &self,
        request: &TokenRequest,
        fitness: FitnessCheck<'_>,
        right: &mut Right,
        context: Context<'_>,
    ) -> Option<AccessToken> {
        let key = self.key(request);
        let start = Instant::now();
        let mut polls = Polls::new(self.fetch_timeout);
        let mut changed = None;
        loop {
            if polls.listens() {
                // Before the look-up, so that no change in between is missed.
                let listening = changed.get_or_insert_with(|| self.changed(&key));
                if is_ready(listening).await {
                    *listening = self.changed(&key);
                }
            }
            match self.look(&key, fitness, context).await {
                Some(LookupResult::Token(token)) => return Some(token),
                Some(_) => {}
                None => return None,
            }
            let waited = start.elapsed();
            if polls.wants_lease(waited) {
                let lease = self.store.lease(&key, LEASE_TTL);
                match self.ask("lease", self.timeout, lease, context).await {
                    Some(LeaseOutcome::Granted(lease)) => {
                        *right = Right::Leased(lease);
                        return self.look_again(&key, fitness, context).await;
                    }
                    Some(LeaseOutcome::Held { fence }) => polls.note_holder(fence, waited),
                    None => return None,
                }
            }
            if polls.is_over(waited) {
                *right = Right::Unleased;
                return None;
            }
            let pause = time::sleep(polls.pause(waited));
            match &mut changed {
                None => pause.await,
                Some(notified) => tokio::select! {
                    () = pause => {}
                    () = notified => {
                        changed = None;
                        time::sleep(polls.pause_after_change()).await;
                    }
                },
            }
        }
    }

    /// Waits until the store reports a change of this key; never returns if the store panics.
    fn changed<'a>(&'a self, key: &'a StoreKey) -> ChangeNotification<'a> {
        Box::pin(async move {
            if CatchPanic::new(self.store.changed(key)).await.is_none() {
                future::pending::<()>().await;
            }
        })
    }

    /// Looks up again under the lease: another process may have put a token just before it released the lease.
    async fn look_again(
        &self,
        key: &StoreKey,
        fitness: FitnessCheck<'_>,
        context: Context<'_>,
    ) -> Option<AccessToken> {
        match self.look(key, fitness, context).await? {
            LookupResult::Token(found) => Some(found),
            // No other process should take it over while its replacement is fetched.
            LookupResult::Refused(fence) => {
                let remove = self.store.remove(key, fence);
                self.ask("remove", self.timeout, remove, context).await;
                None
            }
            LookupResult::Nothing => None,
        }
    }

    /// Returns the result of a look-up; `None` if the store is unavailable.
    async fn look(
        &self,
        key: &StoreKey,
        fitness: FitnessCheck<'_>,
        context: Context<'_>,
    ) -> Option<LookupResult> {
        let Some(entry) = self.look_up(key, context).await? else {
            return Some(LookupResult::Nothing);
        };
        let token = match entry::decode(entry.bytes(), entry.ttl(), context.clock.moment()) {
            DecodeResult::Token(token) => token,
            DecodeResult::Nothing => return Some(LookupResult::Nothing),
            DecodeResult::Corrupt => {
                context.fault("entry", "the entry cannot be read", true);
                return Some(LookupResult::Nothing);
            }
        };
        Some(match fitness(&token) {
            Fitness::Good => LookupResult::Token(token),
            Fitness::Unfit => LookupResult::Nothing,
            Fitness::Refused => LookupResult::Refused(entry.fence()),
        })
    }

    /// Looks up the entry. Every use of the store begins with this call, so it is the one that probes a failed store.
    async fn look_up(&self, key: &StoreKey, context: Context<'_>) -> Option<Option<StoreEntry>> {
        match self.breaker.admit(context.clock.now()) {
            Admission::Granted => {
                let look_up = self.store.look_up(key);
                self.ask("look_up", self.timeout, look_up, context).await
            }
            Admission::Probe(probe) => self.probe(probe, key, context).await,
            Admission::Denied => None,
        }
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
        let (clock, timeout) = (context.clock.clone(), self.write_timeout);
        let task = tokio::spawn(async move {
            let answer = answer(timeout, store.look_up(&key)).await;
            probe.report(answer.is_ok(), clock.now());
            answer
        });
        let answer = match time::timeout(self.timeout, task).await {
            Ok(Ok(answer)) => answer,
            // Its runtime shuts down.
            Ok(Err(_)) => return None,
            Err(_) => Err(too_slow(self.timeout)),
        };
        answer
            .inspect_err(|reason| context.fault("look_up", reason, true))
            .ok()
    }

    /// Runs the work, and extends the lease until it is done.
    pub(crate) async fn extending<T>(
        &self,
        request: &TokenRequest,
        lease: &Lease,
        work: impl Future<Output = T>,
        context: Context<'_>,
    ) -> T {
        let mut work = pin!(work);
        let mut key = None;
        loop {
            if let Ok(done) = time::timeout(EXTEND_INTERVAL, &mut work).await {
                return done;
            }
            let key = key.get_or_insert_with(|| self.key(request));
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

    /// Puts the fetched token, unless it is bound to this process, and releases the lease.
    pub(crate) async fn finish(
        &self,
        request: &TokenRequest,
        fetched: Option<&AccessToken>,
        right: Right,
        context: Context<'_>,
    ) {
        let lease = match right {
            Right::Leased(lease) => Some(lease),
            Right::Unleased if fetched.is_some() => None,
            Right::Unleased | Right::None => return,
        };
        let key = self.key(request);
        if let Some(token) = fetched {
            self.put(&key, token, lease.as_ref(), context).await;
        }
        if let Some(lease) = lease {
            let release = self.store.release(&key, &lease);
            self.ask("release", self.write_timeout, release, context)
                .await;
        }
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
        match entry::encode(token) {
            Ok(Some(bytes)) if !ttl.is_zero() => {
                let put = self.store.put(key, &bytes, ttl, lease);
                self.ask("put", self.write_timeout, put, context).await;
            }
            Ok(_) => {}
            Err(reason) => context.fault("put", reason, true),
        }
    }

    /// Removes this refused token, unless another one has replaced it.
    pub(crate) async fn forget(
        &self,
        request: &TokenRequest,
        refused: &AccessToken,
        context: Context<'_>,
    ) {
        let key = self.key(request);
        let is_refused = |token: &AccessToken| {
            if token.is_same(refused) {
                Fitness::Refused
            } else {
                Fitness::Unfit
            }
        };
        if let Some(LookupResult::Refused(fence)) = self.look(&key, &is_refused, context).await {
            let remove = self.store.remove(&key, fence);
            self.ask("remove", self.write_timeout, remove, context)
                .await;
        }
    }

    /// Returns the failure that another process with these credentials got from the server, and its remaining time.
    pub(crate) async fn failure(
        &self,
        credentials: CredentialDigest,
        context: Context<'_>,
    ) -> Option<(TokenError, Duration)> {
        let key = StoreKey::of_source(&self.namespace);
        let entry = self.look_up(&key, context).await??;
        let now = context.clock.moment();
        entry::failure::decode(entry.bytes(), credentials, entry.ttl(), now)
    }

    /// Shares a failure with processes that have the same credentials, if it concerns them.
    pub(crate) async fn put_failure(
        &self,
        error: &TokenError,
        credentials: CredentialDigest,
        rest: Duration,
        context: Context<'_>,
    ) {
        let now = context.clock.moment();
        if let Some(bytes) = entry::failure::encode(error, credentials, rest, now) {
            let key = StoreKey::of_source(&self.namespace);
            // Without a lease: of several failures the longest one stays.
            let put = self.store.put(&key, &bytes, rest, None);
            self.ask("put", self.write_timeout, put, context).await;
        }
    }

    fn key(&self, request: &TokenRequest) -> StoreKey {
        StoreKey::new(&self.namespace, request)
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

/// Polls once, so that a subscription begins; returns true if the change has already happened.
async fn is_ready(changed: &mut ChangeNotification<'_>) -> bool {
    future::poll_fn(|context| Poll::Ready(changed.as_mut().poll(context).is_ready())).await
}
