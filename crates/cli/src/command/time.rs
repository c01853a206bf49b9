//! Times in output.

use std::time::SystemTime;

/// Formats a time as RFC 3339, in whole seconds.
pub(super) fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}
