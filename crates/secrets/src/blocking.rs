use std::{sync::Arc, time::Duration};

use hallpass_core::SecretError;
use tokio::{
    runtime::Handle,
    sync::{Mutex, OwnedMutexGuard},
    time,
};

/// Serializes one source's blocking calls on one thread, so that an unresponsive file system or keychain ties up one
/// only.
///
/// The lock moves into the thread, since a call that is dropped leaves its thread running.
#[derive(Clone, Default)]
pub(crate) struct Turn(Arc<Mutex<()>>);

impl Turn {
    /// Runs `work` on a blocking thread, after this source's earlier work. Outside of a runtime, which has no such
    /// threads, it runs on the caller's thread.
    ///
    /// # Errors
    ///
    /// The errors of `work`, and a [`local`](SecretError::local) one that names `place` on timeout.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        timeout: Duration,
        place: &str,
        work: impl FnOnce() -> Result<T, SecretError> + Send + 'static,
    ) -> Result<T, SecretError> {
        let Ok(runtime) = Handle::try_current() else {
            let _turn = self.0.lock().await;
            return work();
        };
        let turns = async {
            let turn = self.0.clone().lock_owned().await;
            let work = move || {
                let _turn = turn;
                work()
            };
            // Fails only if the work panicked, which it does not, or the runtime shuts down.
            runtime.spawn_blocking(work).await.unwrap_or_else(|_| {
                Err(SecretError::local(format!(
                    "{place} was not read: the runtime is shutting down"
                )))
            })
        };
        time::timeout(timeout, turns).await.unwrap_or_else(|_| {
            Err(SecretError::local(format!(
                "{place} did not respond within {timeout:?}"
            )))
        })
    }

    /// Takes the turn if no work is running.
    pub(crate) fn try_take(&self) -> Option<OwnedMutexGuard<()>> {
        self.0.clone().try_lock_owned().ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    };

    use super::*;

    /// With two blocking threads: if each call took one, none would be left.
    #[test]
    fn cancelled_calls_use_one_thread() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .max_blocking_threads(2)
            .build()
            .unwrap();
        let (open, gate) = mpsc::channel::<()>();
        let gate = Arc::new(std::sync::Mutex::new(gate));
        let started = Arc::new(AtomicUsize::new(0));
        let turn = Turn::default();
        let hang = |turn: &Turn| {
            let (turn, gate, started) = (turn.clone(), gate.clone(), started.clone());
            async move {
                let work = move || {
                    started.fetch_add(1, Ordering::SeqCst);
                    let _ = gate.lock().unwrap().recv();
                    Ok(())
                };
                turn.run(Duration::from_secs(10), "the mount", work).await
            }
        };
        runtime.block_on(async {
            for _ in 0..100 {
                let call = tokio::spawn(hang(&turn));
                tokio::task::yield_now().await;
                call.abort();
                assert!(call.await.unwrap_err().is_cancelled());
            }
            // A thread is left for unrelated work.
            tokio::task::spawn_blocking(|| ()).await.unwrap();
            assert!(turn.try_take().is_none());

            let late = tokio::spawn(hang(&turn));
            tokio::task::yield_now().await;
            time::advance(Duration::from_secs(10)).await;
            let error = late.await.unwrap().unwrap_err();
            assert_eq!(error.to_string(), "the mount did not respond within 10s");
            assert!(error.is_local());

            drop(open);
            hang(&turn).await.unwrap();
            assert_eq!(started.load(Ordering::SeqCst), 2);
        });
    }
}
