//! The connection to one server: established in the background when it is needed, and again after it was lost.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{Cmd, Pipeline, PushInfo, PushKind, Value, aio::MultiplexedConnection};
use tokio::{sync::watch, task::AbortHandle, time::Instant};

use super::Connector;
use crate::{
    address::Address,
    changes::Changes,
    fault::{Fault, FaultKind},
};

/// The pause after a first failed attempt to connect; it doubles up to the maximum, which is shorter than the pause of
/// the cache's circuit breaker.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

pub(crate) struct Link {
    address: Address,
    connector: Arc<Connector>,
    changes: Arc<Changes>,
    state: Mutex<State>,
}

enum State {
    Idle(Option<Failure>),
    /// The task that connects sends its result here.
    Connecting(watch::Receiver<Option<Result<Live, Fault>>>),
    Live(Live),
}

#[derive(Clone)]
struct Failure {
    fault: Fault,
    until: Instant,
    pause: Duration,
}

#[derive(Clone)]
struct Live {
    connection: MultiplexedConnection,
    /// Distinguishes it from an earlier connection.
    id: Arc<()>,
    /// The task that drives it.
    driver: AbortHandle,
    /// Whether a subscription succeeded, once one was requested.
    subscribed: Arc<tokio::sync::Mutex<Option<bool>>>,
}

impl Link {
    pub(crate) fn new(
        address: Address,
        connector: Arc<Connector>,
        changes: Arc<Changes>,
    ) -> Arc<Self> {
        Arc::new(Self {
            address,
            connector,
            changes,
            state: Mutex::new(State::Idle(None)),
        })
    }

    /// Returns the reply to a command.
    pub(crate) async fn query(self: &Arc<Self>, command: &Cmd) -> Result<Value, Fault> {
        let mut live = self.live().await?;
        let reply = command.query_async(&mut live.connection).await;
        self.checked(&live, reply.map_err(Fault::from))
    }

    /// Returns the reply to a command that a node of a cluster only accepts after `ASKING`.
    pub(crate) async fn query_asking(self: &Arc<Self>, command: &Cmd) -> Result<Value, Fault> {
        let mut live = self.live().await?;
        let mut both = Pipeline::new();
        both.cmd("ASKING").ignore().add_command(command.clone());
        let reply: Result<(Value,), _> = both.query_async(&mut live.connection).await;
        self.checked(&live, reply.map(|(value,)| value).map_err(Fault::from))
    }

    /// Requests the notifications of this channel, once for each connection; returns false if that failed.
    pub(crate) async fn subscribe(self: &Arc<Self>, channel: &str) -> bool {
        let Ok(mut live) = self.live().await else {
            return false;
        };
        let mut subscribed = live.subscribed.lock().await;
        if let Some(subscribed) = *subscribed {
            return subscribed;
        }
        let result = live.connection.subscribe(channel).await;
        let result = self.checked(&live, result.map_err(Fault::from));
        if let Err(fault) = &result {
            // The cache polls instead.
            let reason = fault.text();
            tracing::warn!(reason, "token store notifications unavailable");
        }
        *subscribed.insert(result.is_ok())
    }

    fn checked<T>(&self, live: &Live, reply: Result<T, Fault>) -> Result<T, Fault> {
        if let Err(fault) = &reply
            && matches!(fault.kind, FaultKind::Connection | FaultKind::NotPrimary)
        {
            self.lost(&live.id);
        }
        reply
    }

    /// Returns the connection. Waits for one that is being established, in a task of its own, so that callers that give
    /// up do not interrupt it; fails at once for a while after a failed attempt.
    async fn live(self: &Arc<Self>) -> Result<Live, Fault> {
        loop {
            let mut connecting = match self.begin() {
                Begun::Live(live) => return Ok(live),
                Begun::Failed(fault) => return Err(fault),
                Begun::Connecting(receiver) => receiver,
            };
            // If the sender was dropped, the task's runtime has shut down: this caller starts another one.
            if let Ok(result) = connecting.wait_for(Option::is_some).await
                && let Some(result) = &*result
            {
                return result.clone();
            }
        }
    }

    fn begin(self: &Arc<Self>) -> Begun {
        let mut state = self.state();
        let failure = match &*state {
            // Its task ends with the connection, and with the runtime that it was established in.
            State::Live(live) if !live.driver.is_finished() => return Begun::Live(live.clone()),
            State::Connecting(receiver) if receiver.has_changed().is_ok() => {
                return Begun::Connecting(receiver.clone());
            }
            State::Idle(Some(failure)) if Instant::now() < failure.until => {
                return Begun::Failed(failure.fault.clone());
            }
            State::Idle(failure) => failure.clone(),
            State::Live(_) | State::Connecting(_) => None,
        };
        let (sender, receiver) = watch::channel(None);
        *state = State::Connecting(receiver.clone());
        let link = self.clone();
        tokio::spawn(async move {
            let result = link.connect().await;
            let next = match &result {
                Ok(live) => State::Live(live.clone()),
                Err(fault) => State::Idle(Some(Failure::after(failure, fault))),
            };
            *link.state() = next;
            sender.send_replace(Some(result));
        });
        Begun::Connecting(receiver)
    }

    async fn connect(self: &Arc<Self>) -> Result<Live, Fault> {
        let changes = self.changes.clone();
        let push = move |push: PushInfo| {
            received(&changes, &push);
            Ok(())
        };
        let connected = self.connector.connect(&self.address, push).await?;
        let id = Arc::new(());
        let driver = connected.driver.abort_handle();
        let (link, lost) = (Arc::downgrade(self), id.clone());
        tokio::spawn(async move {
            // Also ends if the runtime shuts down.
            let _ = connected.driver.await;
            if let Some(link) = link.upgrade() {
                link.lost(&lost);
            }
        });
        tracing::debug!(address = ?self.address, "token store connected");
        Ok(Live {
            connection: connected.connection,
            id,
            driver,
            subscribed: Arc::default(),
        })
    }

    /// Forgets this connection, unless another one has replaced it.
    fn lost(&self, id: &Arc<()>) {
        let mut state = self.state();
        if matches!(&*state, State::Live(live) if Arc::ptr_eq(&live.id, id)) {
            *state = State::Idle(None);
            drop(state);
            // Changes may have been missed.
            self.changes.notify_all();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

enum Begun {
    Live(Live),
    Connecting(watch::Receiver<Option<Result<Live, Fault>>>),
    Failed(Fault),
}

impl Failure {
    fn after(previous: Option<Self>, fault: &Fault) -> Self {
        let pause = previous.map_or(FIRST_PAUSE, |previous| previous.pause * 2);
        let pause = pause.min(LONGEST_PAUSE);
        Self {
            fault: fault.clone(),
            until: Instant::now() + pause,
            pause,
        }
    }
}

fn received(changes: &Changes, push: &PushInfo) {
    if push.kind != PushKind::Message {
        return;
    }
    if let [_, Value::BulkString(message)] = &*push.data
        && let Ok(key) = str::from_utf8(message)
    {
        changes.notify(key);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
