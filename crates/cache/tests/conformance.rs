//! The conformance kit for stores: the store in memory passes, and each wrong store is caught by its rule.

#![cfg(feature = "conformance")]
#![allow(clippy::unused_async, clippy::unwrap_used)]

use std::{sync::atomic::Ordering, time::Duration};

use async_trait::async_trait;
use hallpass_cache::{
    EntryOrLease, LayeredStore, Lease, LeaseOutcome, MemoryTokenStore, StoreCall, StoreEntry,
    StoreError, StoreKey, StoreLayer, TokenStore,
    conformance::{Rule, Subject, check},
};
use hallpass_core::TokenRequest;
use hallpass_testkit::ManualClock;

async fn memory() -> Subject {
    let clock = ManualClock::new();
    let store = MemoryTokenStore::new(clock.clone());
    Subject::new(store.clone(), store).wait_with(move |time| clock.advance(time))
}

hallpass_cache::store_conformance!(memory_store, memory());

/// The memory store with the trait's defaults.
#[derive(Clone, Debug)]
struct Plain(MemoryTokenStore);

#[async_trait]
impl TokenStore for Plain {
    async fn look_up(&self, key: &StoreKey) -> Result<Option<StoreEntry>, StoreError> {
        self.0.look_up(key).await
    }

    async fn put(
        &self,
        key: &StoreKey,
        entry: &[u8],
        ttl: Duration,
        lease: Option<&Lease>,
    ) -> Result<(), StoreError> {
        self.0.put(key, entry, ttl, lease).await
    }

    async fn remove(&self, key: &StoreKey, fence: u64) -> Result<(), StoreError> {
        self.0.remove(key, fence).await
    }

    async fn lease(&self, key: &StoreKey, ttl: Duration) -> Result<LeaseOutcome, StoreError> {
        self.0.lease(key, ttl).await
    }

    async fn extend(
        &self,
        key: &StoreKey,
        lease: &Lease,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        self.0.extend(key, lease, ttl).await
    }

    async fn release(&self, key: &StoreKey, lease: &Lease) -> Result<(), StoreError> {
        self.0.release(key, lease).await
    }
}

async fn plain() -> Subject {
    let clock = ManualClock::new();
    let store = Plain(MemoryTokenStore::new(clock.clone()));
    Subject::new(store.clone(), store).wait_with(move |time| clock.advance(time))
}

hallpass_cache::store_conformance!(plain_store, plain());

/// A layer that changes nothing.
#[derive(Clone, Debug)]
struct Transparent;

impl StoreLayer for Transparent {
    async fn around<T: Send>(
        &self,
        _: StoreCall,
        result: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        result.await
    }
}

async fn layered() -> Subject {
    let clock = ManualClock::new();
    let store = LayeredStore::new(MemoryTokenStore::new(clock.clone()), Transparent);
    Subject::new(store.clone(), store).wait_with(move |time| clock.advance(time))
}

hallpass_cache::store_conformance!(layered_store, layered());

#[test]
fn a_layered_store_notifies_if_the_inner_one_does() {
    let store = MemoryTokenStore::default();
    let plain = Plain(store.clone());
    assert!(!plain.notifies() && store.notifies());
    assert!(!LayeredStore::new(plain, Transparent).notifies());
    assert!(LayeredStore::new(store, Transparent).notifies());
}

/// The flaw of a wrong store.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Flaw {
    CutsEntries,
    ForgetsTheFence,
    IgnoresTheRequest,
    KeepsEntries,
    CountsNoTimeDown,
    WritesInTwoSteps,
    FailsUnderLoad,
    RemovesAnything,
    RemovesNothing,
    LetsShorterOnesReplace,
    PutsWithoutAFence,
    GrantsAll,
    NamesOtherHolders,
    KeepsLeases,
    ExtendsNothing,
    RevivesLeases,
    ReleasesAnything,
    ReusesFences,
    TakesLatePuts,
    LosesLeases,
    ReturnsExceptions,
    LeasesAnyway,
    LeasesWithoutAnotherLook,
    ExtendsForWaiters,
    SaysNothing,
    HidesPutsWithoutALease,
    DeniesNotifications,
    Panics,
    ShowsEntries,
}

/// The memory store with a flaw.
#[derive(Clone)]
struct Wrong {
    inner: MemoryTokenStore,
    flaw: Flaw,
    shown: std::sync::Arc<std::sync::Mutex<String>>,
    calls: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);

impl Wrong {
    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    fn key(&self, key: &StoreKey) -> StoreKey {
        let digest = |text: &str| {
            let mut digest = [0; 32];
            for (byte, digits) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
                *byte = u8::from_str_radix(str::from_utf8(digits).unwrap(), 16).unwrap();
            }
            digest
        };
        match self.flaw {
            Flaw::IgnoresTheRequest => StoreKey::from_digests(&digest(key.namespace()), &[0; 32]),
            _ => key.clone(),
        }
    }
}

impl std::fmt::Debug for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Wrong({})", self.shown.lock().unwrap())
    }
}

#[async_trait]
impl TokenStore for Wrong {
    async fn look_up(&self, key: &StoreKey) -> Result<Option<StoreEntry>, StoreError> {
        assert!(!self.is(Flaw::Panics), "a panic of the test");
        let found = self.inner.look_up(&self.key(key)).await?;
        Ok(found.map(|entry| match self.flaw {
            Flaw::CutsEntries => {
                let length = entry.bytes().len().min(65_536);
                StoreEntry::new(entry.bytes()[..length].to_vec(), entry.fence(), entry.ttl())
            }
            Flaw::ForgetsTheFence => StoreEntry::new(entry.bytes().to_vec(), 0, entry.ttl()),
            Flaw::CountsNoTimeDown => {
                // Only short ones are right.
                let minute = Duration::from_secs(60);
                let ttl = entry.ttl();
                let ttl = ttl.map(|ttl| if ttl > minute / 2 { minute } else { ttl });
                StoreEntry::new(entry.bytes().to_vec(), entry.fence(), ttl)
            }
            _ => entry,
        }))
    }

    async fn put(
        &self,
        key: &StoreKey,
        entry: &[u8],
        ttl: Duration,
        lease: Option<&Lease>,
    ) -> Result<(), StoreError> {
        let key = self.key(key);
        let ttl = if self.is(Flaw::KeepsEntries) {
            YEAR
        } else {
            ttl
        };
        if self.is(Flaw::ShowsEntries) {
            *self.shown.lock().unwrap() = String::from_utf8_lossy(entry).into_owned();
        }
        if self.is(Flaw::HidesPutsWithoutALease) {
            self.calls
                .store(usize::from(lease.is_none()), Ordering::Relaxed);
        }
        if self.is(Flaw::WritesInTwoSteps) {
            let half = &entry[..entry.len() / 2];
            self.inner.put(&key, half, ttl, lease).await?;
        }
        if lease.is_none()
            && self.is(Flaw::LetsShorterOnesReplace)
            && let Some(found) = self.inner.look_up(&key).await?
        {
            self.inner.remove(&key, found.fence()).await?;
        }
        if lease.is_none() && self.is(Flaw::PutsWithoutAFence) {
            let fence = self
                .inner
                .look_up(&key)
                .await?
                .map_or(1, |entry| entry.fence());
            let same = Lease::new(fence);
            return self.inner.put(&key, entry, ttl, Some(&same)).await;
        }
        if self.is(Flaw::TakesLatePuts) {
            let latest = Lease::new(u64::MAX / 2);
            return self.inner.put(&key, entry, ttl, Some(&latest)).await;
        }
        self.inner.put(&key, entry, ttl, lease).await
    }

    async fn remove(&self, key: &StoreKey, fence: u64) -> Result<(), StoreError> {
        let key = self.key(key);
        let fence = match self.flaw {
            Flaw::RemovesAnything => self
                .inner
                .look_up(&key)
                .await?
                .map_or(0, |found| found.fence()),
            Flaw::RemovesNothing => 0,
            _ => fence,
        };
        self.inner.remove(&key, fence).await
    }

    async fn lease(&self, key: &StoreKey, ttl: Duration) -> Result<LeaseOutcome, StoreError> {
        let key = self.key(key);
        if self.is(Flaw::FailsUnderLoad) && self.calls.fetch_add(1, Ordering::Relaxed) > 100 {
            return Err(StoreError::new("too many calls"));
        }
        let ttl = match self.flaw {
            Flaw::KeepsLeases => YEAR,
            Flaw::ReusesFences => return self.reuse(&key, ttl).await,
            _ => ttl,
        };
        let outcome = self.inner.lease(&key, ttl).await?;
        if self.is(Flaw::LosesLeases)
            && let LeaseOutcome::Granted(lease) = &outcome
        {
            // Made permanent only if the caller is still there.
            self.inner.extend(&key, lease, YEAR).await?;
            tokio::task::yield_now().await;
            self.inner.extend(&key, lease, ttl).await?;
        }
        if self.is(Flaw::NamesOtherHolders)
            && let LeaseOutcome::Held { .. } = outcome
        {
            let fence = self.calls.fetch_add(1, Ordering::Relaxed) as u64;
            return Ok(LeaseOutcome::Held { fence: Some(fence) });
        }
        if self.is(Flaw::GrantsAll)
            && let LeaseOutcome::Held { fence: Some(fence) } = outcome
        {
            return Ok(LeaseOutcome::Granted(Lease::new(fence)));
        }
        Ok(outcome)
    }

    async fn look_up_or_lease(
        &self,
        key: &StoreKey,
        except: Option<u64>,
        ttl: Duration,
    ) -> Result<EntryOrLease, StoreError> {
        let key = self.key(key);
        match self.flaw {
            Flaw::LeasesAnyway => self.lease(&key, ttl).await.map(EntryOrLease::Lease),
            Flaw::LeasesWithoutAnotherLook => {
                let found = self.look_up(&key).await?;
                if let Some(entry) = found.filter(|entry| Some(entry.fence()) != except) {
                    return Ok(EntryOrLease::Entry(entry));
                }
                for _ in 0..5 {
                    tokio::task::yield_now().await;
                }
                self.lease(&key, ttl).await.map(EntryOrLease::Lease)
            }
            flaw => {
                let except = except.filter(|_| flaw != Flaw::ReturnsExceptions);
                let found = self.inner.look_up_or_lease(&key, except, ttl).await?;
                if flaw == Flaw::ExtendsForWaiters
                    && let EntryOrLease::Lease(LeaseOutcome::Held { fence: Some(fence) }) = found
                {
                    self.inner.extend(&key, &Lease::new(fence), ttl).await?;
                }
                Ok(found)
            }
        }
    }

    async fn extend(
        &self,
        key: &StoreKey,
        lease: &Lease,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        let key = self.key(key);
        if self.is(Flaw::ExtendsNothing) {
            return Ok(true);
        }
        let extended = self.inner.extend(&key, lease, ttl).await?;
        Ok(extended || self.is(Flaw::RevivesLeases))
    }

    async fn release(&self, key: &StoreKey, lease: &Lease) -> Result<(), StoreError> {
        let key = self.key(key);
        if self.is(Flaw::ReleasesAnything)
            && let LeaseOutcome::Held { fence: Some(fence) } =
                self.inner.lease(&key, Duration::ZERO).await?
        {
            return self.inner.release(&key, &Lease::new(fence)).await;
        }
        self.inner.release(&key, lease).await
    }

    fn notifies(&self) -> bool {
        !self.is(Flaw::DeniesNotifications)
    }

    async fn changed(&self, key: &StoreKey) {
        if self.is(Flaw::SaysNothing) {
            std::future::pending::<()>().await;
        }
        self.inner.changed(&self.key(key)).await;
        if self.is(Flaw::HidesPutsWithoutALease) && self.calls.load(Ordering::Relaxed) > 0 {
            std::future::pending::<()>().await;
        }
    }
}

impl Wrong {
    /// Fences begin at 1 again where nothing is left.
    async fn reuse(&self, key: &StoreKey, ttl: Duration) -> Result<LeaseOutcome, StoreError> {
        let outcome = self.inner.lease(key, ttl).await?;
        Ok(match outcome {
            LeaseOutcome::Granted(_) => LeaseOutcome::Granted(Lease::new(1)),
            held => held,
        })
    }
}

fn broken(flaw: Flaw, rule: Rule) -> Option<String> {
    let wrong = move || async move {
        let clock = ManualClock::new();
        let store = Wrong {
            inner: MemoryTokenStore::new(clock.clone()),
            flaw,
            shown: std::sync::Arc::default(),
            calls: std::sync::Arc::default(),
        };
        Subject::new(store.clone(), store).wait_with(move |time| clock.advance(time))
    };
    let violation = check(rule, wrong).err()?;
    assert_eq!(violation.rule, rule);
    assert!(violation.to_string().contains(rule.promise()));
    Some(violation.seen)
}

#[test]
fn each_wrong_store_is_caught_by_its_rule() {
    for (flaw, rule) in [
        (Flaw::CutsEntries, Rule::ReturnsStoredEntries),
        (Flaw::ForgetsTheFence, Rule::ReturnsStoredEntries),
        (Flaw::IgnoresTheRequest, Rule::SeparatesKeys),
        (Flaw::KeepsEntries, Rule::ExpiresEntries),
        (Flaw::CountsNoTimeDown, Rule::ExpiresEntries),
        (Flaw::WritesInTwoSteps, Rule::ReplacesEntriesAtomically),
        (Flaw::FailsUnderLoad, Rule::SupportsConcurrentCalls),
        (Flaw::RemovesAnything, Rule::RemovesByFence),
        (Flaw::RemovesNothing, Rule::RemovesByFence),
        (Flaw::LetsShorterOnesReplace, Rule::AcceptsPutsWithoutLease),
        (Flaw::PutsWithoutAFence, Rule::AcceptsPutsWithoutLease),
        (Flaw::GrantsAll, Rule::GrantsOneLease),
        (Flaw::NamesOtherHolders, Rule::GrantsOneLease),
        (Flaw::KeepsLeases, Rule::ExpiresLeases),
        (Flaw::ExtendsNothing, Rule::ExtendsLeases),
        (Flaw::RevivesLeases, Rule::ExtendsLeases),
        (Flaw::ReleasesAnything, Rule::ReleasesOwnLeases),
        (Flaw::ReusesFences, Rule::IncreasesFences),
        (Flaw::TakesLatePuts, Rule::IgnoresStalePuts),
        (Flaw::LosesLeases, Rule::ExpiresAbandonedLeases),
        (Flaw::ReturnsExceptions, Rule::LooksUpOrLeases),
        (Flaw::LeasesAnyway, Rule::LooksUpOrLeases),
        (Flaw::LeasesWithoutAnotherLook, Rule::LooksUpOrLeases),
        (Flaw::ExtendsForWaiters, Rule::LooksUpOrLeases),
        (Flaw::SaysNothing, Rule::NotifiesOfChanges),
        (Flaw::HidesPutsWithoutALease, Rule::NotifiesOfChanges),
        (Flaw::DeniesNotifications, Rule::NotifiesOfChanges),
        (Flaw::Panics, Rule::ReturnsStoredEntries),
        (Flaw::ShowsEntries, Rule::RedactsDebug),
    ] {
        assert!(
            broken(flaw, rule).is_some(),
            "{flaw:?} does not break {rule:?}"
        );
    }
    let seen = broken(Flaw::FailsUnderLoad, Rule::SupportsConcurrentCalls);
    assert!(seen.unwrap().starts_with("a call failed: "));
}

#[test]
fn each_rule_has_a_promise_of_its_own() {
    let promises = Rule::ALL.map(Rule::promise);
    for (at, promise) in promises.iter().enumerate() {
        assert!(
            promise.len() > 20 && !promises[..at].contains(promise),
            "{promise}"
        );
    }
}

#[test]
fn a_subject_that_is_not_there_breaks_no_rule() {
    for rule in Rule::ALL {
        check(rule, || async { None }).unwrap();
    }
}

#[test]
fn keys_of_the_wrong_stores_are_otherwise_intact() {
    let wrong = Wrong {
        inner: MemoryTokenStore::default(),
        flaw: Flaw::SaysNothing,
        shown: std::sync::Arc::default(),
        calls: std::sync::Arc::default(),
    };
    let key = StoreKey::new("one", &TokenRequest::new());
    assert_eq!(wrong.key(&key), key);
}

#[test]
fn a_store_without_notifications_reports_no_change() {
    let store = Plain(MemoryTokenStore::default());
    assert!(!store.notifies());
    let key = StoreKey::new("namespace", &TokenRequest::new());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(store.changed(&key).as_mut().poll(&mut context).is_pending());
}
