//! The input and the results of a slot's steps.

use std::{sync::Arc, time::Duration};

use hallpass_core::{AccessToken, TokenError};
use tokio::sync::watch;

use crate::{failure::Failure, nesting::Node};

/// The result for all who wait for a flight. `None` until it has landed.
pub(crate) type Outcome = Option<Result<AccessToken, TokenError>>;

/// The next step of a caller that found no token.
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

/// The reason why a fetch brought no token.
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
    /// The slot's generation when it began to look for a token.
    pub(crate) generation: u32,
    /// True after a token of this flight expired before it arrived, or its binding ended.
    pub(crate) was_late: bool,
}

/// The outcome of a fetch for its flight.
pub(crate) enum Landed {
    /// All who wait were told.
    Done(Report),
    /// The result cannot be used: fetch once more, after this time.
    Again(Duration),
    /// Those who waited gave it up, and another flight took its place.
    Lost,
}

/// The record of a flight that has landed.
pub(crate) struct Report {
    /// The result that those who waited got.
    pub(crate) result: Result<AccessToken, TokenError>,
    pub(crate) waiters: usize,
    /// The token that was current until now.
    pub(crate) before: Option<AccessToken>,
    /// The time for which a new failure is repeated instead of asking again.
    pub(crate) rest: Option<Duration>,
    /// True if other keys were served since this one's failures began.
    pub(crate) alone: bool,
}
