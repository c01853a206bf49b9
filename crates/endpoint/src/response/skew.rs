//! Clock skew, detected by the `Date` of a server that refused dated credentials.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use http::HeaderMap;

use crate::transport::answer;

/// The smallest skew that network delay and rounding do not explain.
const MIN_REPORTED_SKEW: Duration = Duration::from_secs(30);

/// The difference between the local clock and the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Skew {
    Ahead(Duration),
    Behind(Duration),
}

impl Skew {
    /// Compares the server's `Date` (RFC 9110 section 6.6.1), written at most `taken` after `made`. `None` without a
    /// `Date`, or if the clocks agree.
    pub(crate) fn measure(headers: &HeaderMap, made: SystemTime, taken: Duration) -> Option<Self> {
        let date = answer::date(headers)?;
        let (skew, difference) = match made.duration_since(date) {
            Ok(ahead) => (Self::Ahead as fn(_) -> _, ahead),
            Err(behind) => (
                Self::Behind as fn(_) -> _,
                behind.duration().saturating_sub(taken),
            ),
        };
        (difference > MIN_REPORTED_SKEW).then(|| skew(Duration::from_secs(difference.as_secs())))
    }
}

impl fmt::Display for Skew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (difference, side) = match self {
            Self::Ahead(difference) => (difference, "ahead of"),
            Self::Behind(difference) => (difference, "behind"),
        };
        write!(
            f,
            "this machine's clock is {difference:?} {side} the server's, and it dates the credentials: set this machine's clock"
        )
    }
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    const DATE: &str = "Tue, 24 Nov 2026 10:00:00 GMT";

    fn check(made: i64, taken: u64, expect: Option<Skew>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::DATE, DATE.parse().unwrap());
        let date = httpdate::parse_http_date(DATE).unwrap();
        let by = Duration::from_millis(made.unsigned_abs());
        let made = if made < 0 { date - by } else { date + by };
        let skew = Skew::measure(&headers, made, Duration::from_secs(taken));
        assert_eq!(skew, expect, "{made:?} {taken}");
    }

    // covers: F-71
    #[test]
    fn only_a_difference_beyond_delay_and_rounding_is_reported() {
        use Skew::{Ahead, Behind};
        let seconds = Duration::from_secs;
        check(0, 0, None);
        check(30_000, 0, None);
        check(-30_000, 0, None);
        check(600_700, 0, Some(Ahead(seconds(600))));
        check(-600_700, 0, Some(Behind(seconds(600))));
        // The server was slow to respond.
        check(-45_000, 44, None);
        check(-600_000, 44, Some(Behind(seconds(556))));
        check(600_000, 44, Some(Ahead(seconds(600))));
    }

    #[test]
    fn without_a_date_nothing_is_reported() {
        let mut headers = HeaderMap::new();
        let epoch = SystemTime::UNIX_EPOCH;
        assert_eq!(Skew::measure(&headers, epoch, Duration::ZERO), None);
        headers.insert(header::DATE, "yesterday".parse().unwrap());
        assert_eq!(Skew::measure(&headers, epoch, Duration::ZERO), None);
        headers.insert(header::DATE, DATE.parse().unwrap());
        assert!(Skew::measure(&headers, epoch, Duration::ZERO).is_some());
    }

    #[test]
    fn the_text_names_side_and_remedy() {
        assert_eq!(
            Skew::Behind(Duration::from_secs(600)).to_string(),
            "this machine's clock is 600s behind the server's, and it dates the credentials: set this machine's clock"
        );
    }
}
