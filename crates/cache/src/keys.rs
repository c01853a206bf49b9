//! The slots of all keys but the default one: looked up without a lock, bounded.

use std::{
    collections::{BTreeMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use hallpass_core::{AccessToken, TokenRequest};

use crate::{current::hash, slot::Slot};

type Map = papaya::HashMap<TokenRequest, Arc<Slot>, BuildHasherDefault<Spread>>;

pub(crate) struct Keys {
    slots: Map,
    /// The keys in order of creation; those in use get a second chance.
    order: Mutex<VecDeque<TokenRequest>>,
    max: usize,
}

impl Keys {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            slots: Map::default(),
            order: Mutex::default(),
            max,
        }
    }

    /// Runs `look` on the key's slot, if there is one.
    #[inline]
    pub(crate) fn with<T>(&self, key: &TokenRequest, look: impl FnOnce(&Slot) -> T) -> Option<T> {
        let slots = self.slots.pin();
        let slot = slots.get(key)?;
        slot.touch();
        Some(look(slot))
    }

    /// Returns the key's slot, if there is one.
    pub(crate) fn known(&self, key: &TokenRequest) -> Option<Arc<Slot>> {
        let slots = self.slots.pin();
        let slot = slots.get(key)?;
        slot.touch();
        Some(slot.clone())
    }

    /// Returns the key's slot, new or known, and the number of others that were evicted for it.
    pub(crate) fn slot(&self, key: &TokenRequest) -> (Arc<Slot>, usize) {
        if let Some(slot) = self.known(key) {
            return (slot, 0);
        }
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let slots = self.slots.pin();
        if let Some(slot) = slots.get(key) {
            return (slot.clone(), 0);
        }
        // First room, then the new one, or it might be the one to go.
        let gone = self.shrink(&mut order);
        let slot = Arc::new(Slot::new());
        slots.insert(key.clone(), slot.clone());
        order.push_back(key.clone());
        (slot, gone)
    }

    /// Makes room for one more. A slot with a flight, or with a caller that is about to start one, stays; so there may
    /// be more than the bound for a while, by the number of fetches that may run at the same time.
    fn shrink(&self, order: &mut VecDeque<TokenRequest>) -> usize {
        let slots = self.slots.pin();
        let mut gone = 0;
        // Twice around: the first time takes the second chance.
        for _ in 0..order.len() * 2 {
            if order.len() < self.max {
                break;
            }
            let Some(key) = order.pop_front() else {
                break;
            };
            // The map's own is one.
            let stays = |slot: &Arc<Slot>| Arc::strong_count(slot) > 1 || !slot.evict();
            if slots.get(&key).is_some_and(stays) {
                order.push_back(key);
            } else {
                slots.remove(&key);
                gone += 1;
            }
        }
        gone
    }

    pub(crate) fn len(&self) -> usize {
        self.order
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    pub(crate) fn flights(&self) -> usize {
        self.slots
            .pin()
            .values()
            .filter(|slot| slot.in_flight())
            .count()
    }
}

/// Finds the slots that hold a token, for [`invalidate`](hallpass_core::TokenSource::invalidate), which names no key.
///
/// Every slot that holds a token is in here under the token's hash. One that does not any more may be, until the next
/// sweep: whoever asks looks again.
#[derive(Default)]
pub(crate) struct Holders(Mutex<Index>);

#[derive(Default)]
struct Index {
    /// By hash and by the slot's address, so that each is there once.
    slots: BTreeMap<(u64, usize), (Weak<Slot>, TokenRequest)>,
    /// The number of entries at which those are removed whose slots hold the token no more.
    sweep_at: usize,
}

impl Holders {
    /// Notes that `slot` is about to hold this token.
    ///
    /// Before anyone is given the token, or a refusal of it might find no holder; and while the flight is under way,
    /// or a sweep might take the note out.
    pub(crate) fn note(&self, slot: &Arc<Slot>, request: &TokenRequest, token: &AccessToken) {
        const LEAST: usize = 64;
        let key = (hash(token), Arc::as_ptr(slot).addr());
        let mut index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let holder = (Arc::downgrade(slot), request.clone());
        index.slots.insert(key, holder);
        if index.slots.len() > index.sweep_at.max(LEAST) {
            index.slots.retain(|(hash, _), (slot, _)| {
                slot.upgrade().is_some_and(|slot| slot.may_hold(*hash))
            });
            index.sweep_at = index.slots.len() * 2;
        }
    }

    /// Returns the slots that may hold this token, with the request of each.
    pub(crate) fn of(&self, token: &AccessToken) -> Vec<(Arc<Slot>, TokenRequest)> {
        let hash = hash(token);
        let index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let slots = index.slots.range((hash, 0)..=(hash, usize::MAX));
        slots
            .filter_map(|(_, (slot, request))| Some((slot.upgrade()?, request.clone())))
            .collect()
    }
}

/// A request brings its hash along, computed once; nothing is left to do.
#[derive(Default)]
pub(crate) struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        // Not used by requests; correct all the same.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: F-83
    #[test]
    fn a_slot_that_a_caller_is_about_to_use_is_not_evicted() {
        let keys = Keys::new(1);
        let key = |scope: &str| TokenRequest::new().with_scopes(scope.parse().unwrap());
        let (held, _) = keys.slot(&key("a"));
        // Twice around would take the second chance and then the slot.
        for scope in ["b", "c"] {
            let (_, evicted) = keys.slot(&key(scope));
            assert!(evicted <= 1);
            let same = keys.known(&key("a")).expect("it is held");
            assert!(Arc::ptr_eq(&held, &same));
        }
        drop(held);
        assert_eq!(keys.slot(&key("d")).1, 2);
        assert_eq!(keys.len(), 1);
    }
}
