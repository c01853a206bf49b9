//! The shared store as the cache uses it: with budgets, a circuit breaker, and no trust.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use hallpass_core::{AccessToken, Clock, Timestamp, TokenRequest};
use sha2::{Digest as _, Sha256};
use tokio::time::{self, Instant};

use crate::{
    Lease, StoreError, StoreKey, TokenStore, entry,
    observe::Observe,
    panics::CatchPanic,
    stats::{Counters, count},
};

/// How long one question to the store may take.
const BUDGET: Duration = Duration::from_millis(100);
/// How long a lease lives: a fetch that takes longer is on its own.
const LEASE: Duration = Duration::from_secs(15);
/// How long to wait for what another process is fetching, and how often to look.
const PATIENCE: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(50);
/// After so many faults in a row the store is left alone, for so long.
const FAULTS: u32 = 3;
const REST: Duration = Duration::from_secs(10);

pub(crate) struct SecondLevel {
    store: Arc<dyn TokenStore>,
    namespace: String,
    faults: AtomicU32,
    rest_until: AtomicU64,
}

/// What the cache thinks of a token that the store holds.
pub(crate) enum Verdict {
    Good,
    /// About to expire, or no better than what is at hand.
    Old,
    /// A resource server refused it.
    Refused,
}

/// What lies in the store.
enum Look {
    Found(AccessToken),
    /// Nothing that is of use.
    Nothing,
    /// What a resource server refused.
    Refused,
}

/// What the store had to give.
pub(crate) enum Found {
    Token(AccessToken),
    /// The source must be asked; with a lease where one could be had.
    Nothing(Option<Lease>),
}

/// What of the cache a question to the store needs.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) observe: &'a Observe,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) counters: &'a Counters,
}

impl Context<'_> {
    fn fault(&self, what: &'static str) {
        count(&self.counters.store_faults);
        self.observe.store_fault(what);
    }
}

impl SecondLevel {
    pub(crate) fn new(store: Arc<dyn TokenStore>, namespace: &str) -> Self {
        Self {
            store,
            namespace: namespace.to_owned(),
            faults: AtomicU32::new(0),
            rest_until: AtomicU64::new(0),
        }
    }

    /// A token that is judged good, or the right to fetch one. Waits for another process that is fetching, for a while;
    /// for longer where nobody waits.
    pub(crate) async fn find(
        &self,
        request: &TokenRequest,
        nobody_waits: bool,
        judge: &(dyn Fn(&AccessToken) -> Verdict + Send + Sync),
        context: Context<'_>,
    ) -> Found {
        let key = self.key(request);
        let patience = if nobody_waits { LEASE } else { PATIENCE };
        let until = Instant::now() + patience;
        loop {
            match self.look(&key, judge, context).await {
                Some(Look::Found(token)) => return Found::Token(token),
                Some(_) => {}
                None => return Found::Nothing(None),
            }
            let leased = self.ask("lease", self.store.lease(&key, LEASE), context);
            match leased.await {
                Some(Some(lease)) => return self.look_again(&key, lease, judge, context).await,
                Some(None) if Instant::now() < until => time::sleep(LOOK).await,
                _ => return Found::Nothing(None),
            }
        }
    }

    /// With the lease in hand: another process may have put a token just before it gave the lease back.
    async fn look_again(
        &self,
        key: &StoreKey,
        lease: Lease,
        judge: &(dyn Fn(&AccessToken) -> Verdict + Send + Sync),
        context: Context<'_>,
    ) -> Found {
        match self.look(key, judge, context).await {
            Some(Look::Found(token)) => {
                self.ask("release", self.store.release(key, lease), context)
                    .await;
                return Found::Token(token);
            }
            // Nobody else shall take it over while its successor is fetched.
            Some(Look::Refused) => {
                self.ask("remove", self.store.remove(key), context).await;
            }
            _ => {}
        }
        Found::Nothing(Some(lease))
    }

    /// What lies under the key; `None` where the store cannot tell.
    async fn look(
        &self,
        key: &StoreKey,
        judge: &(dyn Fn(&AccessToken) -> Verdict + Send + Sync),
        context: Context<'_>,
    ) -> Option<Look> {
        let looked = self
            .ask("look_up", self.store.look_up(key), context)
            .await?;
        let Some(entry) = looked else {
            return Some(Look::Nothing);
        };
        let Some(token) = entry::decode(entry.bytes(), entry.ttl(), context.clock.moment()) else {
            context.fault("entry");
            return Some(Look::Nothing);
        };
        Some(match judge(&token) {
            Verdict::Good => Look::Found(token),
            Verdict::Old => Look::Nothing,
            Verdict::Refused => Look::Refused,
        })
    }

    /// Puts what was fetched under the lease, unless it is bound to something, and gives the lease back.
    pub(crate) async fn keep(
        &self,
        request: &TokenRequest,
        token: Option<&AccessToken>,
        lease: Lease,
        context: Context<'_>,
    ) {
        let key = self.key(request);
        // Another process has another certificate, and would not be told when this one's is replaced.
        if let Some(token) = token.filter(|token| token.binding().is_none()) {
            let ttl = token.expires().saturating_since(context.clock.now());
            if let Some(bytes) = entry::encode(token).filter(|_| !ttl.is_zero()) {
                let put = self.store.put(&key, &bytes, ttl, lease);
                self.ask("put", put, context).await;
            }
        }
        self.ask("release", self.store.release(&key, lease), context)
            .await;
    }

    /// A hash of namespace and request: neither can be read from it, and no two run into one another.
    fn key(&self, request: &TokenRequest) -> StoreKey {
        let mut hash = Sha256::new();
        hash.update((self.namespace.len() as u64).to_be_bytes());
        hash.update(self.namespace.as_bytes());
        hash.update(request.canonical());
        let name = hash
            .finalize()
            .iter()
            .fold(String::new(), |mut name, byte| {
                // Writing to a String cannot fail.
                let _ = write!(name, "{byte:02x}");
                name
            });
        StoreKey(name)
    }

    /// The answer, or `None` where there was none in time. Faults in a row open the breaker.
    async fn ask<T>(
        &self,
        what: &'static str,
        question: impl Future<Output = Result<T, StoreError>>,
        context: Context<'_>,
    ) -> Option<T> {
        if self.rests(context.clock.now()) {
            return None;
        }
        if let Ok(Some(Ok(answer))) = time::timeout(BUDGET, CatchPanic::new(question)).await {
            self.faults.store(0, Ordering::Relaxed);
            return Some(answer);
        }
        context.fault(what);
        if self.faults.fetch_add(1, Ordering::Relaxed) + 1 >= FAULTS {
            let until = context.clock.now().saturating_add(REST);
            self.rest_until.store(until.as_nanos(), Ordering::Relaxed);
            self.faults.store(0, Ordering::Relaxed);
        }
        None
    }

    fn rests(&self, now: Timestamp) -> bool {
        now.as_nanos() < self.rest_until.load(Ordering::Relaxed)
    }
}
