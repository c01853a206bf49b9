use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use hallpass_cache::{
    EntryOrLease, Lease, LeaseOutcome, StoreEntry, StoreError, StoreKey, TokenStore,
};
use redis::{FromRedisValue, ToRedisArgs, Value};

use crate::{
    RedisStoreErrorKind as Kind,
    call_error::{CallError, Recovery},
    changes::Changes,
    connection::{Nodes, slot},
    crypto,
    envelope::EntryDefect,
    keyring::Protection,
    scripts::{self, FENCE_DIGITS, Script},
};

/// The pause before another attempt to subscribe to changes; it doubles up to the maximum.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A [`TokenStore`] on Redis 6 or later, or a service that is compatible with it (tested with Redis 7): encrypted entries, leases
/// and notifications.
///
/// Pass it to [`CacheBuilder::store`](hallpass_cache::CacheBuilder::store). Clones share one connection. Building it
/// does no I/O, and no call establishes a connection itself: a task of its own does, when the store is used first and
/// again after a connection was lost. Meanwhile calls wait, at most for the cache's timeouts, and for a while after a
/// failed attempt they fail at once.
///
/// See [the crate](crate) for an example.
///
/// # Cancellation
///
/// Each call is one Lua script, and runs in a task of its own: a dropped call happens in full or not at all. A lease
/// that is granted to a call that was dropped is released at once.
#[derive(Clone)]
pub struct RedisTokenStore(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) nodes: Nodes,
    pub(crate) changes: Arc<Changes>,
    pub(crate) protection: Protection,
    pub(crate) prefix: String,
    pub(crate) channel: String,
    pub(crate) response_timeout: Duration,
    /// Whether the library's functions are called instead of scripts.
    pub(crate) calls_functions: bool,
    /// False after Redis refused a subscription.
    pub(crate) notifies: AtomicBool,
    pub(crate) ignored: AtomicU64,
    /// Whether the last entry could not be used: a series of them is logged as one warning.
    pub(crate) ignoring: AtomicBool,
}

impl RedisTokenStore {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    #[cfg(feature = "internals")]
    pub(crate) fn nodes(&self) -> &Nodes {
        &self.0.nodes
    }

    /// Returns the number of entries that were ignored since this store was built because they could not be decrypted:
    /// encrypted with an unknown key, altered, copied from another key's name, or not encrypted.
    pub fn ignored_entries(&self) -> u64 {
        self.0.ignored.load(Ordering::Relaxed)
    }

    /// Returns the library for [`functions`](crate::RedisTokenStoreBuilder::functions): the source code that an operator
    /// loads with `FUNCTION LOAD`. The name of the library differs between versions of this crate whose functions differ.
    pub fn function_library() -> &'static str {
        &scripts::LIBRARY.code
    }

    /// Runs the work in a task of its own, which is not cancelled with the caller.
    async fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, CallError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let done = tokio::spawn(work).await;
        let interrupted =
            |_| StoreError::new("the call was interrupted: its runtime is shutting down");
        done.map_err(interrupted)?
            .map_err(|error| StoreError::new(error.error))
    }
}

impl Inner {
    /// Returns the part of the names of a key that is in braces, so that they are in one slot of a cluster.
    fn tag(key: &StoreKey) -> &str {
        key.as_str()
    }

    fn name(&self, key: &StoreKey, part: &str) -> String {
        format!("{}{{{}}}:{part}", self.prefix, Self::tag(key))
    }

    /// Runs a script; it is loaded where it is missing.
    async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        key: &StoreKey,
        arguments: impl ToRedisArgs,
    ) -> Result<T, CallError> {
        let slot = slot(Self::tag(key));
        let command = |name: &str, script: &str| {
            let mut command = redis::cmd(name);
            command.arg(script).arg(3);
            for part in ["entry", "lease", "fence"] {
                command.arg(self.name(key, part));
            }
            command.arg(&arguments);
            command
        };
        let running = async {
            if self.calls_functions {
                let call = command("FCALL", &script.function());
                return self.nodes.query(slot, &call).await;
            }
            let by_digest = command("EVALSHA", &script.sha1);
            match self.nodes.query(slot, &by_digest).await {
                Err(error) if error.recovery == Recovery::LoadScript => {
                    self.nodes.query(slot, &command("EVAL", &script.code)).await
                }
                reply => reply,
            }
        };
        let reply = tokio::time::timeout(self.response_timeout, running).await;
        let reply = reply
            .map_err(|_| CallError::new(Kind::Unavailable, "Redis did not answer in time"))??;
        T::from_redis_value(reply)
            .map_err(|_| CallError::new(Kind::Unavailable, "the script's reply is unusable"))
    }

    async fn look_up(&self, key: &StoreKey) -> Result<Option<StoreEntry>, CallError> {
        let found: Option<(Vec<u8>, i64)> = self.run(&scripts::LOOK_UP, key, &[""; 0]).await?;
        match found {
            Some((value, ttl)) => Ok(self.open(key, &value, ttl).await?.ok()),
            None => Ok(None),
        }
    }

    /// Returns the entry; its fence if it cannot be used.
    async fn open(
        &self,
        key: &StoreKey,
        value: &[u8],
        ttl: i64,
    ) -> Result<Result<StoreEntry, Option<u64>>, CallError> {
        let fence = split_fence(value);
        let name = self.name(key, "entry");
        let opened = match &fence {
            Some((fence, sealed)) => {
                let opened = self.protection.open(&name, sealed).await;
                opened
                    .map_err(unreadable_keys)?
                    .map(|entry| (*fence, entry))
            }
            None => Err(EntryDefect::UnknownFormat),
        };
        match opened {
            Ok((fence, entry)) => {
                self.ignoring.store(false, Ordering::Relaxed);
                // An entry without an expiry was not written by a script of this crate.
                let ttl = u64::try_from(ttl).unwrap_or_default();
                let ttl = Duration::from_millis(ttl);
                Ok(Ok(StoreEntry::new(entry.to_vec(), fence, Some(ttl))))
            }
            Err(reason) => {
                self.ignore(reason);
                Ok(Err(fence.map(|(fence, _)| fence)))
            }
        }
    }

    fn ignore(&self, reason: EntryDefect) {
        self.ignored.fetch_add(1, Ordering::Relaxed);
        let reason = tracing::field::display(reason);
        if self.ignoring.swap(true, Ordering::Relaxed) {
            tracing::debug!(reason, "token store entry ignored");
        } else {
            tracing::warn!(reason, "token store entry ignored");
        }
    }

    async fn put(
        &self,
        key: &StoreKey,
        entry: &[u8],
        ttl: Duration,
        lease: Option<Lease>,
    ) -> Result<(), CallError> {
        let name = self.name(key, "entry");
        let sealed = self.protection.seal(&name, entry).await;
        let sealed = sealed.map_err(unreadable_keys)?;
        let (fence, owner) = match lease {
            Some(lease) => (digits(lease.fence()), lease.owner().to_string()),
            None => (String::new(), String::new()),
        };
        let ttl = milliseconds(ttl).to_string();
        let arguments: [&[u8]; 6] = [
            self.channel.as_bytes(),
            key.as_str().as_bytes(),
            &sealed,
            ttl.as_bytes(),
            fence.as_bytes(),
            owner.as_bytes(),
        ];
        self.run::<Value>(&scripts::PUT, key, &arguments).await?;
        Ok(())
    }

    async fn remove(&self, key: &StoreKey, fence: u64) -> Result<(), CallError> {
        let arguments = [&*self.channel, key.as_str(), &digits(fence)];
        self.run::<Value>(&scripts::REMOVE, key, &arguments).await?;
        Ok(())
    }

    async fn lease(&self, key: &StoreKey, ttl: Duration) -> Result<LeaseOutcome, CallError> {
        let owner = random_owner()?;
        let arguments = [milliseconds(ttl).to_string(), owner.to_string()];
        let (granted, fence): (bool, String) =
            self.run(&scripts::TAKE_LEASE, key, &arguments).await?;
        lease_outcome(granted, &fence, owner)
    }

    async fn look_up_or_lease(
        &self,
        key: &StoreKey,
        except: Option<u64>,
        ttl: Duration,
    ) -> Result<EntryOrLease, CallError> {
        const FOUND: i64 = 2;
        // Redis checks the memory limit before a function that may write, and would not find entries when it is full.
        if self.calls_functions
            && let Some(entry) = self.look_up(key).await?
            && Some(entry.fence()) != except
        {
            return Ok(EntryOrLease::Entry(entry));
        }
        let owner = random_owner()?;
        let mut except = except.map(digits).unwrap_or_default();
        for _ in 0..2 {
            let arguments = [&except, &milliseconds(ttl).to_string(), &owner.to_string()];
            let script = &scripts::LOOK_UP_OR_LEASE;
            let (outcome, value, left): (i64, Vec<u8>, i64) =
                self.run(script, key, &arguments).await?;
            if outcome != FOUND {
                let fence = String::from_utf8_lossy(&value);
                let outcome = lease_outcome(outcome == 1, &fence, owner)?;
                return Ok(EntryOrLease::Lease(outcome));
            }
            match self.open(key, &value, left).await? {
                Ok(entry) => return Ok(EntryOrLease::Entry(entry)),
                // It counts as none.
                Err(fence) => except = fence.map(digits).unwrap_or_default(),
            }
        }
        // Someone keeps putting such entries.
        self.lease(key, ttl).await.map(EntryOrLease::Lease)
    }

    /// Subscribes to changes. Without a connection it tries again for as long as calls wait for a change: a process that
    /// has its tokens would not connect otherwise, and miss changes.
    async fn subscribe(&self, slot: u16) {
        let mut pause = FIRST_PAUSE;
        loop {
            // The nodes of a cluster pass notifications on to each other.
            let (_, link) = self.nodes.link(slot);
            if let Ok(subscribed) = link.subscribe(&self.channel).await {
                self.notifies.store(subscribed, Ordering::Relaxed);
                break;
            }
            if self.changes.is_idle() {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
        if pause > FIRST_PAUSE {
            self.changes.notify_all();
        }
    }

    async fn extend(
        &self,
        key: &StoreKey,
        lease: &Lease,
        ttl: Duration,
    ) -> Result<bool, CallError> {
        let arguments = [held(lease), milliseconds(ttl).to_string()];
        self.run(&scripts::EXTEND, key, &arguments).await
    }

    async fn release(&self, key: &StoreKey, lease: &Lease) -> Result<(), CallError> {
        let arguments = [&*self.channel, key.as_str(), &held(lease)];
        self.run::<Value>(&scripts::RELEASE, key, &arguments)
            .await?;
        Ok(())
    }
}

#[async_trait]
impl TokenStore for RedisTokenStore {
    async fn look_up(&self, key: &StoreKey) -> Result<Option<StoreEntry>, StoreError> {
        let (inner, key) = (self.0.clone(), key.clone());
        self.detached(async move { inner.look_up(&key).await })
            .await
    }

    async fn put(
        &self,
        key: &StoreKey,
        entry: &[u8],
        ttl: Duration,
        lease: Option<&Lease>,
    ) -> Result<(), StoreError> {
        let (inner, key, lease) = (self.0.clone(), key.clone(), lease.cloned());
        let entry = zeroize::Zeroizing::new(entry.to_vec());
        self.detached(async move { inner.put(&key, &entry, ttl, lease).await })
            .await
    }

    async fn remove(&self, key: &StoreKey, fence: u64) -> Result<(), StoreError> {
        let (inner, key) = (self.0.clone(), key.clone());
        self.detached(async move { inner.remove(&key, fence).await })
            .await
    }

    async fn lease(&self, key: &StoreKey, ttl: Duration) -> Result<LeaseOutcome, StoreError> {
        let (inner, key) = (self.0.clone(), key.clone());
        let (caller, answer) = tokio::sync::oneshot::channel();
        let leasing = self.detached(async move {
            let outcome = inner.lease(&key, ttl).await?;
            if let Err(LeaseOutcome::Granted(lease)) = caller.send(outcome) {
                // The caller has given up: nobody else would release it.
                inner.release(&key, &lease).await?;
            }
            Ok(())
        });
        leasing.await?;
        answer.await.map_err(interrupted)
    }

    async fn look_up_or_lease(
        &self,
        key: &StoreKey,
        except: Option<u64>,
        ttl: Duration,
    ) -> Result<EntryOrLease, StoreError> {
        let (inner, key) = (self.0.clone(), key.clone());
        let (caller, answer) = tokio::sync::oneshot::channel();
        let asking = self.detached(async move {
            let outcome = inner.look_up_or_lease(&key, except, ttl).await?;
            if let Err(EntryOrLease::Lease(LeaseOutcome::Granted(lease))) = caller.send(outcome) {
                inner.release(&key, &lease).await?;
            }
            Ok(())
        });
        asking.await?;
        answer.await.map_err(interrupted)
    }

    async fn extend(
        &self,
        key: &StoreKey,
        lease: &Lease,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        let (inner, key, lease) = (self.0.clone(), key.clone(), lease.clone());
        self.detached(async move { inner.extend(&key, &lease, ttl).await })
            .await
    }

    async fn release(&self, key: &StoreKey, lease: &Lease) -> Result<(), StoreError> {
        let (inner, key, lease) = (self.0.clone(), key.clone(), lease.clone());
        self.detached(async move { inner.release(&key, &lease).await })
            .await
    }

    fn notifies(&self) -> bool {
        self.0.notifies.load(Ordering::Relaxed)
    }

    async fn changed(&self, key: &StoreKey) {
        let listener = self.0.changes.listen(key.as_str());
        if let Some(mut turn) = self.0.changes.subscription_turn() {
            let (inner, slot) = (self.0.clone(), slot(Inner::tag(key)));
            tokio::spawn(async move {
                loop {
                    turn.begin();
                    inner.subscribe(slot).await;
                    if turn.end() {
                        return;
                    }
                }
            });
        }
        listener.changed().await;
    }
}

impl fmt::Debug for RedisTokenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTokenStore")
            .field("prefix", &self.0.prefix)
            .field("protection", &self.0.protection)
            .finish_non_exhaustive()
    }
}

#[allow(clippy::needless_pass_by_value)] // As `map_err` hands it over.
fn interrupted(_: tokio::sync::oneshot::error::RecvError) -> StoreError {
    StoreError::new("the call was interrupted")
}

fn random_owner() -> Result<u64, CallError> {
    let owner = crypto::random().map(u64::from_be_bytes);
    owner.ok_or_else(|| CallError::new(Kind::Unavailable, "the system has no random bytes"))
}

/// Splits an entry as Redis has it into its fence and its sealed content.
pub(crate) fn split_fence(value: &[u8]) -> Option<(u64, &[u8])> {
    let (fence, sealed) = value.split_at_checked(FENCE_DIGITS)?;
    // A sign is not a digit, as in the scripts.
    let digits = fence.iter().all(u8::is_ascii_digit);
    let fence = str::from_utf8(fence).ok().filter(|_| digits)?;
    Some((fence.parse().ok()?, sealed))
}

fn lease_outcome(granted: bool, fence: &str, owner: u64) -> Result<LeaseOutcome, CallError> {
    let fence = fence.parse::<u64>();
    let fence =
        fence.map_err(|_| CallError::new(Kind::Unavailable, "the script's reply is unusable"))?;
    Ok(if granted {
        LeaseOutcome::Granted(Lease::new(fence).with_owner(owner))
    } else {
        LeaseOutcome::Held { fence: Some(fence) }
    })
}

/// The scripts compare leases as texts.
fn held(lease: &Lease) -> String {
    format!("{}:{}", digits(lease.fence()), lease.owner())
}

pub(crate) fn digits(fence: u64) -> String {
    format!("{fence:0FENCE_DIGITS$}")
}

/// Rounds down, so that nothing lives longer than asked, but not to zero, which Redis refuses.
fn milliseconds(duration: Duration) -> u64 {
    // Ten thousand years: what Redis accepts.
    const MAX_MILLISECONDS: u64 = 10_000 * 365 * 24 * 3_600 * 1_000;
    u64::try_from(duration.as_millis())
        .unwrap_or(MAX_MILLISECONDS)
        .clamp(1, MAX_MILLISECONDS)
}

fn unreadable_keys(reason: String) -> CallError {
    CallError::new(Kind::EncryptionKeys, reason)
}
