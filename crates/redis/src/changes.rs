//! Notifications of changed keys, passed to the calls that wait for them.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::{Notify, futures::OwnedNotified};

/// The waiting calls of each key.
#[derive(Default)]
pub(crate) struct Changes {
    waiting: Mutex<HashMap<String, Waiting>>,
    /// The number of calls that the task that subscribes serves, and that began since.
    subscribers: AtomicUsize,
}

/// The turn of the task that subscribes; one at a time has it. It is released if the task's runtime shuts down.
pub(crate) struct SubscriptionTurn {
    changes: Arc<Changes>,
    served: usize,
}

impl SubscriptionTurn {
    /// Records the calls so far as served by the next attempt.
    pub(crate) fn begin(&mut self) {
        self.served = self.changes.subscribers.load(Ordering::SeqCst);
    }

    /// Ends the turn, unless another call began during the attempt: it may need another one.
    pub(crate) fn end(&mut self) -> bool {
        let subscribers = &self.changes.subscribers;
        let order = Ordering::SeqCst;
        let done = subscribers.compare_exchange(self.served, 0, order, order);
        if done.is_ok() {
            self.served = 0;
        }
        done.is_ok()
    }
}

impl Drop for SubscriptionTurn {
    fn drop(&mut self) {
        if self.served > 0 {
            self.changes.subscribers.store(0, Ordering::SeqCst);
        }
    }
}

#[derive(Default)]
struct Waiting {
    notify: Arc<Notify>,
    calls: usize,
}

/// A call that waits for a key's change; dropping it ends the wait.
pub(crate) struct Listener<'a> {
    changes: &'a Changes,
    key: &'a str,
    notified: Option<OwnedNotified>,
}

impl Changes {
    /// Starts to wait for a change of this key.
    pub(crate) fn listen<'a>(&'a self, key: &'a str) -> Listener<'a> {
        let mut waiting = self.waiting();
        if !waiting.contains_key(key) {
            waiting.insert(key.to_owned(), Waiting::default());
        }
        let notified = waiting.get_mut(key).map(|waiting| {
            waiting.calls += 1;
            waiting.notify.clone().notified_owned()
        });
        Listener {
            changes: self,
            key,
            notified,
        }
    }

    /// Returns true if no call waits for a change.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting().is_empty()
    }

    /// Returns the turn to subscribe, unless a task has it, which then serves this call too.
    pub(crate) fn subscription_turn(self: &Arc<Self>) -> Option<SubscriptionTurn> {
        let before = self.subscribers.fetch_add(1, Ordering::SeqCst);
        (before == 0).then(|| SubscriptionTurn {
            changes: self.clone(),
            served: 1,
        })
    }

    pub(crate) fn notify(&self, key: &str) {
        if let Some(waiting) = self.waiting().get(key) {
            waiting.notify.notify_waiters();
        }
    }

    pub(crate) fn notify_all(&self) {
        for waiting in self.waiting().values() {
            waiting.notify.notify_waiters();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener<'_> {
    /// Waits until the key may have changed since this listener was created.
    pub(crate) async fn changed(mut self) {
        if let Some(notified) = self.notified.take() {
            notified.await;
        }
    }
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        let mut waiting = self.changes.waiting();
        if let Some(key) = waiting.get_mut(self.key) {
            key.calls -= 1;
            if key.calls == 0 {
                waiting.remove(self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_during_an_attempt_to_subscribe_gets_another_one() {
        let changes = Arc::new(Changes::default());
        let mut turn = changes.subscription_turn().unwrap();
        turn.begin();
        assert!(changes.subscription_turn().is_none());
        assert!(!turn.end());
        turn.begin();
        assert!(turn.end());
        drop(turn);
        // It ends with its task, too.
        drop(changes.subscription_turn().unwrap());
        assert!(changes.subscription_turn().is_some());
    }

    #[tokio::test]
    async fn a_change_ends_the_waits_for_its_key_only() {
        let changes = Changes::default();
        let (one, other) = (changes.listen("one"), changes.listen("other"));
        changes.notify("one");
        one.changed().await;
        let wait = tokio::time::timeout(std::time::Duration::ZERO, other.changed());
        assert!(wait.await.is_err());
        assert!(changes.is_idle());
    }
}
