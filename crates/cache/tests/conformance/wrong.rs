//! Stores with a flaw each.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use hallpass_cache::{
    EntryOrLease, Lease, LeaseOutcome, MemoryTokenStore, StoreEntry, StoreError, StoreKey,
    TokenStore,
};
use hallpass_testkit::ManualClock;

/// The flaw of a wrong store.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Flaw {
    CutsEntries,
    ForgetsTheFence,
    IgnoresTheRequest,
    KeepsEntries,
    RoundsTimeDown,
    RoundsTimeUp,
    CountsNoTimeDown,
    WritesInTwoSteps,
    FailsUnderLoad,
    RemovesAnything,
    RemovesNothing,
    LetsShorterOnesReplace,
    PutsWithoutAFence,
    LeasesWithTheFenceOfAnEntry,
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
    /// No flaw: the subscription is created by the first call that waits for a change.
    NotifiesLater,
    /// No flaw: that subscription is refused.
    CeasesToNotify,
}

/// The memory store with a flaw.
#[derive(Clone)]
pub(crate) struct Wrong {
    inner: MemoryTokenStore,
    flaw: Flaw,
    shown: Arc<Mutex<String>>,
    calls: Arc<AtomicUsize>,
}

const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);

impl Wrong {
    pub(crate) fn new(flaw: Flaw, clock: ManualClock) -> Self {
        Self {
            inner: MemoryTokenStore::new(clock),
            flaw,
            shown: Arc::default(),
            calls: Arc::default(),
        }
    }

    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    pub(crate) fn key(&self, key: &StoreKey) -> StoreKey {
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
        Ok(found.map(|entry| self.shown_as(&entry)))
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
        if lease.is_none()
            && self.is(Flaw::PutsWithoutAFence)
            && let Some(found) = self.inner.look_up(&key).await?
            && found.ttl() < Some(ttl)
        {
            let same = Lease::new(found.fence());
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
        if self.is(Flaw::LeasesWithTheFenceOfAnEntry)
            && let Some(found) = self.inner.look_up(&key).await?
        {
            return Ok(LeaseOutcome::Granted(Lease::new(found.fence())));
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
                Ok(match found {
                    EntryOrLease::Entry(entry) => EntryOrLease::Entry(self.shown_as(&entry)),
                    lease => lease,
                })
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
        if self.is(Flaw::ReusesFences) {
            let fence = self.calls.load(Ordering::Relaxed) as u64;
            return self.inner.release(&key, &Lease::new(fence)).await;
        }
        self.inner.release(&key, lease).await
    }

    fn notifies(&self) -> bool {
        let has_subscribed = self.calls.load(Ordering::Relaxed) > 0;
        match self.flaw {
            Flaw::DeniesNotifications => false,
            Flaw::NotifiesLater => has_subscribed,
            Flaw::CeasesToNotify => !has_subscribed,
            _ => true,
        }
    }

    async fn changed(&self, key: &StoreKey) {
        if matches!(self.flaw, Flaw::NotifiesLater | Flaw::CeasesToNotify) {
            self.calls.store(1, Ordering::Relaxed);
        }
        if matches!(self.flaw, Flaw::SaysNothing | Flaw::CeasesToNotify) {
            std::future::pending::<()>().await;
        }
        self.inner.changed(&self.key(key)).await;
        if self.is(Flaw::HidesPutsWithoutALease) && self.calls.load(Ordering::Relaxed) > 0 {
            std::future::pending::<()>().await;
        }
    }
}

impl Wrong {
    /// Returns the entry as a look-up shows it.
    fn shown_as(&self, entry: &StoreEntry) -> StoreEntry {
        const MINUTE: Duration = Duration::from_secs(60);
        let (mut bytes, mut fence, mut ttl) = (entry.bytes(), entry.fence(), entry.ttl().unwrap());
        match self.flaw {
            Flaw::CutsEntries => bytes = &bytes[..bytes.len().min(65_536)],
            Flaw::ForgetsTheFence => fence = 0,
            Flaw::RoundsTimeDown => ttl = Duration::from_secs(ttl.as_secs()),
            // Only long ones are right.
            Flaw::RoundsTimeUp => ttl = ttl.max(Duration::from_secs(1)),
            // Only short ones are right.
            Flaw::CountsNoTimeDown if ttl > MINUTE / 2 => ttl = MINUTE,
            _ => {}
        }
        StoreEntry::new(bytes.to_vec(), fence, Some(ttl))
    }

    /// Fences begin at 1 again where nothing is left.
    async fn reuse(&self, key: &StoreKey, ttl: Duration) -> Result<LeaseOutcome, StoreError> {
        let outcome = self.inner.lease(key, ttl).await?;
        Ok(match outcome {
            LeaseOutcome::Granted(lease) => {
                let fence = usize::try_from(lease.fence()).unwrap();
                self.calls.store(fence, Ordering::Relaxed);
                LeaseOutcome::Granted(Lease::new(1))
            }
            held => held,
        })
    }
}
