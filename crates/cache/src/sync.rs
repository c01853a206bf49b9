//! The synchronization primitives of the slot, in one place so that a model checker can replace them (`explore.rs`).

use std::sync::PoisonError;
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

pub(crate) use arc_swap::ArcSwapOption;

/// Locks a mutex, ignoring poisoning: no step leaves the state inconsistent.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
