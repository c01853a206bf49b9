//! Changes in the shared store of keys that this process has a token of: a token that another process put there
//! replaces an older one without a call, so that a refused token costs one process a 401, and not each.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use hallpass_core::{AccessToken, TokenRequest, TokenSource};
use tokio::{sync::OwnedSemaphorePermit, time};

use crate::{
    current::is_live, level2::wait::listen, load::fitness_check, shared::Shared, slot::Slot,
    stats::count,
};

/// The maximum number of keys that are watched. Others learn of a refused token by a 401 of their own.
pub(crate) const MAX_WATCHES: usize = 1_000;

/// The maximum pause after a change: all notified processes would read the entry at once. A removed entry and its
/// replacement, or an entry and a released lease, often need one look-up together.
const MAX_PAUSE: Duration = Duration::from_millis(250);
/// After this many look-ups in a row that found nothing new, the pause is longer: the store may report changes
/// endlessly.
const MAX_USELESS_LOOKUPS: u32 = 8;
const MAX_LONG_PAUSE: Duration = Duration::from_secs(30);

/// The interval at which a watch ends that has no token any more, and at which the subscription is created again.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// Starts to watch the key of this token, unless that is pointless: the store does not notify, the token is not shared,
/// or the key is watched already. The watch ends with the token, with the slot, and with the cache.
pub(crate) fn watch_key<S: TokenSource + 'static>(
    shared: &Arc<Shared<S>>,
    slot: &Arc<Slot>,
    request: &TokenRequest,
    token: &AccessToken,
) {
    let Some(store) = &shared.store else { return };
    if !store.store().notifies() || !store.is_shareable(token) {
        return;
    }
    let Ok(permit) = shared.watches.clone().try_acquire_owned() else {
        return;
    };
    if !slot.begin_watch() {
        return;
    }
    let watch = Watch {
        shared: Arc::downgrade(shared),
        slot: Arc::downgrade(slot),
        request: request.clone(),
        _permit: permit,
    };
    let mut alive = shared.alive.clone();
    let (store, key) = (store.store().clone(), store.key(request));
    tokio::spawn(async move {
        let run = async {
            let mut useless = 0;
            let mut change = listen(&*store, &key).await;
            while watch.is_useful() {
                let changed = match &mut change {
                    Some(change) => time::timeout(CHECK_INTERVAL, change).await.is_ok(),
                    None => true,
                };
                if changed {
                    let few = useless < MAX_USELESS_LOOKUPS;
                    let pause = if few { MAX_PAUSE } else { MAX_LONG_PAUSE };
                    time::sleep(pause.mul_f64(fastrand::f64())).await;
                }
                // Before the look-up, so that no change in between is missed.
                change = listen(&*store, &key).await;
                if changed {
                    useless = if watch.adopt().await { 0 } else { useless + 1 };
                }
            }
        };
        tokio::select! {
            () = run => {}
            _ = alive.changed() => {}
        }
    });
}

/// A watched key. It keeps neither the cache nor the slot.
struct Watch<S> {
    shared: Weak<Shared<S>>,
    slot: Weak<Slot>,
    request: TokenRequest,
    _permit: OwnedSemaphorePermit,
}

impl<S: TokenSource> Watch<S> {
    /// Replaces the current token by that of the store, if that one is newer; returns true if it is.
    async fn adopt(&self) -> bool {
        let (Some(shared), Some(slot)) = (self.shared.upgrade(), self.slot.upgrade()) else {
            return false;
        };
        let Some(store) = &shared.store else {
            return false;
        };
        let fitness = fitness_check(&shared, &slot, &self.request);
        let key = store.key(&self.request);
        let Some(token) = store.read(&key, fitness, shared.context()).await else {
            return false;
        };
        // Before anyone gets it, and again since a sweep may have removed the record in between.
        shared.holders.note(&slot, &self.request, &token);
        let adopted = slot.adopt(&token, shared.clock.now(), &shared.policy);
        if adopted {
            shared.holders.note(&slot, &self.request, &token);
            count(&shared.counters.store_hits);
        }
        adopted
    }

    /// Returns true while the key has a token that can be refused.
    fn is_useful(&self) -> bool {
        let (Some(shared), Some(slot)) = (self.shared.upgrade(), self.slot.upgrade()) else {
            return false;
        };
        let current = slot.current();
        current.is_some_and(|token| is_live(&token, shared.clock.now())) || slot.in_flight()
    }
}

impl<S> Drop for Watch<S> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.upgrade() {
            slot.end_watch();
        }
    }
}
