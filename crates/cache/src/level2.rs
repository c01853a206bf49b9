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
use tokio::time;

use crate::{
    Lease, StoreError, StoreKey, TokenStore, entry, observe,
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
    /// A resource server refused it: nobody else shall take it over.
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
    pub(crate) cache: &'a str,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) counters: &'a Counters,
}

impl Context<'_> {
    fn fault(&self, what: &'static str) {
        count(&self.counters.store_faults);
        observe::store_fault(self.cache, what);
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

    /// A token that is judged good, or the right to fetch one. Waits for another process that is fetching, for a while.
    pub(crate) async fn find(
        &self,
        request: &TokenRequest,
        context: Context<'_>,
        judge: &(dyn Fn(&AccessToken) -> Verdict + Send + Sync),
    ) -> Found {
        let key = self.key(request);
        let mut waited = Duration::ZERO;
        loop {
            if self.rests(context.clock.now()) {
                return Found::Nothing(None);
            }
            let looked = self.ask("look_up", self.store.look_up(&key), context).await;
            let Some(looked) = looked else {
                return Found::Nothing(None);
            };
            if let Some(entry) = looked {
                match entry::decode(entry.bytes(), entry.ttl(), context.clock.moment()) {
                    Some(token) => match judge(&token) {
                        Verdict::Good => return Found::Token(token),
                        Verdict::Old => {}
                        Verdict::Refused => {
                            self.ask("remove", self.store.remove(&key), context).await;
                        }
                    },
                    None => context.fault("entry"),
                }
            }
            let leased = self
                .ask("lease", self.store.lease(&key, LEASE), context)
                .await;
            match leased {
                Some(None) if waited < PATIENCE => {
                    time::sleep(LOOK).await;
                    waited += LOOK;
                }
                Some(lease) => return Found::Nothing(lease),
                None => return Found::Nothing(None),
            }
        }
    }

    /// Puts what was fetched, and gives the lease back.
    pub(crate) async fn keep(
        &self,
        request: &TokenRequest,
        token: Option<&AccessToken>,
        lease: Option<Lease>,
        context: Context<'_>,
    ) {
        let key = self.key(request);
        if self.rests(context.clock.now()) {
            return;
        }
        if let Some(token) = token {
            let ttl = token.expires().saturating_since(context.clock.now());
            if let Some(bytes) = entry::encode(token).filter(|_| !ttl.is_zero()) {
                let fence = lease.map(|lease| lease.fence());
                self.ask("put", self.store.put(&key, &bytes, ttl, fence), context)
                    .await;
            }
        }
        if let Some(lease) = lease {
            self.ask("release", self.store.release(&key, lease), context)
                .await;
        }
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
        if let Ok(Ok(answer)) = time::timeout(BUDGET, question).await {
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
