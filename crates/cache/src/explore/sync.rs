//! The checker's primitives, with the names of those that the slot uses.

use std::{
    ops::Deref,
    sync::{Arc, PoisonError},
};

pub(crate) use shuttle::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// An implementation of arc-swap's type with a lock that the checker knows.
pub(crate) struct ArcSwapOption<T>(Mutex<Option<Arc<T>>>);

impl<T> ArcSwapOption<T> {
    pub(crate) fn new(value: Option<Arc<T>>) -> Self {
        Self(Mutex::new(value))
    }

    pub(crate) fn load(&self) -> Guard<T> {
        Guard(self.load_full())
    }

    pub(crate) fn load_full(&self) -> Option<Arc<T>> {
        lock(&self.0).clone()
    }

    pub(crate) fn store(&self, value: Option<Arc<T>>) {
        *lock(&self.0) = value;
    }
}

pub(crate) struct Guard<T>(Option<Arc<T>>);

impl<T> Deref for Guard<T> {
    type Target = Option<Arc<T>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
