//! The connection to one server: established in the background when it is needed, and again after it was lost.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{Cmd, Pipeline, PushInfo, PushKind, Value, aio::MultiplexedConnection};
use tokio::{sync::watch, task::AbortHandle, time::Instant};

use super::Connector;
use crate::{address::Address, call_error::CallError, changes::Changes};

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
    Idle(Option<FailedAttempt>),
    /// The task that connects sends its result here.
    Connecting(watch::Receiver<Option<Result<OpenConnection, CallError>>>),
    Open(OpenConnection),
}

#[derive(Clone)]
struct FailedAttempt {
    error: CallError,
    until: Instant,
    pause: Duration,
}

#[derive(Clone)]
struct OpenConnection {
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
    pub(crate) async fn query(self: &Arc<Self>, command: &Cmd) -> Result<Value, CallError> {
        let mut open = self.open().await?;
        let reply = command.query_async(&mut open.connection).await;
        self.checked(&open, reply.map_err(CallError::from))
    }

    /// Returns the reply to a command that a node of a cluster only accepts after `ASKING`.
    pub(crate) async fn query_asking(self: &Arc<Self>, command: &Cmd) -> Result<Value, CallError> {
        let mut open = self.open().await?;
        let mut both = Pipeline::new();
        both.cmd("ASKING").ignore().add_command(command.clone());
        let reply: Result<(Value,), _> = both.query_async(&mut open.connection).await;
        self.checked(&open, reply.map(|(value,)| value).map_err(CallError::from))
    }

    /// Requests the notifications of this channel, once for each connection; returns false if Redis refuses.
    ///
    /// # Errors
    ///
    /// Fails if there is no connection, or it was lost.
    pub(crate) async fn subscribe(self: &Arc<Self>, channel: &str) -> Result<bool, CallError> {
        let mut open = self.open().await?;
        let mut subscribed = open.subscribed.lock().await;
        if let Some(subscribed) = *subscribed {
            return Ok(subscribed);
        }
        let result = open.connection.subscribe(channel).await;
        let result = self.checked(&open, result.map_err(CallError::from));
        if let Err(error) = &result {
            // The cache polls instead.
            let reason = error.error.to_string();
            tracing::warn!(reason, "token store notifications unavailable");
            if error.is_of_connection() {
                return Err(error.clone());
            }
        }
        Ok(*subscribed.insert(result.is_ok()))
    }

    fn checked<T>(
        &self,
        open: &OpenConnection,
        reply: Result<T, CallError>,
    ) -> Result<T, CallError> {
        if let Err(error) = &reply
            && error.is_of_connection()
        {
            self.lost(&open.id);
        }
        reply
    }

    /// Returns the connection. Waits for one that is being established, in a task of its own, so that callers that give
    /// up do not interrupt it; fails at once for a while after a failed attempt.
    async fn open(self: &Arc<Self>) -> Result<OpenConnection, CallError> {
        loop {
            let mut connecting = match self.availability() {
                Availability::Open(open) => return Ok(open),
                Availability::Failed(error) => return Err(error),
                Availability::Connecting(receiver) => receiver,
            };
            // If the sender was dropped, the task's runtime has shut down: this caller starts another one.
            if let Ok(result) = connecting.wait_for(Option::is_some).await
                && let Some(result) = &*result
            {
                return result.clone();
            }
        }
    }

    /// Returns the connection, or starts to establish one.
    fn availability(self: &Arc<Self>) -> Availability {
        let mut state = self.state();
        let failure = match &*state {
            // Its task ends with the connection, and with the runtime that it was established in.
            State::Open(open) if !open.driver.is_finished() => {
                return Availability::Open(open.clone());
            }
            State::Connecting(receiver) if receiver.has_changed().is_ok() => {
                return Availability::Connecting(receiver.clone());
            }
            State::Idle(Some(failure)) if Instant::now() < failure.until => {
                return Availability::Failed(failure.error.clone());
            }
            State::Idle(failure) => failure.clone(),
            State::Open(_) | State::Connecting(_) => None,
        };
        let (sender, receiver) = watch::channel(None);
        *state = State::Connecting(receiver.clone());
        let link = self.clone();
        tokio::spawn(async move {
            let result = link.connect().await;
            let next = match &result {
                Ok(open) => State::Open(open.clone()),
                Err(error) => State::Idle(Some(FailedAttempt::after(failure, error))),
            };
            *link.state() = next;
            sender.send_replace(Some(result));
        });
        Availability::Connecting(receiver)
    }

    async fn connect(self: &Arc<Self>) -> Result<OpenConnection, CallError> {
        let changes = self.changes.clone();
        let push = move |push: PushInfo| {
            notify(&changes, &push);
            Ok(())
        };
        let new = self.connector.connect(&self.address, push).await?;
        let id = Arc::new(());
        let driver = new.driver.abort_handle();
        let (link, lost) = (Arc::downgrade(self), id.clone());
        tokio::spawn(async move {
            // Also ends if the runtime shuts down.
            let _ = new.driver.await;
            if let Some(link) = link.upgrade() {
                link.lost(&lost);
            }
        });
        tracing::debug!(address = ?self.address, "token store connected");
        Ok(OpenConnection {
            connection: new.connection,
            id,
            driver,
            subscribed: Arc::default(),
        })
    }

    /// Forgets this connection, unless another one has replaced it.
    fn lost(&self, id: &Arc<()>) {
        let mut state = self.state();
        if matches!(&*state, State::Open(open) if Arc::ptr_eq(&open.id, id)) {
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

/// The connection, or what a caller waits for.
enum Availability {
    Open(OpenConnection),
    Connecting(watch::Receiver<Option<Result<OpenConnection, CallError>>>),
    Failed(CallError),
}

impl FailedAttempt {
    fn after(previous: Option<Self>, error: &CallError) -> Self {
        let pause = previous.map_or(FIRST_PAUSE, |previous| previous.pause * 2);
        let pause = pause.min(LONGEST_PAUSE);
        Self {
            error: error.clone(),
            until: Instant::now() + pause,
            pause,
        }
    }
}

fn notify(changes: &Changes, push: &PushInfo) {
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
