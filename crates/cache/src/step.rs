//! What the steps of a slot take and yield.

use std::{sync::Arc, time::Duration};

use hallpass_core::{AccessToken, TokenError};
use tokio::sync::watch;

use crate::{failure::Failure, nesting::Node};

/// What all who wait for a flight get. `None` until it has landed.
pub(crate) type Outcome = Option<Result<AccessToken, TokenError>>;

/// What a caller without a token is to do.
pub(crate) enum Begin {
    Ready(AccessToken),
    Failed(TokenError),
    /// Wait for the flight that is under way.
    Join(Ticket),
    /// Start this flight, and wait for it.
    Start(Flight, Ticket),
    /// A flight must be started, and there is no place for it.
    Full,
    /// The slot was taken out of the map: look the key up again.
    Evicted,
}

/// Why a fetch brought no token.
pub(crate) enum Fault {
    /// The source or the way to it failed.
    New(TokenError),
    /// The source was not asked: a failure is remembered.
    Remembered(Failure),
}

/// A place among those who wait for a flight.
pub(crate) struct Ticket {
    pub(crate) flight: u32,
    pub(crate) receiver: watch::Receiver<Outcome>,
    pub(crate) node: Arc<Node>,
}

/// A fetch that someone must carry out: fetch after `delay`, then [`Slot::land`](crate::slot::Slot::land).
pub(crate) struct Flight {
    pub(crate) id: u32,
    pub(crate) delay: Duration,
    pub(crate) renewal: bool,
    pub(crate) node: Arc<Node>,
    /// What was dropped before this generation does not concern it.
    pub(crate) generation: u32,
    /// Did a token of this flight expire before it arrived, or what it is bound to end?
    pub(crate) was_late: bool,
}

/// What follows a fetch.
pub(crate) enum Landed {
    /// All who wait were told.
    Done(Report),
    /// The result cannot be used: fetch once more, after this time.
    Again(Duration),
    /// Those who waited gave it up, and another flight took its place.
    Lost,
}

/// How a flight went.
pub(crate) struct Report {
    /// What those who waited were told.
    pub(crate) result: Result<AccessToken, TokenError>,
    pub(crate) waiters: usize,
    /// The token that was current until now.
    pub(crate) before: Option<AccessToken>,
    /// How long a new failure is repeated instead of asking again.
    pub(crate) rest: Option<Duration>,
    /// Were other keys served since this one's failures began?
    pub(crate) alone: bool,
}
