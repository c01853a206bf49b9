//! The remaining validity of certificates.

use std::time::SystemTime;

/// The remaining days below which a certificate should have been renewed.
const MIN_DAYS: u64 = 14;

/// The time until a certificate expires.
#[derive(Clone, Copy, Debug)]
pub(super) struct Validity {
    pub(super) days: u64,
}

impl Validity {
    pub(super) fn until(end: SystemTime) -> Self {
        let left = end.duration_since(SystemTime::now()).unwrap_or_default();
        Self {
            days: left.as_secs() / 86_400,
        }
    }

    /// Returns true if the certificate should have been renewed.
    pub(super) fn is_short(self) -> bool {
        self.days < MIN_DAYS
    }
}
