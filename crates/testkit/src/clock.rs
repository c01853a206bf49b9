use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use hallpass_core::{Clock, Moment, Timestamp};

/// A clock that moves only when a test moves it. Clones share the same time.
///
/// ```
/// use std::time::Duration;
/// use hallpass_core::Clock;
/// use hallpass_testkit::ManualClock;
///
/// let clock = ManualClock::new();
/// let before = clock.now();
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now().saturating_since(before), Duration::from_secs(60));
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<Moment>>);

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl ManualClock {
    /// Creates a clock at 2026-01-01T00:00:00Z, an hour after its origin.
    pub fn new() -> Self {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        let start = Timestamp::from_origin(Duration::from_secs(3_600));
        Self(Arc::new(Mutex::new(Moment::new(start, wall))))
    }

    /// Advances both scales.
    pub fn advance(&self, duration: Duration) {
        self.change(|moment| {
            moment.timestamp = moment.timestamp.saturating_add(duration);
            moment.wall += duration;
        });
    }

    /// Sets the wall clock only, as an administrator or a time service does. It may go back.
    pub fn set_wall(&self, wall: SystemTime) {
        self.change(|moment| moment.wall = wall);
    }

    fn change(&self, change: impl FnOnce(&mut Moment)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.moment().timestamp
    }

    fn wall(&self) -> SystemTime {
        self.moment().wall
    }

    fn moment(&self) -> Moment {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A clock on tokio's time, paused or not: it moves with `tokio::time::advance`.
///
/// For tests of code that both sleeps and reads a clock. It shows the time since it was created; clones agree.
///
/// ```
/// use std::time::Duration;
/// use hallpass_core::Clock;
/// use hallpass_testkit::TokioClock;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let clock = TokioClock::new();
/// let before = clock.now();
/// tokio::time::sleep(Duration::from_secs(60)).await; // at once: the clock is paused
/// assert_eq!(clock.now().saturating_since(before), Duration::from_secs(60));
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TokioClock {
    origin: tokio::time::Instant,
    start: Moment,
}

impl Default for TokioClock {
    fn default() -> Self {
        Self::new()
    }
}

impl TokioClock {
    /// Creates a clock that starts at the same time as a [`ManualClock`].
    pub fn new() -> Self {
        Self {
            origin: tokio::time::Instant::now(),
            start: ManualClock::new().moment(),
        }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        self.start.timestamp.saturating_add(self.origin.elapsed())
    }

    fn wall(&self) -> SystemTime {
        self.start.wall + self.origin.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: F-63
    #[test]
    fn a_wall_clock_jump_leaves_monotonic_time_unchanged() {
        let clock = ManualClock::new();
        let before = clock.moment();
        let shared = clock.clone();
        shared.set_wall(before.wall - Duration::from_secs(3_600));
        assert_eq!(clock.now(), before.timestamp);
        assert!(clock.wall() < before.wall);
    }
}
