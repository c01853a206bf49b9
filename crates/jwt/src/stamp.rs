//! The time and the random number that make each JWT unique.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hallpass_core::TokenError;

/// Returns 128 random bits, for a unique `jti`.
pub(crate) fn unique() -> Result<[u8; 16], TokenError> {
    let mut unique = [0; 16];
    getrandom::fill(&mut unique)
        .map_err(|_| TokenError::unavailable("the operating system returned no random bytes"))?;
    Ok(unique)
}

/// Returns `iat`: the time in seconds (RFC 7519 section 2), dated back so that the server accepts it from a clock
/// slightly ahead of its own.
pub(crate) fn seconds(
    made: SystemTime,
    dated_back: Duration,
    hint: &'static str,
) -> Result<u64, TokenError> {
    let since = made.duration_since(UNIX_EPOCH).ok();
    let dated = since.and_then(|since| since.checked_sub(dated_back));
    let dated = dated.ok_or_else(|| {
        TokenError::configuration("this machine's clock is set before 1970").with_hint(hint)
    })?;
    Ok(dated.as_secs())
}
