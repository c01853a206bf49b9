//! The calling thread: whether it may block, and how it waits.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use tokio::{runtime::Handle, task::coop};

/// More operations than tokio allows a task before it yields.
const OPERATIONS: usize = 256;

/// Returns true if this thread is running an async task, which other tasks wait for.
///
/// A thread of `spawn_blocking` or `block_in_place` has a current runtime too, and may block. tokio limits the operations
/// that a task performs in a row, and those of such a thread not.
pub(crate) fn runs_async_task() -> bool {
    if Handle::try_current().is_err() {
        return false;
    }
    let mut context = Context::from_waker(Waker::noop());
    (0..OPERATIONS).any(|_| match coop::poll_proceed(&mut context) {
        Poll::Pending => true,
        Poll::Ready(operation) => {
            operation.made_progress();
            false
        }
    })
}

/// Polls a future on this thread until it completes.
///
/// tokio's own `block_on` panics on a thread that it considers async. This one never does.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        thread::park();
    }
}

/// A waker that resumes a parked thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_thread_may_block() {
        assert!(!runs_async_task());
    }

    #[tokio::test]
    async fn a_task_of_a_current_thread_runtime_may_not_block() {
        assert!(runs_async_task());
        assert!(tokio::spawn(async { runs_async_task() }).await.unwrap());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_worker_may_block_where_tokio_says_so() {
        assert!(runs_async_task());
        assert!(tokio::spawn(async { runs_async_task() }).await.unwrap());
        let blocking = tokio::task::spawn_blocking(runs_async_task);
        assert!(!blocking.await.unwrap());
        let in_place = tokio::spawn(async { tokio::task::block_in_place(runs_async_task) });
        assert!(!in_place.await.unwrap());
    }

    #[tokio::test]
    async fn the_probe_leaves_the_task_able_to_continue() {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        assert!(runs_async_task());
        sender.send(7).unwrap();
        assert_eq!(receiver.recv().await, Some(7));
    }

    #[test]
    fn a_future_is_polled_when_another_thread_wakes_it() {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let other = thread::spawn(move || sender.send(7));
        assert_eq!(block_on(receiver), Ok(7));
        other.join().unwrap().unwrap();
    }
}
