use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// A point on a [`Clock`]'s monotonic scale, in whole nanoseconds since an origin chosen by the clock.
///
/// Compare it only with points of the same clock. Arithmetic saturates: a lifetime of `u64::MAX` seconds is "never"
/// and cannot overflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The latest representable point.
    pub const MAX: Self = Self(u64::MAX);

    /// Creates a point `elapsed` after the clock's origin. For implementations of [`Clock`].
    pub fn from_origin(elapsed: Duration) -> Self {
        Self(nanos(elapsed))
    }

    /// Creates a point this many nanoseconds after the clock's origin, for example from an atomic.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Returns the nanoseconds since the clock's origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns the point `duration` later, or [`MAX`](Self::MAX).
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    /// Returns the point `duration` earlier, or the origin.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }

    /// Returns the time since `earlier`, or zero if that is later.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// One reading of both scales of a [`Clock`].
///
/// The monotonic half is used for decisions in this process; the wall half is for people, logs and other processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Moment {
    /// The point on the monotonic scale.
    pub timestamp: Timestamp,
    /// The wall-clock time.
    pub wall: SystemTime,
}

impl Moment {
    /// Creates a moment from its two halves. For tests and implementations of [`Clock`].
    pub fn new(timestamp: Timestamp, wall: SystemTime) -> Self {
        Self { timestamp, wall }
    }
}

/// A source of time, injected so that tests can control it.
///
/// Services use [`SystemClock`]. A clock counts the time that the machine was suspended wherever the platform supports
/// it, since a token continues to age while a laptop sleeps.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use hallpass_core::{Clock, Timestamp};
///
/// /// A clock that stands still.
/// #[derive(Debug)]
/// struct FixedClock;
///
/// impl Clock for FixedClock {
///     fn now(&self) -> Timestamp {
///         Timestamp::from_origin(Duration::from_secs(43_200))
///     }
///     fn wall(&self) -> SystemTime {
///         SystemTime::UNIX_EPOCH + Duration::from_secs(43_200)
///     }
/// }
/// assert_eq!(FixedClock.moment().timestamp, FixedClock.now());
/// ```
pub trait Clock: Send + Sync + fmt::Debug {
    /// Returns the monotonic time. It never goes back; a cache hit reads only this. The origin should be further back
    /// than a token's lifetime: a token from a shared store may be older than this process.
    fn now(&self) -> Timestamp;

    /// Returns the wall-clock time. It may jump.
    fn wall(&self) -> SystemTime;

    /// Returns both scales at once.
    fn moment(&self) -> Moment {
        Moment::new(self.now(), self.wall())
    }
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }

    fn wall(&self) -> SystemTime {
        (**self).wall()
    }
}

/// The machine's clocks.
///
/// The monotonic scale includes suspend: it is `CLOCK_BOOTTIME` on Linux and Android, `CLOCK_MONOTONIC` on other Unix
/// systems (Apple's includes suspend), and [`std::time::Instant`] on Windows. Its origin is a century before the start
/// of the machine, so that it can express the age of a token that another machine, or an earlier run, requested.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SystemClock;

/// The reading when the machine, or on Windows the process, starts. There is room for four more centuries.
const START_TIMESTAMP: Timestamp = Timestamp(100 * 365 * 24 * 3_600 * 1_000_000_000);

impl Clock for SystemClock {
    #[cfg(unix)]
    fn now(&self) -> Timestamp {
        use rustix::time::{ClockId, clock_gettime};

        #[cfg(any(target_os = "linux", target_os = "android"))]
        const SCALE: ClockId = ClockId::Boottime;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        const SCALE: ClockId = ClockId::Monotonic;
        let time = clock_gettime(SCALE);
        // The kernel never reports a negative time since boot.
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
        let nanos = seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
        Timestamp(START_TIMESTAMP.0.saturating_add(nanos))
    }

    #[cfg(not(unix))]
    fn now(&self) -> Timestamp {
        use std::{sync::OnceLock, time::Instant};

        // One origin per process, or two `SystemClock`s would disagree about the same token.
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        START_TIMESTAMP.saturating_add(ORIGIN.get_or_init(Instant::now).elapsed())
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: F-69
    #[test]
    fn arithmetic_saturates() {
        let late = Timestamp::from_origin(Duration::MAX);
        assert_eq!(late, Timestamp::MAX);
        assert_eq!(late.saturating_add(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::default().saturating_since(late), Duration::ZERO);
        let later = Timestamp::default().saturating_add(Duration::from_secs(5));
        assert_eq!(
            later.saturating_since(Timestamp::default()),
            Duration::from_secs(5)
        );
    }

    // covers: F-95
    #[test]
    fn the_system_clock_covers_time_before_boot_and_start() {
        const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);
        let now = SystemClock.now();
        assert_eq!(now.saturating_since(now.saturating_sub(YEAR)), YEAR);
        assert!(now.saturating_add(100 * YEAR) < Timestamp::MAX);
    }

    #[test]
    fn the_system_clock_never_goes_back() {
        let mut last = SystemClock.now();
        for _ in 0..1_000 {
            let now = SystemClock.now();
            assert!(now >= last);
            last = now;
        }
    }
}
