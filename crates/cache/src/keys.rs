//! The slots of all keys but the default one: looked up without a lock, bounded.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
};

use hallpass_core::{AccessToken, TokenRequest};

use crate::{
    current::{RefusedTokens, hash},
    slot::Slot,
};

type Slots = papaya::HashMap<TokenRequest, Arc<Slot>, Precomputed>;

type Precomputed = BuildHasherDefault<PrecomputedHasher>;

pub(crate) struct Keys {
    /// Created for the first key: it takes 17 KiB, and many caches have the default key only.
    slots: OnceLock<Slots>,
    order: Mutex<Order>,
    max: usize,
}

#[derive(Default)]
struct Order {
    /// The keys that may be evicted, in order of creation; keys in use get a second chance.
    queue: VecDeque<TokenRequest>,
    pins: HashMap<TokenRequest, Pins, Precomputed>,
}

/// The handles of a key, which protect it from eviction.
#[derive(Default)]
struct Pins {
    count: usize,
    /// True once the key is out of the queue, so that an eviction examines it only once.
    parked: bool,
}

impl Keys {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            slots: OnceLock::new(),
            order: Mutex::default(),
            max,
        }
    }

    /// Calls `look` with the key's slot, if there is one.
    #[inline]
    pub(crate) fn with<T>(&self, key: &TokenRequest, look: impl FnOnce(&Slot) -> T) -> Option<T> {
        let slots = self.slots.get()?.pin();
        let slot = slots.get(key)?;
        slot.touch();
        Some(look(slot))
    }

    /// Returns the key's slot, if there is one.
    pub(crate) fn known(&self, key: &TokenRequest) -> Option<Arc<Slot>> {
        let slots = self.slots.get()?.pin();
        let slot = slots.get(key)?;
        slot.touch();
        Some(slot.clone())
    }

    /// Returns the key's slot, existing or new, and the number of keys that were evicted for it.
    pub(crate) fn slot(&self, key: &TokenRequest) -> (Arc<Slot>, usize) {
        if let Some(slot) = self.known(key) {
            return (slot, 0);
        }
        self.insert(&mut self.order(), key)
    }

    /// Returns the key's slot, existing or new, and protects it from eviction until [`unpin`](Self::unpin); and the
    /// number of keys that were evicted for it.
    pub(crate) fn pin(&self, key: &TokenRequest) -> (Arc<Slot>, usize) {
        let mut order = self.order();
        order.pins.entry(key.clone()).or_default().count += 1;
        self.insert(&mut order, key)
    }

    /// Ends a protection from eviction, and returns the number of keys that were evicted since they exceed the limit.
    pub(crate) fn unpin(&self, key: &TokenRequest) -> usize {
        let mut order = self.order();
        let Some(pins) = order.pins.get_mut(key) else {
            return 0;
        };
        pins.count -= 1;
        if pins.count > 0 {
            return 0;
        }
        let parked = pins.parked;
        order.pins.remove(key);
        if !parked {
            return 0;
        }
        order.queue.push_back(key.clone());
        self.shrink(&mut order, self.max)
    }

    fn insert(&self, order: &mut Order, key: &TokenRequest) -> (Arc<Slot>, usize) {
        let slots = self.slots.get_or_init(Slots::default).pin();
        if let Some(slot) = slots.get(key) {
            return (slot.clone(), 0);
        }
        // Evict before inserting, or the new one might be evicted.
        let gone = self.shrink(order, self.max - 1);
        let slot = Arc::new(Slot::new());
        slots.insert(key.clone(), slot.clone());
        order.queue.push_back(key.clone());
        (slot, gone)
    }

    /// Evicts keys until at most `limit` may still be evicted. A slot with a flight, or with a caller about to start
    /// one, stays; the number of keys may therefore exceed the limit for a while, by the maximum number of concurrent
    /// fetches.
    fn shrink(&self, order: &mut Order, limit: usize) -> usize {
        let Order { queue, pins } = order;
        let Some(slots) = self.slots.get().map(Slots::pin) else {
            return 0;
        };
        let mut gone = 0;
        // Two passes: the first one takes the second chance.
        for _ in 0..queue.len() * 2 {
            if queue.len() <= limit {
                break;
            }
            let Some(key) = queue.pop_front() else {
                break;
            };
            if let Some(pins) = pins.get_mut(&key) {
                pins.parked = true;
                continue;
            }
            // One reference is the map's own.
            let stays = |slot: &Arc<Slot>| Arc::strong_count(slot) > 1 || !slot.evict();
            if slots.get(&key).is_some_and(stays) {
                queue.push_back(key);
            } else {
                slots.remove(&key);
                gone += 1;
            }
        }
        gone
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.get().map_or(0, Slots::len)
    }

    pub(crate) fn flights(&self) -> usize {
        let in_flight = |slots: &Slots| {
            let slots = slots.pin();
            slots.values().filter(|slot| slot.in_flight()).count()
        };
        self.slots.get().map_or(0, in_flight)
    }

    fn order(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An index of the slots that hold a token, for [`invalidate`](hallpass_core::TokenSource::invalidate), which names no
/// key.
///
/// Every slot that holds a token is listed under the token's hash. A slot that no longer holds it may remain until the
/// next sweep, so callers check again.
#[derive(Default)]
pub(crate) struct Holders(Mutex<Index>);

#[derive(Default)]
struct Index {
    /// Keyed by hash and slot address, so that each is listed once.
    slots: BTreeMap<(u64, usize), (Weak<Slot>, TokenRequest)>,
    /// The number of entries that triggers a sweep of outdated ones.
    sweep_at: usize,
    /// The refused tokens of all keys. An evicted slot remembers nothing, and the shared store may still hold its token.
    refused: RefusedTokens<1_024>,
}

impl Holders {
    /// Records that `slot` is about to hold this token.
    ///
    /// This happens before anyone gets the token, or a refusal of it might find no holder; and during the flight, or a
    /// sweep might remove the record.
    pub(crate) fn note(&self, slot: &Arc<Slot>, request: &TokenRequest, token: &AccessToken) {
        const MIN_SWEEP_SIZE: usize = 64;
        let key = (hash(token), Arc::as_ptr(slot).addr());
        let mut index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let holder = (Arc::downgrade(slot), request.clone());
        index.slots.insert(key, holder);
        if index.slots.len() > index.sweep_at.max(MIN_SWEEP_SIZE) {
            index.slots.retain(|(hash, _), (slot, _)| {
                slot.upgrade().is_some_and(|slot| slot.may_hold(*hash))
            });
            index.sweep_at = index.slots.len() * 2;
        }
    }

    /// Records that a resource server refused this token.
    pub(crate) fn note_refused(&self, token: &AccessToken) {
        let mut index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        index.refused.note(token);
    }

    /// Returns true if a resource server refused this token, under any key.
    pub(crate) fn was_refused(&self, token: &AccessToken) -> bool {
        let index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        index.refused.contains(token)
    }

    /// Returns the slots that may hold this token, with the request of each.
    pub(crate) fn slots_with(&self, token: &AccessToken) -> Vec<(Arc<Slot>, TokenRequest)> {
        let hash = hash(token);
        let index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let slots = index.slots.range((hash, 0)..=(hash, usize::MAX));
        slots
            .filter_map(|(_, (slot, request))| Some((slot.upgrade()?, request.clone())))
            .collect()
    }
}

/// A hasher that does nothing: a request carries its precomputed hash.
#[derive(Default)]
pub(crate) struct PrecomputedHasher(u64);

impl Hasher for PrecomputedHasher {
    fn write(&mut self, bytes: &[u8]) {
        // Not used by requests, but correct.
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
    use hallpass_core::Clock as _;

    use super::*;
    use crate::policy::Policy;

    // covers: F-83
    #[test]
    fn a_slot_that_a_caller_is_about_to_use_is_not_evicted() {
        let keys = Keys::new(1);
        let key = |scope: &str| TokenRequest::new().with_scopes(scope.parse().unwrap());
        let (held, _) = keys.slot(&key("a"));
        // Two passes take the second chance and then the slot.
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

    // covers: F-83
    #[test]
    fn all_slots_above_the_limit_are_evicted_at_once() {
        let keys = Keys::new(1);
        let key =
            |scope: usize| TokenRequest::new().with_scopes(scope.to_string().parse().unwrap());
        // In use, as during a fetch.
        let held: Vec<_> = (0..10).map(|scope| keys.slot(&key(scope))).collect();
        assert_eq!(keys.len(), 10);
        for scope in 0..10 {
            keys.known(&key(scope));
        }
        drop(held);
        assert_eq!(keys.slot(&key(10)).1, 10);
        assert_eq!(keys.len(), 1);
    }

    #[test]
    fn a_sweep_keeps_the_holders_of_current_tokens() {
        let holders = Holders::default();
        let clock = hallpass_testkit::ManualClock::new();
        let token = |number: usize| {
            let hour = std::time::Duration::from_secs(3_600);
            AccessToken::bearer(&number.to_string(), clock.moment(), hour).unwrap()
        };
        let policy = Policy::default();
        let slots: Vec<_> = (0..40).map(|_| Arc::new(Slot::new())).collect();
        // Each slot holds two tokens, one after the other.
        for number in 0..80 {
            let (slot, token) = (&slots[number % 40], token(number));
            assert!(slot.adopt(&token, clock.now(), &policy));
            holders.note(slot, &TokenRequest::new(), &token);
            clock.advance(std::time::Duration::from_secs(1));
        }
        // The sweep dropped those that were replaced by then.
        let listed = holders.0.lock().unwrap().slots.len();
        assert!((40..=64).contains(&listed), "{listed}");
        for number in 40..80 {
            assert_eq!(holders.slots_with(&token(number)).len(), 1, "{number}");
        }
    }
}
