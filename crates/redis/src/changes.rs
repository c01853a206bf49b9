//! Notifications of changed keys, passed to the calls that wait for them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, futures::OwnedNotified};

/// The waiting calls of each key.
#[derive(Default)]
pub(crate) struct Changes(Mutex<HashMap<String, Waiting>>);

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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[tokio::test]
    async fn a_change_ends_the_waits_for_its_key_only() {
        let changes = Changes::default();
        let (one, other) = (changes.listen("one"), changes.listen("other"));
        changes.notify("one");
        one.changed().await;
        let wait = tokio::time::timeout(std::time::Duration::ZERO, other.changed());
        assert!(wait.await.is_err());
        assert!(changes.waiting().is_empty());
    }
}
