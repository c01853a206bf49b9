//! The thread that drives timers, connections and background tasks.

use std::{
    any::Any,
    fmt,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    process,
    sync::{Arc, Condvar, Mutex, PoisonError},
    task::Poll,
    thread::{self, ThreadId},
    time::Duration,
};

use hallpass_core::TokenError;
use tokio::{
    runtime::{Builder, EnterGuard, Handle},
    sync::watch,
};

use crate::thread::{block_on, runs_async_task};

/// The work to do before the runtime ends.
pub(crate) type Hook = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Enters a scope of the thread, which its result ends when it is dropped.
pub(crate) type ThreadScope = Box<dyn FnOnce() -> Box<dyn Any> + Send>;

/// A thread with a current-thread runtime. Calls poll their futures on their own threads.
pub(crate) struct Driver {
    runtime: Handle,
    thread: ThreadId,
    /// The process that has the thread.
    process: u32,
    /// True after a shutdown. Each call in progress holds a receiver.
    closed: watch::Sender<bool>,
    end: Arc<End>,
    timeout: Duration,
}

impl Driver {
    /// Starts the thread.
    pub(crate) fn start(
        hook: Option<Hook>,
        scope: Option<ThreadScope>,
        timeout: Duration,
    ) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let closed = watch::Sender::new(false);
        let (calls, mut shutdown) = (closed.clone(), closed.subscribe());
        let end = Arc::new(End::default());
        let mut guard = EndGuard {
            end: end.clone(),
            is_complete: true,
        };
        let thread = thread::Builder::new().name("hallpass-blocking".to_owned());
        let thread = thread.spawn(move || {
            let scope = scope.map(|enter| enter());
            guard.is_complete = runtime.block_on(async move {
                // The sender is alive: `calls`.
                let _ = shutdown.wait_for(|closed| *closed).await;
                drop(shutdown);
                let is_complete = match hook {
                    // As a task, so that a panic ends no call.
                    Some(hook) => {
                        let hook = tokio::time::timeout(timeout, tokio::spawn(hook));
                        hook.await.is_ok()
                    }
                    None => true,
                };
                // A call may be within a poll, which uses the runtime.
                calls.closed().await;
                is_complete
            });
            // Without waiting for its blocking threads.
            runtime.shutdown_background();
            drop((scope, guard));
        })?;
        Ok(Self {
            runtime: handle,
            thread: thread.thread().id(),
            process: process::id(),
            closed,
            end,
            timeout,
        })
    }

    /// Makes the runtime the current one of this thread: tasks that are spawned meanwhile run on it.
    #[inline]
    pub(crate) fn enter(&self) -> EnterGuard<'_> {
        self.runtime.enter()
    }

    /// Returns an error if this thread must not block.
    #[inline]
    pub(crate) fn check_thread() -> Result<(), TokenError> {
        if runs_async_task() {
            return Err(async_thread());
        }
        Ok(())
    }

    /// Polls `future` on this thread until it completes, or until the shutdown.
    pub(crate) fn run<T>(
        &self,
        future: impl Future<Output = Result<T, TokenError>>,
    ) -> Result<T, TokenError> {
        // The runtime's own thread also runs tasks that tokio does not limit.
        if self.is_own_thread() {
            return Err(async_thread());
        }
        block_on(self.in_runtime(future))
    }

    /// Polls and drops `future` with the runtime as the current one, until it completes, or until the shutdown.
    pub(crate) async fn in_runtime<T, E: From<TokenError>>(
        &self,
        future: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        if process::id() != self.process {
            return Err(other_process().into());
        }
        let mut shutdown = self.closed.subscribe();
        let mut closed = pin!(shutdown.wait_for(|closed| *closed));
        let future = pin!(Some(future));
        let mut call = Call {
            driver: self,
            future,
        };
        poll_fn(|context| {
            let _context = self.enter();
            if closed.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(shut_down().into()));
            }
            match call.future.as_mut().as_pin_mut() {
                Some(future) => future.poll(context),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Ends the calls in progress and the thread. Returns true if the thread ended within the timeout, with the hook
    /// complete.
    pub(crate) fn shutdown(&self) -> bool {
        self.closed.send_replace(true);
        // The thread cannot wait for itself, and does not exist after a fork.
        if self.is_own_thread() || process::id() != self.process {
            return false;
        }
        self.end.wait(self.timeout)
    }

    fn is_own_thread(&self) -> bool {
        thread::current().id() == self.thread
    }
}

/// A future in progress. Its drop may spawn a task, such as one that closes a connection.
struct Call<'a, F> {
    driver: &'a Driver,
    /// None during the drop.
    future: Pin<&'a mut Option<F>>,
}

impl<F> Drop for Call<'_, F> {
    fn drop(&mut self) {
        let _context = self.driver.enter();
        self.future.set(None);
    }
}

/// The end of the thread.
#[derive(Default)]
struct End {
    /// None before the end; false if the hook was abandoned.
    is_complete: Mutex<Option<bool>>,
    ended: Condvar,
}

impl End {
    /// Waits for the end, and returns true if it was in time, with the hook complete.
    fn wait(&self, timeout: Duration) -> bool {
        let is_complete = self
            .is_complete
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let wait = self
            .ended
            .wait_timeout_while(is_complete, timeout, |end| end.is_none());
        *wait.unwrap_or_else(PoisonError::into_inner).0 == Some(true)
    }
}

/// Dropped by the thread when it ends.
struct EndGuard {
    end: Arc<End>,
    is_complete: bool,
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        let end = self.end.is_complete.lock();
        *end.unwrap_or_else(PoisonError::into_inner) = Some(self.is_complete);
        self.end.ended.notify_all();
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("closed", &*self.closed.borrow())
            .finish_non_exhaustive()
    }
}

#[cold]
fn async_thread() -> TokenError {
    let error = TokenError::configuration(
        "a blocking token source was called on a thread that runs async tasks",
    );
    error.with_hint(
        "move the blocking code to tokio's spawn_blocking, or await the async token source",
    )
}

#[cold]
fn other_process() -> TokenError {
    TokenError::configuration("the blocking token source was built before a fork")
        .with_hint("build it in the child process")
}

#[cold]
fn shut_down() -> TokenError {
    TokenError::unavailable("the blocking token source was shut down").with_transient(false)
}

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, mpsc};

    use super::*;
    use hallpass_core::ErrorKind;

    const TIMEOUT: Duration = Duration::from_secs(20);

    #[test]
    fn a_call_after_a_fork_fails_with_the_remedy() {
        let mut driver = Driver::start(None, None, TIMEOUT).unwrap();
        assert_eq!(driver.run(async { Ok(7) }).unwrap(), 7);
        let own = driver.process;
        driver.process += 1;
        let error = driver.run(async { Ok(7) }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert_eq!(error.hint(), Some("build it in the child process"));
        // It does not wait for a thread that the process does not have.
        assert!(!driver.shutdown());
        driver.process = own;
        assert!(driver.shutdown());
    }

    #[test]
    fn a_call_on_the_own_thread_fails_even_if_unlimited() {
        let driver = Arc::new(Driver::start(None, None, TIMEOUT).unwrap());
        let inner = driver.clone();
        let nested = driver.run(async move {
            let nested = tokio::spawn(tokio::task::unconstrained(async move {
                assert!(!runs_async_task(), "the probe alone does not see it");
                inner.run(async { Ok(7) })
            }));
            Ok(nested.await.unwrap())
        });
        let error = nested.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
    }

    #[test]
    fn the_last_clone_may_be_dropped_on_the_own_thread() {
        let driver = Arc::new(Driver::start(None, None, TIMEOUT).unwrap());
        let (dropped, wait) = mpsc::channel();
        let (last, keep) = (driver.clone(), driver.runtime.clone());
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        keep.spawn(async move {
            let _ = gone.await;
            drop(last);
            dropped.send(()).unwrap();
        });
        drop(driver);
        go.send(()).unwrap();
        wait.recv_timeout(TIMEOUT).unwrap();
    }

    #[test]
    fn a_shutdown_does_not_wait_for_another_one() {
        const OTHERS: usize = 8;
        let (end, start) = (Arc::new(End::default()), Arc::new(Barrier::new(OTHERS + 1)));
        let others: Vec<_> = (0..OTHERS)
            .map(|_| {
                let (end, start) = (end.clone(), start.clone());
                thread::spawn(move || {
                    start.wait();
                    end.wait(TIMEOUT)
                })
            })
            .collect();
        start.wait();
        let started = std::time::Instant::now();
        assert!(!end.wait(Duration::from_millis(50)));
        assert!(started.elapsed() < TIMEOUT / 2);
        drop(EndGuard {
            end,
            is_complete: true,
        });
        for other in others {
            assert!(other.join().unwrap());
        }
    }

    #[test]
    fn a_hook_that_panics_does_not_keep_the_thread() {
        let hook: Hook = Box::pin(async { panic!("a fault of the program") });
        let driver = Driver::start(Some(hook), None, TIMEOUT).unwrap();
        let (release, stuck) = mpsc::channel::<()>();
        // Dropping the runtime would wait for it.
        driver.runtime.spawn_blocking(move || stuck.recv());
        assert!(driver.shutdown());
        drop(release);
    }

    #[test]
    fn a_hook_that_never_ends_is_bounded() {
        let hook: Hook = Box::pin(std::future::pending());
        let driver = Driver::start(Some(hook), None, Duration::from_millis(10)).unwrap();
        let _ = driver.shutdown();
        // The thread has ended when it holds no sender.
        let started = std::time::Instant::now();
        while driver.closed.sender_count() > 1 {
            assert!(started.elapsed() < TIMEOUT);
            thread::yield_now();
        }
        // Even if the caller is late, and the thread has ended.
        assert!(!driver.end.wait(TIMEOUT));
        assert!(!driver.shutdown());
    }
}
