//! Values that the first use builds, away from the threads of the runtime.

use std::{
    panic,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hallpass_core::TokenError;
use tokio::runtime::Handle;

/// A value that the first use builds. A failure is not stored: the next use builds it again.
pub(crate) struct Lazy<T> {
    value: Mutex<Option<Arc<T>>>,
    building: tokio::sync::Mutex<()>,
}

impl<T> Lazy<T> {
    pub(crate) fn new() -> Self {
        Self {
            value: Mutex::new(None),
            building: tokio::sync::Mutex::new(()),
        }
    }

    pub(crate) fn get(&self) -> Option<Arc<T>> {
        self.value().clone()
    }

    /// Returns the value, which the first caller builds while the others wait.
    pub(crate) async fn get_or_build<E>(
        &self,
        build: impl Future<Output = Result<T, E>>,
    ) -> Result<Arc<T>, E> {
        if let Some(value) = self.get() {
            return Ok(value);
        }
        let _building = self.building.lock().await;
        if let Some(value) = self.get() {
            return Ok(value);
        }
        Ok(self.replace(build.await?))
    }

    /// Replaces the value for later uses.
    pub(crate) fn replace(&self, value: T) -> Arc<T> {
        self.value().insert(Arc::new(value)).clone()
    }

    fn value(&self) -> MutexGuard<'_, Option<Arc<T>>> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs work that blocks, or that takes milliseconds, on a thread for it. A panic of the work is one of the caller.
pub(crate) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, TokenError> {
    let runtime = Handle::try_current().map_err(|_| {
        TokenError::configuration("a call needs a tokio runtime, and there is none")
            .with_hint("call it from within a tokio runtime")
    })?;
    runtime.spawn_blocking(work).await.map_err(|error| {
        if error.is_panic() {
            panic::resume_unwind(error.into_panic());
        }
        TokenError::unavailable("the program is shutting down")
    })
}
