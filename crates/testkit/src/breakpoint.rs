use std::{
    fmt,
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// A point at which a test interrupts a run: before the n-th poll of the futures that it wraps.
///
/// Wrap the calls of a source, a store or a server under test, and the futures of its callers. [`each`](Self::each) runs
/// a scenario with a breakpoint before the first poll, before the second, and so on, until a run completes. At its
/// breakpoint a run stands still, and the test drops a future or a runtime, or [resumes](Self::resume) it; or the poll
/// panics, with [`panic`](Self::panic).
///
/// Clones share their state.
///
/// ```
/// use hallpass_testkit::Breakpoint;
/// use tokio::{runtime::Builder, task::yield_now};
///
/// let points = Breakpoint::each(|breakpoint| {
///     let runtime = Builder::new_current_thread().build().unwrap();
///     let call = async {
///         yield_now().await;
///         7
///     };
///     let result = runtime.block_on(breakpoint.run(breakpoint.wrap(call)));
///     // Interrupted, and the call was dropped; or complete.
///     assert_eq!(result, (!breakpoint.is_reached()).then_some(7));
/// });
/// assert_eq!(points, 2); // before each of its two polls
/// ```
#[derive(Clone)]
pub struct Breakpoint(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// The number of polls before the breakpoint.
    left: usize,
    panics: bool,
    is_reached: bool,
    phase: Phase,
    /// Those of futures that wait for the next phase.
    wakers: Vec<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Counting,
    Interrupted,
    Resumed,
}

impl Breakpoint {
    /// Creates a breakpoint after this many polls.
    pub fn after(polls: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            left: polls,
            panics: false,
            is_reached: false,
            phase: Phase::Counting,
            wakers: Vec::new(),
        })))
    }

    /// Creates a breakpoint that no run reaches.
    pub fn never() -> Self {
        Self::after(usize::MAX)
    }

    /// Panics at the breakpoint, in the poll or the step itself; the run then continues.
    #[must_use]
    pub fn panic(self) -> Self {
        self.state().panics = true;
        self
    }

    /// Runs `scenario` with a breakpoint after 0, 1, 2 and more polls, until a run completes without reaching it.
    /// Returns the number of breakpoints.
    ///
    /// # Panics
    ///
    /// If 2,000 breakpoints are reached: the run has no end.
    pub fn each(mut scenario: impl FnMut(&Self)) -> usize {
        const MAX_POINTS: usize = 2_000;
        for polls in 0..MAX_POINTS {
            let breakpoint = Self::after(polls);
            scenario(&breakpoint);
            if !breakpoint.is_reached() {
                return polls;
            }
        }
        panic!("the scenario has more than {MAX_POINTS} points");
    }

    /// Wraps a future, whose polls count. Once the breakpoint is reached, it is not polled before [`resume`](Self::resume).
    pub async fn wrap<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|context| {
            if self.interrupts(context) {
                return Poll::Pending;
            }
            future.as_mut().poll(context)
        })
        .await
    }

    /// Counts a call that is not a future, such as a hook. It cannot stand still: the run does at its next poll.
    pub fn step(&self) {
        self.count();
    }

    /// Runs `future` until it completes, or returns `None` at the breakpoint.
    ///
    /// # Cancellation
    ///
    /// The future is dropped at the breakpoint.
    pub async fn run<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        poll_fn(|context| {
            let output = future.as_mut().poll(context);
            let mut state = self.state();
            match output {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending if state.phase == Phase::Interrupted => Poll::Ready(None),
                Poll::Pending => {
                    state.wakers.push(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Continues the futures that stand still. From now on nothing counts, also if the breakpoint was not reached.
    pub fn resume(&self) {
        self.enter(Phase::Resumed);
    }

    /// Returns true if the breakpoint was reached.
    pub fn is_reached(&self) -> bool {
        self.state().is_reached
    }

    fn interrupts(&self, context: &Context<'_>) -> bool {
        self.count();
        let mut state = self.state();
        let interrupted = state.phase == Phase::Interrupted;
        if interrupted {
            state.wakers.push(context.waker().clone());
        }
        interrupted
    }

    fn count(&self) {
        let mut state = self.state();
        if state.phase != Phase::Counting {
            return;
        }
        if let Some(left) = state.left.checked_sub(1) {
            state.left = left;
            return;
        }
        state.is_reached = true;
        let panics = state.panics;
        drop(state);
        if panics {
            self.enter(Phase::Resumed);
            panic!("a breakpoint of the test");
        }
        self.enter(Phase::Interrupted);
    }

    fn enter(&self, phase: Phase) {
        let mut state = self.state();
        state.phase = phase;
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Breakpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Breakpoint")
            .field("left", &state.left)
            .field("phase", &state.phase)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn a_run_stands_still_at_its_breakpoint_and_resumes() {
        let breakpoint = Breakpoint::after(1);
        let mut other = pin!(breakpoint.wrap(async { "other" }));
        let mut call = Box::pin(breakpoint.wrap(async {
            yield_now().await;
            "call"
        }));
        assert_eq!(breakpoint.run(&mut call).await, None);
        assert!(breakpoint.is_reached());
        assert_eq!(breakpoint.run(other.as_mut()).await, None);
        breakpoint.resume();
        assert_eq!((call.await, other.await), ("call", "other"));
        assert!(breakpoint.is_reached());
        let unused = Breakpoint::after(0);
        unused.resume();
        unused.step();
        assert!(!unused.is_reached());
    }

    #[tokio::test]
    async fn one_poll_panics_and_the_others_go_on() {
        let breakpoint = Breakpoint::after(1).panic();
        breakpoint.wrap(async {}).await;
        let wrapped = breakpoint.clone();
        let call = tokio::spawn(async move { wrapped.wrap(async {}).await });
        assert!(call.await.unwrap_err().is_panic());
        assert!(breakpoint.is_reached());
        breakpoint.wrap(async {}).await;
        breakpoint.step();
    }

    #[test]
    fn a_run_without_an_end_is_refused() {
        let endless = |breakpoint: &Breakpoint| {
            while !breakpoint.is_reached() {
                breakpoint.step();
            }
        };
        assert!(std::panic::catch_unwind(|| Breakpoint::each(endless)).is_err());
        assert_eq!(Breakpoint::each(|_| ()), 0);
    }
}
