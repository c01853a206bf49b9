//! The synchronization primitives of the slot, in one place so that a model checker can replace them.

#[cfg(not(shuttle))]
mod primitives {
    pub(crate) use std::sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    };

    pub(crate) use arc_swap::ArcSwapOption;

    pub(crate) fn arc_swap<T>(value: Option<std::sync::Arc<T>>) -> ArcSwapOption<T> {
        ArcSwapOption::new(value)
    }
}

#[cfg(shuttle)]
mod primitives {
    pub(crate) use std::sync::PoisonError;

    pub(crate) use shuttle::sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    };

    /// An implementation of arc-swap's type with a lock that the checker knows.
    pub(crate) struct ArcSwapOption<T>(Mutex<Option<std::sync::Arc<T>>>);

    impl<T> ArcSwapOption<T> {
        pub(crate) fn load(&self) -> Guard<T> {
            Guard(self.load_full())
        }

        pub(crate) fn load_full(&self) -> Option<std::sync::Arc<T>> {
            self.0.lock().unwrap().clone()
        }

        pub(crate) fn store(&self, value: Option<std::sync::Arc<T>>) {
            *self.0.lock().unwrap() = value;
        }
    }

    pub(crate) struct Guard<T>(Option<std::sync::Arc<T>>);

    impl<T> std::ops::Deref for Guard<T> {
        type Target = Option<std::sync::Arc<T>>;

        fn deref(&self) -> &Self::Target {
            &self.0
        }
    }

    pub(crate) fn arc_swap<T>(value: Option<std::sync::Arc<T>>) -> ArcSwapOption<T> {
        ArcSwapOption(Mutex::new(value))
    }
}

pub(crate) use primitives::*;

/// Locks a mutex, ignoring poisoning: no step leaves the state inconsistent.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
