//! A token as it lies in a shared store.

use std::time::{Duration, SystemTime};

use hallpass_core::{AccessToken, Moment, TokenType};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

/// Raised when the fields change their meaning: a reader passes over what it does not know.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Entry {
    version: u32,
    token: String,
    token_type: String,
    scopes: String,
    /// Seconds since 1970, by the writer's clock.
    requested_at: f64,
    /// Seconds.
    lifetime: f64,
    refresh_in: Option<f64>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.token.zeroize();
    }
}

/// Nothing where the token is bound to a key (RFC 9449): whoever finds it has none, and nothing to do with it.
pub(crate) fn encode(token: &AccessToken) -> Option<Zeroizing<Vec<u8>>> {
    if token.token_type() != TokenType::Bearer {
        return None;
    }
    let since = token
        .requested_at()
        .wall
        .duration_since(SystemTime::UNIX_EPOCH);
    let entry = Entry {
        version: VERSION,
        token: token.expose().to_owned(),
        token_type: token.token_type().to_string(),
        scopes: token.scopes().to_string(),
        requested_at: since.ok()?.as_secs_f64(),
        lifetime: token.lifetime().as_secs_f64(),
        refresh_in: token.refresh_in().map(|advice| advice.as_secs_f64()),
    };
    serde_json::to_vec(&entry).ok().map(Zeroizing::new)
}

/// The token, if the bytes are an entry of this version and the token still lives.
///
/// Hosts' clocks differ, so that the writer's expiry alone is not trusted: what is left is at most the lifetime, and
/// at most what the store says that the entry has to live.
pub(crate) fn decode(bytes: &[u8], ttl: Option<Duration>, now: Moment) -> Option<AccessToken> {
    let entry: Entry = serde_json::from_slice(bytes).ok()?;
    let known = entry.version == VERSION && entry.token_type.parse() == Ok(TokenType::Bearer);
    if !known {
        return None;
    }
    let lifetime = Duration::try_from_secs_f64(entry.lifetime).ok()?;
    let requested = Duration::try_from_secs_f64(entry.requested_at).ok()?;
    let expires = SystemTime::UNIX_EPOCH
        .checked_add(requested)?
        .checked_add(lifetime)?;
    let left = expires.duration_since(now.wall).ok()?;
    let left = left.min(lifetime).min(ttl.unwrap_or(Duration::MAX));
    if left.is_zero() {
        return None;
    }
    // As if it had been asked for here, as long ago as its age says: what is left of it is right, and so is the
    // point at which it is renewed.
    let age = lifetime.saturating_sub(left);
    let before = now.timestamp.saturating_sub(age);
    let asked = Moment::new(before, now.wall.checked_sub(age)?);
    // The monotonic scale may not reach back that far: what counts is when it ends.
    let lifetime = now.timestamp.saturating_since(before).saturating_add(left);
    let token = AccessToken::bearer(&entry.token, asked, lifetime).ok()?;
    let token = token.with_scopes(entry.scopes.parse().ok()?);
    Some(match entry.refresh_in.map(Duration::try_from_secs_f64) {
        Some(Ok(advice)) => token.with_refresh_in(advice),
        _ => token,
    })
}

#[cfg(test)]
mod tests {
    use hallpass_core::Clock as _;
    use hallpass_testkit::ManualClock;
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const MINUTE: Duration = Duration::from_secs(60);

    fn token(clock: &ManualClock) -> AccessToken {
        let token = AccessToken::bearer("CANARY", clock.moment(), HOUR).unwrap();
        token
            .with_scopes("a b".parse().unwrap())
            .with_refresh_in(MINUTE)
    }

    fn left(token: &AccessToken, clock: &ManualClock) -> u64 {
        token.expires().saturating_since(clock.now()).as_secs()
    }

    #[test]
    fn a_token_survives_the_store() {
        let clock = ManualClock::new();
        let bytes = encode(&token(&clock)).unwrap();
        clock.advance(10 * MINUTE);
        let read = decode(&bytes, Some(50 * MINUTE), clock.moment()).unwrap();
        assert_eq!((read.expose(), read.scopes().as_str()), ("CANARY", "a b"));
        assert_eq!((left(&read, &clock), read.lifetime()), (3_000, HOUR));
        assert_eq!(read.refresh_in(), Some(MINUTE));
    }

    // covers: C-40
    #[test]
    fn a_token_that_is_bound_to_a_key_is_not_written() {
        let clock = ManualClock::new();
        let token = |kind| AccessToken::new(kind, "CANARY", clock.moment(), HOUR).unwrap();
        assert!(encode(&token(TokenType::Bearer)).is_some());
        assert!(encode(&token(TokenType::DPoP)).is_none());
    }

    // covers: F-95, F-96
    #[test]
    fn clocks_that_differ_make_no_token_live_longer() {
        let clock = ManualClock::new();
        let bytes = encode(&token(&clock)).unwrap();
        let read = |skew_minutes: i32, ttl: Duration| {
            let clock = ManualClock::new();
            let skew = skew_minutes.unsigned_abs() * MINUTE;
            let wall = if skew_minutes < 0 {
                clock.wall() - skew
            } else {
                clock.wall() + skew
            };
            clock.set_wall(wall);
            decode(&bytes, Some(ttl), clock.moment()).map(|token| left(&token, &clock))
        };
        assert_eq!(read(-5, HOUR), Some(3_600));
        assert_eq!(read(-5, 20 * MINUTE), Some(1_200));
        assert_eq!(read(5, HOUR), Some(3_300));
        assert_eq!(read(60, HOUR), None);
        assert_eq!(read(0, Duration::ZERO), None);
    }

    // covers: F-92
    #[test]
    fn what_cannot_be_read_is_nothing() {
        let clock = ManualClock::new();
        let good = encode(&token(&clock)).unwrap();
        for end in 0..good.len() {
            assert!(decode(&good[..end], None, clock.moment()).is_none());
        }
        let text = String::from_utf8(good.to_vec()).unwrap();
        for (from, to) in [
            ("\"version\":1", "\"version\":2"),
            ("Bearer", "mac"),
            ("Bearer", "DPoP"),
            ("CANARY", "a b"),
            ("\"a b\"", "\"a\\n\""),
            ("3600.0", "-1.0"),
            ("3600.0", "1e300"),
            ("3600.0", "\"3600\""),
        ] {
            let bad = text.replace(from, to);
            assert_ne!(bad, text);
            assert!(
                decode(bad.as_bytes(), None, clock.moment()).is_none(),
                "{to}"
            );
        }
    }

    proptest! {
        // covers: F-92
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode(&bytes, None, ManualClock::new().moment());
        }
    }
}
