//! The input and the results of a slot's steps.

use std::{sync::Arc, time::Duration};

use hallpass_core::{AccessToken, TokenError};
use tokio::sync::watch;

use crate::{failure::CachedFailure, nesting::Node};

/// The result for all waiters of a flight. `None` until it has landed.
pub(crate) type Outcome = Option<Result<AccessToken, TokenError>>;

/// The next step of a caller that found no token.
pub(crate) enum NextStep {
    Ready(AccessToken),
    Failed(TokenError),
    /// Wait for the flight in progress.
    Join(Ticket),
    /// Start this flight, and wait for it.
    Start(Flight, Ticket),
    /// A flight must be started, but there is no free permit.
    Full,
    /// The slot was removed from the map: look the key up again.
    Evicted,
}

/// The reason why a fetch returned no token.
pub(crate) enum LoadError {
    /// The source failed, or could not be reached.
    Source(TokenError),
    /// The source was not called: a failure is cached.
    Cached(CachedFailure),
}

/// A waiter's handle to a flight.
pub(crate) struct Ticket {
    pub(crate) flight: u32,
    pub(crate) receiver: watch::Receiver<Outcome>,
    pub(crate) node: Arc<Node>,
}

/// A fetch that the caller must run: fetch after `delay`, then call [`Slot::land`](crate::slot::Slot::land).
pub(crate) struct Flight {
    pub(crate) id: u32,
    pub(crate) delay: Duration,
    pub(crate) refresh: bool,
    pub(crate) node: Arc<Node>,
    /// The slot's generation when it began to look for a token, or called the source.
    pub(crate) generation: u32,
    /// True after a token of this flight expired before it arrived, or its binding ended.
    pub(crate) was_unusable: bool,
}

/// The result of landing a flight.
pub(crate) enum Landing {
    /// All waiters were notified.
    Done(Report),
    /// The result cannot be used: fetch again after this time.
    Again(Duration),
    /// Its waiters abandoned it, and another flight replaced it.
    Lost,
}

/// The record of a flight that has landed.
pub(crate) struct Report {
    /// The result that the waiters got.
    pub(crate) result: Result<AccessToken, TokenError>,
    pub(crate) waiters: usize,
    /// The token that was current until now.
    pub(crate) before: Option<AccessToken>,
    /// The time for which a new failure is cached.
    pub(crate) rest: Option<Duration>,
    /// True if other keys were served since this one's failures began.
    pub(crate) alone: bool,
}
