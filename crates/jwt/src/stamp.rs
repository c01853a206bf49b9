//! What makes a JWT of its own of each that is signed: when it was made, and a random number.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hallpass_core::TokenError;

/// 128 random bits, for a `jti` that no other has.
pub(crate) fn unique() -> Result<[u8; 16], TokenError> {
    let mut unique = [0; 16];
    getrandom::fill(&mut unique)
        .map_err(|_| TokenError::unavailable("the system has no random bytes at the moment"))?;
    Ok(unique)
}

/// `iat`: the time in seconds (RFC 7519 section 2), by so much earlier that a clock which runs ahead of the server's a
/// little makes nothing "from the future".
pub(crate) fn seconds(
    made: SystemTime,
    dated_back: Duration,
    hint: &'static str,
) -> Result<u64, TokenError> {
    let since = made.duration_since(UNIX_EPOCH).ok();
    let dated = since.and_then(|since| since.checked_sub(dated_back));
    let dated = dated.ok_or_else(|| {
        TokenError::configuration("this machine's clock says that it is before 1970")
            .with_hint(hint)
    })?;
    Ok(dated.as_secs())
}
