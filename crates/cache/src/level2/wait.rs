//! The wait for an entry that another process puts, or for the lease to put one.

use std::{future, pin::Pin, task::Poll, time::Duration};

use tokio::time::{self, Instant};

use super::{Context, EntryUse, SecondLevel};
use crate::{
    breaker::FAULT_LIMIT,
    panics::CatchPanic,
    polls::{LEASE_TTL, Polls},
    store::{EntryOrLease, Lease, LeaseOutcome, StoreEntry, StoreKey, TokenStore},
};

/// The end of a wait, or an event that its owner may end it for.
pub(crate) enum Step<T> {
    Found(T),
    Leased(Lease),
    /// Another process got the lease, and the one before has put nothing that can be used.
    HolderLost,
    /// Another process has held the lease for too long.
    Over,
    /// The store is unavailable.
    Unavailable,
}

/// Polls a key, one call at a time, and whenever the store reports a change.
pub(crate) struct Wait<'a> {
    level: &'a SecondLevel,
    key: &'a StoreKey,
    lease_ttl: Duration,
    polls: Polls,
    context: Context<'a>,
    start: Instant,
    has_polled: bool,
    /// True once another process was seen to hold the lease.
    is_waiting: bool,
    changed: Option<ChangeNotification<'a>>,
    /// The last entry, which could not be used, and whether it must be removed.
    unusable: Option<StoreEntry>,
    is_refused: bool,
}

type ChangeNotification<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

impl SecondLevel {
    /// Begins to look for a token, or for the right to fetch one.
    pub(crate) fn wait<'a>(&'a self, key: &'a StoreKey, context: Context<'a>) -> Wait<'a> {
        Wait::new(
            self,
            key,
            LEASE_TTL,
            Polls::new(self.fetch_timeout),
            context,
        )
    }
}

impl<'a> Wait<'a> {
    pub(super) fn new(
        level: &'a SecondLevel,
        key: &'a StoreKey,
        lease_ttl: Duration,
        polls: Polls,
        context: Context<'a>,
    ) -> Self {
        Self {
            level,
            key,
            lease_ttl,
            polls,
            context,
            start: Instant::now(),
            has_polled: false,
            is_waiting: false,
            changed: None,
            unusable: None,
            is_refused: false,
        }
    }

    /// Returns the next step. After [`Step::HolderLost`] the wait may go on. The owner of a granted lease records it
    /// before it awaits anything, so that it is released even if the fetch is cancelled.
    pub(crate) async fn next<T>(
        &mut self,
        evaluate: impl Fn(&StoreEntry) -> EntryUse<T>,
    ) -> Step<T> {
        loop {
            if self.has_polled {
                if self.polls.is_over(self.start.elapsed()) {
                    return Step::Over;
                }
                self.pause().await;
            }
            self.has_polled = true;
            if let Some(step) = self.poll(&evaluate).await {
                return step;
            }
        }
    }

    /// Polls once; returns `None` while another process holds the lease.
    async fn poll<T>(&mut self, evaluate: impl Fn(&StoreEntry) -> EntryUse<T>) -> Option<Step<T>> {
        // Once more for an entry that cannot be used.
        for _ in 0..2 {
            let entry = match self.ask().await {
                None => return Some(Step::Unavailable),
                Some(EntryOrLease::Entry(entry)) => entry,
                Some(EntryOrLease::Lease(LeaseOutcome::Granted(lease))) => {
                    return Some(Step::Leased(lease));
                }
                Some(EntryOrLease::Lease(LeaseOutcome::Held { fence })) => {
                    self.is_waiting = true;
                    let lost = self.polls.note_holder(fence, self.start.elapsed());
                    return lost.then_some(Step::HolderLost);
                }
            };
            if self.unusable_fence() == Some(entry.fence()) {
                // A store that returns it nevertheless grants no lease.
                return Some(Step::Over);
            }
            self.is_refused = match evaluate(&entry) {
                EntryUse::Use(value) => return Some(Step::Found(value)),
                EntryUse::Refused => true,
                EntryUse::Ignore => false,
            };
            self.unusable = Some(entry);
        }
        None
    }

    /// Calls the store. A process that waits already calls it again after a fault, until the breaker opens: one slow
    /// answer is no reason to fetch beside another process.
    async fn ask(&mut self) -> Option<EntryOrLease> {
        let attempts = if self.is_waiting { FAULT_LIMIT } else { 1 };
        for _ in 0..attempts {
            let (except, ttl) = (self.unusable_fence(), self.lease_ttl);
            let call = self
                .level
                .look_up_or_lease(self.key, except, ttl, self.context);
            if let Some(answer) = call.await {
                return Some(answer);
            }
        }
        None
    }

    /// Removes the last entry if its token was refused: no other process should take it over while its replacement is
    /// fetched under the lease.
    pub(crate) async fn remove_refused(&mut self) {
        if let Some(fence) = self.unusable_fence().filter(|_| self.is_refused) {
            self.level.remove(self.key, fence, self.context).await;
        }
    }

    /// Continues without this entry, which cannot be used, at once.
    pub(crate) fn ignore(&mut self, entry: StoreEntry) {
        self.unusable = Some(entry);
        self.is_refused = false;
        self.has_polled = false;
    }

    /// Ends the wait; returns the last entry that could not be used.
    pub(crate) fn into_unusable(self) -> Option<StoreEntry> {
        self.unusable
    }

    fn unusable_fence(&self) -> Option<u64> {
        self.unusable.as_ref().map(StoreEntry::fence)
    }

    /// Waits until the next poll is due. Afterwards, changes are listened to, so that none is missed that happens after
    /// the poll.
    async fn pause(&mut self) {
        let store = &*self.level.store;
        let pause = self.polls.pause(self.start.elapsed(), store.notifies());
        let pause = time::sleep(pause);
        match &mut self.changed {
            None => pause.await,
            Some(changed) => tokio::select! {
                () = pause => {}
                () = changed => {
                    self.changed = None;
                    time::sleep(self.polls.pause_after_change()).await;
                }
            },
        }
        // A change that was reported by now is covered by the next poll.
        if let Some(changed) = &mut self.changed
            && is_ready(changed).await
        {
            self.changed = None;
        }
        if self.changed.is_none() && self.polls.listens() {
            self.changed = listen(store, self.key).await;
        }
    }
}

/// Starts to listen to changes of this key; returns `None` if the store reports one at once. The notification never ends
/// if the store panics.
pub(crate) async fn listen<'a>(
    store: &'a dyn TokenStore,
    key: &'a StoreKey,
) -> Option<ChangeNotification<'a>> {
    let mut changed: ChangeNotification<'a> = Box::pin(async move {
        if CatchPanic::new(store.changed(key)).await.is_none() {
            future::pending::<()>().await;
        }
    });
    (!is_ready(&mut changed).await).then_some(changed)
}

/// Polls once, so that a subscription begins; returns true if the change has already happened.
async fn is_ready(changed: &mut ChangeNotification<'_>) -> bool {
    future::poll_fn(|context| Poll::Ready(changed.as_mut().poll(context).is_ready())).await
}
