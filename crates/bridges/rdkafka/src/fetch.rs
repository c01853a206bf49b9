//! A fetch that continues while librdkafka's thread does not wait for it.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hallpass_core::{AccessToken, TokenError, TokenRequest, TokenSource};
use tokio::{runtime::Handle, task::AbortHandle};

type Answer = Result<AccessToken, TokenError>;

/// A fetch on the runtime. Dropping it cancels the fetch.
pub(crate) struct Fetch {
    slot: Arc<Slot>,
    task: AbortHandle,
}

/// A place for the answer, for which several calls may wait.
#[derive(Default)]
struct Slot {
    answer: Mutex<Option<Answer>>,
    arrived: Condvar,
}

impl Slot {
    fn set(&self, answer: impl FnOnce() -> Answer) {
        lock(&self.answer).get_or_insert_with(answer);
        self.arrived.notify_all();
    }
}

/// A guard that reports the end of a task without an answer.
struct TaskGuard(Arc<Slot>);

impl Drop for TaskGuard {
    fn drop(&mut self) {
        self.0.set(|| {
            Err(TokenError::unavailable(
                "the fetch of an access token was stopped: its runtime was shut down, or it panicked",
            ))
        });
    }
}

impl Fetch {
    pub(crate) fn start(
        runtime: &Handle,
        source: Arc<dyn TokenSource>,
        request: TokenRequest,
    ) -> Self {
        let slot = Arc::<Slot>::default();
        let guard = TaskGuard(slot.clone());
        let task = runtime.spawn(async move {
            let answer = source.token(&request).await;
            guard.0.set(|| answer);
        });
        let task = task.abort_handle();
        Self { slot, task }
    }

    /// Waits for the answer; `None` if there is none within `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) -> Option<Answer> {
        let answer = lock(&self.slot.answer);
        let waited = self
            .slot
            .arrived
            .wait_timeout_while(answer, timeout, |answer| answer.is_none());
        let (answer, _) = waited.unwrap_or_else(PoisonError::into_inner);
        answer.clone()
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
