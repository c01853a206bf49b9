//! The remains of a service: memory and tasks after its shutdown, when it has released all that it had.

use std::fmt;

/// The state of the process after a shutdown of its service.
#[derive(Clone, Copy)]
pub(crate) struct End {
    pub(crate) tasks: u64,
    /// Microseconds since 1970.
    pub(crate) at: u64,
    /// The calls of all services of the process until then.
    pub(crate) calls: u64,
    /// The allocated memory.
    pub(crate) bytes: u64,
}

/// The bytes for what is allocated once, such as the state of an error's path that the first service did not reach.
const ONCE: u64 = 32 * 1_024;
/// The bytes that a call may leave besides.
const PER_CALL: u64 = 8;
/// The recorder of metrics leaves about 80 bytes when the service writes them, once a second: queued memory of
/// crossbeam-epoch.
const PER_SECOND: u64 = 128;

/// Returns what [`Growth::is_allowed`] checks.
pub(crate) fn statement() -> String {
    let once = ONCE / 1_024;
    format!(
        "memory after a shutdown of the service grows by at most {once} KiB, {PER_CALL} bytes for each call and {PER_SECOND} bytes for each second"
    )
}

/// The growth from the first shutdown to the last.
pub(crate) struct Growth {
    bytes: u64,
    calls: u64,
    seconds: u64,
}

impl Growth {
    /// Returns the growth, if there are two shutdowns.
    pub(crate) fn between(ends: &[End]) -> Option<Self> {
        let [first, .., last] = ends else {
            return None;
        };
        Some(Self {
            bytes: last.bytes.saturating_sub(first.bytes),
            calls: last.calls.saturating_sub(first.calls),
            seconds: last.at.saturating_sub(first.at) / 1_000_000,
        })
    }

    pub(crate) fn is_allowed(&self) -> bool {
        self.bytes <= ONCE + PER_CALL * self.calls + PER_SECOND * self.seconds
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            bytes,
            calls,
            seconds,
        } = self;
        write!(f, "{bytes} bytes in {calls} calls and {seconds} s")
    }
}
