//! The conformance kit for stores: the store in memory passes, and each wrong store is caught by its rule.

#![cfg(feature = "conformance")]
#![allow(clippy::unused_async, clippy::unwrap_used)]

mod wrong;

use std::time::Duration;

use async_trait::async_trait;
use hallpass_cache::{
    LayeredStore, Lease, LeaseOutcome, MemoryTokenStore, StoreCall, StoreEntry, StoreError,
    StoreKey, StoreLayer, TokenStore,
    conformance::{Rule, Subject, check},
};
use hallpass_core::TokenRequest;
use hallpass_testkit::ManualClock;

use crate::wrong::{Flaw, Wrong};

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

fn broken(flaw: Flaw, rule: Rule) -> Option<String> {
    let wrong = move || async move {
        let clock = ManualClock::new();
        let store = Wrong::new(flaw, clock.clone());
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
        (Flaw::RoundsTimeDown, Rule::ExpiresEntries),
        (Flaw::RoundsTimeUp, Rule::ExpiresEntries),
        (Flaw::CountsNoTimeDown, Rule::ExpiresEntries),
        (Flaw::WritesInTwoSteps, Rule::ReplacesEntriesAtomically),
        (Flaw::FailsUnderLoad, Rule::SupportsConcurrentCalls),
        (Flaw::RemovesAnything, Rule::RemovesByFence),
        (Flaw::RemovesNothing, Rule::RemovesByFence),
        (Flaw::LetsShorterOnesReplace, Rule::AcceptsPutsWithoutLease),
        (Flaw::PutsWithoutAFence, Rule::AcceptsPutsWithoutLease),
        (
            Flaw::LeasesWithTheFenceOfAnEntry,
            Rule::AcceptsPutsWithoutLease,
        ),
        (Flaw::GrantsAll, Rule::GrantsOneLease),
        (Flaw::NamesOtherHolders, Rule::GrantsOneLease),
        (Flaw::KeepsLeases, Rule::ExpiresLeases),
        (Flaw::ExtendsNothing, Rule::ExtendsLeases),
        (Flaw::RevivesLeases, Rule::ExtendsLeases),
        (Flaw::ReleasesAnything, Rule::ReleasesOwnLeases),
        (Flaw::ReusesFences, Rule::IncreasesFences),
        (Flaw::TakesLatePuts, Rule::IgnoresStalePuts),
        (Flaw::LosesLeases, Rule::ExpiresAbandonedLeases),
        (Flaw::ForgetsTheFence, Rule::LooksUpOrLeases),
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
fn a_store_may_begin_or_cease_to_notify() {
    for flaw in [Flaw::NotifiesLater, Flaw::CeasesToNotify] {
        assert_eq!(broken(flaw, Rule::NotifiesOfChanges), None, "{flaw:?}");
    }
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
    let wrong = Wrong::new(Flaw::SaysNothing, ManualClock::new());
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
