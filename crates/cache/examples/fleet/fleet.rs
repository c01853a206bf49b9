//! Processes of a simulated fleet, and what they measure.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::Duration,
};

use hallpass_cache::CachedTokenSource;
use hallpass_core::{AccessToken, TokenRequest, TokenSource as _};
use hallpass_testkit::TokioClock;
use tokio::time::Instant;

use crate::{
    report::Report,
    server::{Client, Server},
    store::{Connection, Store},
};

const NAMESPACE: &str = "https://login.example/ orders";

/// A server, a store, and the figures of all processes; clones share them.
#[derive(Clone)]
pub(crate) struct Fleet {
    pub(crate) server: Server,
    pub(crate) store: Store,
    clock: TokioClock,
    started: Arc<AtomicUsize>,
    figures: Arc<Mutex<Figures>>,
}

#[derive(Default)]
struct Figures {
    calls: usize,
    failed: usize,
    unauthorized: usize,
    /// The time of the first one, and the number of those more than a second later.
    first_unauthorized: Option<Instant>,
    repeated_unauthorized: usize,
    longest_wait: Duration,
    /// Tokens that processes took from the store or fetched.
    loads: u64,
    /// The maximum number of store calls for one load, by a process that fetched nothing.
    most_questions: usize,
}

impl Fleet {
    /// Creates a fleet without processes; `notifies` is true if the store reports changes.
    pub(crate) fn new(latency: Duration, lifetime: Duration, notifies: bool) -> Self {
        let clock = TokioClock::new();
        Self {
            server: Server::new(clock.clone(), latency, lifetime),
            store: Store::new(clock.clone(), notifies),
            clock,
            started: Arc::default(),
            figures: Arc::default(),
        }
    }

    /// Starts a process with the secret's first version.
    pub(crate) fn process(&self) -> Process {
        self.process_with(Arc::new(AtomicU8::new(1)))
    }

    /// Starts a process that reads its secret's version here.
    pub(crate) fn process_with(&self, secret: Arc<AtomicU8>) -> Process {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let client = Client::new(self.server.clone(), number, secret);
        let connection = self.store.connect();
        let cache = CachedTokenSource::builder(client)
            .clock(self.clock.clone())
            .store(connection.clone(), NAMESPACE)
            .build();
        Process {
            fleet: self.clone(),
            cache,
            connection,
            number,
        }
    }

    /// Returns the figures so far; those of processes count when they have ended.
    pub(crate) fn report(&self, name: impl Into<String>) -> Report {
        let figures = self.figures();
        Report {
            name: name.into(),
            processes: self.started.load(Ordering::Relaxed),
            calls: figures.calls,
            failed: figures.failed,
            unauthorized: figures.unauthorized,
            repeated_unauthorized: figures.repeated_unauthorized,
            longest_wait: figures.longest_wait,
            requests: self.server.requests(),
            refused: self.server.refused(),
            questions: self.store.questions(),
            loads: figures.loads,
            most_questions: figures.most_questions,
        }
    }

    fn figures(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Figures {
    fn unauthorized(&mut self) {
        let first = *self.first_unauthorized.get_or_insert_with(Instant::now);
        self.unauthorized += 1;
        self.repeated_unauthorized += usize::from(first.elapsed() > Duration::from_secs(1));
    }
}

/// A process with a cache of its own.
pub(crate) struct Process {
    fleet: Fleet,
    cache: CachedTokenSource<Client>,
    connection: Connection,
    number: usize,
}

impl Process {
    /// Requests the default token.
    pub(crate) async fn call(&self) -> Option<AccessToken> {
        self.call_for(&TokenRequest::new()).await
    }

    /// Requests a token, and records how long that took and if it failed.
    pub(crate) async fn call_for(&self, request: &TokenRequest) -> Option<AccessToken> {
        let start = Instant::now();
        let token = match self.cache.ready_token(request) {
            Some(token) => Some(token),
            None => self.cache.token(request).await.ok(),
        };
        let mut figures = self.fleet.figures();
        figures.calls += 1;
        figures.failed += usize::from(token.is_none());
        figures.longest_wait = figures.longest_wait.max(start.elapsed());
        token
    }

    /// Calls an API, and once more with another token if it refuses the first one; returns true if it accepted one.
    pub(crate) async fn call_api(&self) -> bool {
        for _ in 0..2 {
            let Some(token) = self.call().await else {
                return false;
            };
            if self.fleet.server.accepts(&token) {
                return true;
            }
            self.fleet.figures().unauthorized();
            self.cache.invalidate(&token);
        }
        false
    }

    /// Returns the process's number: the order in which processes start.
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// Ends the process in an orderly way.
    pub(crate) async fn shut_down(self) {
        self.cache.shutdown().await;
    }

    /// Kills the process: it cleans up nothing.
    pub(crate) fn kill(self) {
        self.connection.kill();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let stats = self.cache.stats();
        let loads = stats.store_hits + stats.fetches;
        let mut figures = self.fleet.figures();
        figures.loads += loads;
        if stats.fetches == 0 && loads > 0 {
            let loads = usize::try_from(loads).unwrap_or(usize::MAX);
            let questions = self.connection.questions().div_ceil(loads);
            figures.most_questions = figures.most_questions.max(questions);
        }
    }
}
