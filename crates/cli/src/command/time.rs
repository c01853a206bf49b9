//! Times in output.

use std::time::{SystemTime, UNIX_EPOCH};

/// Formats a time as RFC 3339, in whole seconds; `None` for one that it cannot express: before 1970, or after the year
/// 9999, as the expiry of a token that practically never expires.
pub(super) fn rfc3339(time: SystemTime) -> Option<String> {
    const MAX_SECONDS: u64 = 253_402_300_799;
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    (since.as_secs() <= MAX_SECONDS).then(|| humantime::format_rfc3339_seconds(time).to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_outside_of_rfc_3339_is_no_text() {
        let at = |seconds| rfc3339(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0).as_deref(), Some("1970-01-01T00:00:00Z"));
        let last = at(253_402_300_799);
        assert_eq!(last.as_deref(), Some("9999-12-31T23:59:59Z"));
        assert_eq!(at(253_402_300_800), None);
        assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_secs(1)), None);
    }
}
