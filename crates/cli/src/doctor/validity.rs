//! The remaining validity of certificates.

use std::{fmt, time::SystemTime};

/// The remaining days below which a certificate should have been renewed.
const MIN_DAYS: u64 = 14;

/// The time until a certificate expires.
#[derive(Clone, Copy, Debug)]
pub(super) struct Validity {
    days: u64,
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

impl fmt::Display for Validity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.days == 1 { "" } else { "s" };
        write!(f, "expires in {} day{plural}", self.days)
    }
}
