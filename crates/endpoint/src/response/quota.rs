//! The quotas that a server reports in the headers of a token response.
//!
//! No standard defines them, so invalid values are ignored, and nothing depends on them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hallpass_core::Quota;
use http::HeaderMap;

/// A longer header is ignored.
const MAX_HEADER_BYTES: usize = 512;
/// A larger number of seconds is a point in time.
const FIRST_EPOCH_SECOND: u64 = 1_000_000_000;
/// A later reset is ignored.
const MAX_RESET: Duration = Duration::from_secs(366 * 24 * 3_600);
/// The headers of a general rate limit, without their last word.
const RATE_LIMITS: [&str; 2] = ["x-ratelimit", "x-rate-limit"];
/// Auth0's quotas of tokens: header, bucket, and name.
const TOKEN_QUOTAS: [(&str, &str, &str); 4] = [
    ("auth0-client-quota-limit", "per_hour", "client_per_hour"),
    ("auth0-client-quota-limit", "per_day", "client_per_day"),
    (
        "auth0-organization-quota-limit",
        "per_hour",
        "organization_per_hour",
    ),
    (
        "auth0-organization-quota-limit",
        "per_day",
        "organization_per_day",
    ),
];

/// Reads the quotas of a response that arrived at `now`.
pub(crate) fn read(headers: &HeaderMap, now: SystemTime) -> Vec<Quota> {
    let rate_limit = RATE_LIMITS.iter().find_map(|prefix| {
        let field = |word| number(text(headers, &format!("{prefix}-{word}"))?);
        let reset = field("reset").and_then(|reset| until(reset, now));
        Some(quota(
            "rate_limit",
            field("remaining")?,
            field("limit"),
            reset,
        ))
    });
    let buckets = TOKEN_QUOTAS.iter().filter_map(|(header, bucket, name)| {
        let mut buckets = text(headers, header)?.split(',');
        buckets.find_map(|text| token_quota(text, bucket, name))
    });
    rate_limit.into_iter().chain(buckets).collect()
}

/// Reads `b=per_hour;q=10;r=7;t=3540` if it is the bucket of this name. The first part may be the name alone.
fn token_quota(text: &str, bucket: &str, name: &'static str) -> Option<Quota> {
    let parts = || text.split(';').map(str::trim);
    let value = |key| parts().find_map(|part| part.strip_prefix(key)?.strip_prefix('='));
    if value("b").or_else(|| parts().next()) != Some(bucket) {
        return None;
    }
    let count = |key| value(key).and_then(number);
    let reset = count("t").map(Duration::from_secs);
    let reset = reset.filter(|reset| *reset <= MAX_RESET);
    Some(quota(name, count("r")?, count("q"), reset))
}

fn quota(name: &'static str, remaining: u64, limit: Option<u64>, reset: Option<Duration>) -> Quota {
    let quota = Quota::new(name, remaining);
    let quota = limit.into_iter().fold(quota, Quota::with_limit);
    reset.into_iter().fold(quota, Quota::with_reset)
}

/// Returns the time until a reset, which is in seconds from now, or from the Unix epoch.
fn until(reset: u64, now: SystemTime) -> Option<Duration> {
    let mut reset = Duration::from_secs(reset);
    if reset.as_secs() >= FIRST_EPOCH_SECOND {
        reset = reset.saturating_sub(now.duration_since(UNIX_EPOCH).ok()?);
    }
    (reset <= MAX_RESET).then_some(reset)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let value = headers.get(name)?;
    (value.len() <= MAX_HEADER_BYTES).then(|| value.to_str().ok())?
}

fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_852_800;

    fn quotas(headers: &[(&'static str, &str)]) -> Vec<Quota> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        read(&map, UNIX_EPOCH + Duration::from_secs(NOW))
    }

    #[test]
    fn a_rate_limit_resets_at_a_time_or_after_a_time() {
        let expected = |seconds| {
            let quota = Quota::new("rate_limit", 10).with_limit(100);
            vec![quota.with_reset(Duration::from_secs(seconds))]
        };
        for prefix in ["x-ratelimit", "x-rate-limit"] {
            let names = ["limit", "remaining", "reset"].map(|word| format!("{prefix}-{word}"));
            let names = names.map(|name| &*Box::leak(name.into_boxed_str()));
            for (reset, seconds) in [
                ("30", 30),
                ("31622400", 31_622_400), // 366 days
                ("1795852860", 60),
                ("1795852000", 0),
            ] {
                let found = quotas(&[(names[0], "100"), (names[1], "10"), (names[2], reset)]);
                assert_eq!(found, expected(seconds));
            }
        }
        let bare = quotas(&[("x-ratelimit-remaining", " 7 ")]);
        assert_eq!(bare, [Quota::new("rate_limit", 7)]);
    }

    #[test]
    fn token_quotas_are_read_in_both_forms() {
        let header = "b=per_hour;q=10;r=7;t=3540,b=per_day;q=50;r=47;t=43200";
        let client = |name, remaining, limit, seconds| {
            let quota = Quota::new(name, remaining).with_limit(limit);
            quota.with_reset(Duration::from_secs(seconds))
        };
        let expected = [
            client("client_per_hour", 7, 10, 3_540),
            client("client_per_day", 47, 50, 43_200),
        ];
        assert_eq!(quotas(&[("auth0-client-quota-limit", header)]), expected);
        let bare = header.replace("b=", "");
        assert_eq!(quotas(&[("auth0-client-quota-limit", &bare)]), expected);
        let organization = quotas(&[("auth0-organization-quota-limit", "b=per_day; r=0")]);
        assert_eq!(organization, [Quota::new("organization_per_day", 0)]);
    }

    #[test]
    fn invalid_headers_are_ignored() {
        let long = format!("b=per_hour;r=7;{}", "x".repeat(MAX_HEADER_BYTES));
        for (name, value) in [
            ("x-ratelimit-remaining", "-1"),
            ("x-ratelimit-remaining", "+1"),
            ("x-ratelimit-remaining", "many"),
            ("x-ratelimit-remaining", ""),
            ("x-ratelimit-remaining", "99999999999999999999999"),
            ("x-ratelimit-limit", "100"),
            ("auth0-client-quota-limit", "b=per_year;q=1;r=1;t=1"),
            ("auth0-client-quota-limit", "b=per_hour;q=1"),
            ("auth0-client-quota-limit", ";;;,,,="),
            ("auth0-client-quota-limit", &long),
        ] {
            assert_eq!(quotas(&[(name, value)]), [], "{name}: {value}");
        }
        let far = quotas(&[
            ("x-ratelimit-remaining", "1"),
            ("x-ratelimit-reset", "99999999999"),
        ]);
        assert_eq!(far, [Quota::new("rate_limit", 1)]);
    }
}
