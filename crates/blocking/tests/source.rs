//! The blocking source: hits, waits, async threads, shutdown.

#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    cell::Cell,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread, ThreadId},
    time::Duration,
};

use hallpass_blocking::BlockingTokenSource;
use hallpass_cache::{CachedTokenSource, MemoryTokenStore};
use hallpass_core::{
    AccessToken, Clock as _, ErrorKind, SystemClock, TokenError, TokenRequest, TokenSource,
    async_trait,
};
use hallpass_testkit::{Gate, ManualClock, ScriptedSource, StaticSource};

const TIMEOUT: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_secs(3_600);

fn token(text: &str) -> AccessToken {
    AccessToken::bearer(text, SystemClock.moment(), HOUR).unwrap()
}

/// A source with a ready token that records the threads of its calls.
struct Witness {
    token: AccessToken,
    ready_on: Mutex<Vec<ThreadId>>,
    fetches: AtomicUsize,
}

impl Witness {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            token: token("ready"),
            ready_on: Mutex::default(),
            fetches: AtomicUsize::new(0),
        })
    }
}

#[async_trait]
impl TokenSource for Witness {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        Ok(self.token.clone())
    }

    fn ready_token(&self, _: &TokenRequest) -> Option<AccessToken> {
        self.ready_on.lock().unwrap().push(thread::current().id());
        Some(self.token.clone())
    }
}

#[test]
fn a_hit_stays_on_the_calling_thread() {
    let witness = Witness::new();
    let tokens = BlockingTokenSource::new(witness.clone()).unwrap();
    // Without its thread there is nothing to hop to, and nothing that could hold a lock.
    assert!(tokens.shutdown());
    let (first, other) = (tokens.clone(), tokens.clone());
    first.token(&TokenRequest::default()).unwrap();
    let other = thread::spawn(move || {
        other.token(&TokenRequest::default()).unwrap();
        thread::current().id()
    });
    let other = other.join().unwrap();
    let expected = [thread::current().id(), other];
    assert_eq!(*witness.ready_on.lock().unwrap(), expected);
    assert_eq!(witness.fetches.load(Ordering::SeqCst), 0);
}

#[test]
fn a_hundred_threads_wait_for_one_fetch() {
    let gate = Gate::new();
    let source = ScriptedSource::gated([Ok(token("a")), Ok(token("b"))], gate.clone());
    let cache = Arc::new(CachedTokenSource::new(source.clone()));
    let tokens = BlockingTokenSource::new(cache.clone()).unwrap();
    thread::scope(|scope| {
        let callers: Vec<_> = (0..100)
            .map(|_| scope.spawn(|| tokens.token(&TokenRequest::default()).unwrap()))
            .collect();
        let all_wait = || cache.stats().waiters == 100;
        let started = std::time::Instant::now();
        while !all_wait() && started.elapsed() < TIMEOUT {
            thread::yield_now();
        }
        assert!(all_wait());
        gate.open();
        for caller in callers {
            assert_eq!(caller.join().unwrap().expose(), "a");
        }
    });
    assert_eq!(source.calls(), 1);
}

#[test]
fn a_hit_past_the_refresh_point_starts_a_refresh() {
    let clock = ManualClock::new();
    let first = AccessToken::bearer("a", clock.moment(), HOUR).unwrap();
    let second = AccessToken::bearer("b", clock.moment(), 2 * HOUR).unwrap();
    let source = ScriptedSource::new([Ok(first), Ok(second)]);
    let cache = CachedTokenSource::builder(source.clone())
        .clock(clock.clone())
        .build();
    let tokens = BlockingTokenSource::new(cache).unwrap();
    let request = TokenRequest::default();
    assert_eq!(tokens.token(&request).unwrap().expose(), "a");
    clock.advance(Duration::from_secs(3_599));
    assert_eq!(tokens.token(&request).unwrap().expose(), "a");
    let started = std::time::Instant::now();
    while tokens.token(&request).unwrap().expose() != "b" {
        assert!(started.elapsed() < TIMEOUT, "no refresh ran");
        thread::yield_now();
    }
    assert_eq!(source.calls(), 2);
}

/// A call on a thread that runs async tasks fails; the same call where tokio allows to block does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_call_on_an_async_thread_names_the_remedy() {
    let tokens = BlockingTokenSource::new(StaticSource::new("fake")).unwrap();
    let hit = BlockingTokenSource::new(Witness::new()).unwrap();
    for source in [&tokens, &hit] {
        let error = source.token(&TokenRequest::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        let remedy = error.hint().unwrap();
        assert!(remedy.contains("spawn_blocking"), "{remedy}");
    }
    let inner = tokens.clone();
    let task = tokio::spawn(async move { inner.token(&TokenRequest::default()).is_err() });
    assert!(task.await.unwrap());
    assert!(hit.ready_token(&TokenRequest::default()).is_some());

    let blocking = tokio::task::spawn_blocking(move || {
        let token = tokens.token(&TokenRequest::default()).unwrap();
        token.expose().to_owned()
    });
    assert_eq!(blocking.await.unwrap(), "fake");
}

#[test]
fn a_source_that_blocks_on_its_own_thread_fails() {
    /// A source that fetches a token of another one by a blocking call.
    struct Nested(Mutex<Option<BlockingTokenSource>>);

    #[async_trait]
    impl TokenSource for Nested {
        async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
            let inner = self.0.lock().unwrap().clone();
            inner.unwrap().token(request)
        }
    }

    let nested = Arc::new(Nested(Mutex::new(None)));
    // The cache fetches in a task of the runtime's thread.
    let cache = CachedTokenSource::new(nested.clone());
    let tokens = BlockingTokenSource::new(cache).unwrap();
    *nested.0.lock().unwrap() = Some(tokens.clone());
    let error = tokens.token(&TokenRequest::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    nested.0.lock().unwrap().take();
}

#[test]
fn a_shutdown_ends_the_calls_in_progress() {
    let gate = Gate::new();
    let source = ScriptedSource::gated([Ok(token("a"))], gate.clone());
    let tokens = BlockingTokenSource::new(source.clone()).unwrap();
    let caller = {
        let tokens = tokens.clone();
        thread::spawn(move || tokens.token(&TokenRequest::default()))
    };
    let started = std::time::Instant::now();
    while source.calls() == 0 && started.elapsed() < TIMEOUT {
        thread::yield_now();
    }
    assert!(tokens.shutdown());
    let error = caller.join().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!error.is_transient());
    let error = tokens.token(&TokenRequest::default()).unwrap_err();
    assert_eq!(error.to_string(), "the blocking token source was shut down");
    assert_eq!(source.calls(), 1);
    assert!(tokens.shutdown(), "a second shutdown changes nothing");
}

/// A store whose writes wait for a gate.
#[derive(Clone)]
struct SlowStore {
    gate: Gate,
    written: mpsc::Sender<()>,
}

#[test]
fn dropping_the_source_completes_the_work_in_progress() {
    let (written, receiver) = mpsc::channel();
    let gate = Gate::new();
    let store = SlowStore {
        gate: gate.clone(),
        written,
    };
    let tokens = BlockingTokenSource::builder(StaticSource::new("fake"))
        .on_shutdown(async move {
            store.gate.pass().await;
            store.written.send(()).unwrap();
        })
        .build()
        .unwrap();
    tokens.token(&TokenRequest::default()).unwrap();
    let opener = thread::spawn(move || gate.open());
    drop(tokens);
    assert_eq!(receiver.try_recv(), Ok(()));
    opener.join().unwrap();
}

#[test]
fn a_cache_shares_its_token_before_the_thread_ends() {
    let store = MemoryTokenStore::default();
    let cache = |source: ScriptedSource| {
        let builder = CachedTokenSource::builder(source);
        Arc::new(builder.store(store.clone(), "login.example/orders").build())
    };
    let first = ScriptedSource::new([Ok(token("a"))]);
    let shared = cache(first.clone());
    let tokens = BlockingTokenSource::builder(shared.clone())
        .on_shutdown(async move { shared.shutdown().await })
        .build()
        .unwrap();
    tokens.token(&TokenRequest::default()).unwrap();
    drop(tokens);

    let second = ScriptedSource::new([Ok(token("b"))]);
    let tokens = BlockingTokenSource::new(cache(second.clone())).unwrap();
    let found = tokens.token(&TokenRequest::default()).unwrap();
    assert_eq!(found.expose(), "a");
    assert_eq!((first.calls(), second.calls()), (1, 0));
}

/// Polls a future on a thread that has no runtime.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn async_code_without_a_runtime_uses_that_of_the_source() {
    let source = BlockingTokenSource::new(StaticSource::new("fake")).unwrap();
    let future = source.in_runtime(async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let thread = tokio::spawn(async { thread::current().id() }).await;
        Ok::<_, TokenError>(thread.unwrap())
    });
    let ran_on = block_on(future).unwrap();
    assert_ne!(ran_on, thread::current().id());
    let spawned = source.with_runtime(|| tokio::spawn(async { thread::current().id() }));
    assert_eq!(block_on(spawned).unwrap(), ran_on);
    assert!(tokio::runtime::Handle::try_current().is_err());
}

#[test]
fn a_shutdown_ends_async_calls_in_progress() {
    let source = BlockingTokenSource::new(StaticSource::new("fake")).unwrap();
    let (started, wait) = mpsc::channel();
    let call = source.clone();
    let call = thread::spawn(move || {
        block_on(call.in_runtime(async {
            started.send(()).unwrap();
            std::future::pending::<Result<(), TokenError>>().await
        }))
    });
    wait.recv_timeout(TIMEOUT).unwrap();
    assert!(source.shutdown());
    let error = call.join().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    // A later one is not polled.
    let later = source.in_runtime(async { Ok::<_, TokenError>(7) });
    assert_eq!(block_on(later).unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn a_call_that_is_dropped_may_spawn_a_task() {
    struct Connection(mpsc::Sender<ThreadId>);
    impl Drop for Connection {
        fn drop(&mut self) {
            let closed = self.0.clone();
            tokio::spawn(async move { closed.send(thread::current().id()) });
        }
    }
    let source = BlockingTokenSource::new(StaticSource::new("fake")).unwrap();
    let (closed, wait) = mpsc::channel();
    let mut call = Box::pin(source.in_runtime(async {
        let _connection = Connection(closed);
        std::future::pending::<Result<(), TokenError>>().await
    }));
    let mut context = Context::from_waker(Waker::noop());
    assert!(call.as_mut().poll(&mut context).is_pending());
    drop(call);
    let closed_on = wait.recv_timeout(TIMEOUT).unwrap();
    assert_ne!(closed_on, thread::current().id());
}

#[test]
fn a_thread_scope_lasts_as_long_as_the_thread() {
    thread_local! {
        static SCOPES: Cell<usize> = const { Cell::new(0) };
    }
    struct Scope(mpsc::Sender<ThreadId>);
    impl Drop for Scope {
        fn drop(&mut self) {
            self.0.send(thread::current().id()).unwrap();
        }
    }
    let (ended, wait) = mpsc::channel();
    let source = BlockingTokenSource::builder(StaticSource::new("fake"))
        .thread_scope(move || {
            SCOPES.set(1);
            Scope(ended)
        })
        .build()
        .unwrap();
    let task =
        source.with_runtime(|| tokio::spawn(async { (SCOPES.get(), thread::current().id()) }));
    let (scopes, thread) = block_on(task).unwrap();
    assert_eq!(scopes, 1);
    assert!(wait.try_recv().is_err());
    assert!(source.shutdown());
    assert_eq!(wait.recv_timeout(TIMEOUT), Ok(thread));
}
