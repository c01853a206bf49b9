//! The format of a shared store's entries.

use std::{
    borrow::Cow,
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use hallpass_core::{AccessToken, Moment, Prover, TokenType};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use zeroize::{Zeroize, Zeroizing};

pub(crate) mod answers;

/// Incremented when members change their meaning. It is part of a key's name, and stated in each entry as well.
pub(crate) const VERSION: u32 = 1;

/// The kind of an entry that holds a token. A reader ignores unknown kinds.
const TOKEN: &str = "token";

/// Longer lifetimes are capped: beyond it, sums with wall-clock times may overflow.
pub(crate) const MAX_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3_600);

/// The maximum time that an entry's timestamp may be ahead of this host's clock. An entry further ahead is ignored: the
/// clock was set back since, and the rest of the token's lifetime is unknown.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(300);

/// The members that every version and kind has.
#[derive(Deserialize)]
struct Head<'a> {
    version: u32,
    #[serde(borrow)]
    kind: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
struct Entry<'a> {
    version: u32,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    token: Cow<'a, str>,
    #[serde(borrow)]
    token_type: Cow<'a, str>,
    #[serde(borrow)]
    scopes: Cow<'a, str>,
    /// Milliseconds since 1970, by the writer's clock.
    requested_at_ms: u64,
    lifetime_ms: u64,
    refresh_in_ms: Option<u64>,
    /// The thumbprint of the key that the token is bound to (RFC 9449).
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    jkt: Option<Cow<'a, str>>,
    /// The response's further members, as the server sent them.
    #[serde(borrow)]
    extra: Vec<(String, &'a RawValue)>,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if let Cow::Owned(token) = &mut self.token {
            token.zeroize();
        }
    }
}

/// Returns true unless the token is bound to something that other processes do not have: the certificate of a
/// connection, or another key than `shared_key` (RFC 9449).
pub(crate) fn is_shareable(token: &AccessToken, shared_key: Option<&str>) -> bool {
    let is_ready = match token.token_type() {
        TokenType::Bearer => true,
        TokenType::Dpop => {
            let key = token.prover().and_then(|prover| prover.shared_key());
            key.is_some() && key == shared_key
        }
        _ => false,
    };
    is_ready && token.binding().is_none()
}

/// Returns the entry's bytes, or `None` if the token is bound.
///
/// # Errors
///
/// A text that says why the token cannot be written as an entry.
pub(crate) fn encode(
    token: &AccessToken,
    shared_key: Option<&str>,
) -> Result<Option<Zeroizing<Vec<u8>>>, &'static str> {
    if !is_shareable(token, shared_key) {
        return Ok(None);
    }
    let requested_at = token.requested_at().wall;
    let since_1970 = requested_at
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_err(|_| "the token was requested before 1970, by this host's clock")?;
    let extra = token
        .extra_members()
        .map(|(name, json)| Ok((name.to_owned(), serde_json::from_str(json)?)))
        .collect::<Result<_, serde_json::Error>>()
        .map_err(|_| "an extra member of the token is not valid JSON")?;
    let entry = Entry {
        version: VERSION,
        kind: TOKEN.into(),
        token: token.expose().into(),
        token_type: token.token_type().as_str().into(),
        scopes: token.scopes().as_str().into(),
        requested_at_ms: milliseconds(since_1970),
        lifetime_ms: milliseconds(token.lifetime().min(MAX_LIFETIME)),
        refresh_in_ms: token.refresh_in().map(milliseconds),
        jkt: shared_key
            .filter(|_| token.token_type() == TokenType::Dpop)
            .map(Cow::from),
        extra,
    };
    write(&entry)
        .map(Some)
        .map_err(|_| "the token cannot be written as JSON")
}

/// Measures first, so that the buffer never grows: a reallocation would leave a copy of the token behind.
fn write(entry: &Entry<'_>) -> serde_json::Result<Zeroizing<Vec<u8>>> {
    let mut length = Length(0);
    serde_json::to_writer(&mut length, entry)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.0));
    serde_json::to_writer(&mut *bytes, entry)?;
    debug_assert_eq!(bytes.len(), length.0);
    Ok(bytes)
}

struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The result of decoding an entry.
pub(crate) enum DecodeResult {
    Token(AccessToken),
    /// Unusable for this reader: expired, from the future, or of an unknown kind or version.
    Nothing,
    /// Not an entry, or a damaged one.
    Corrupt,
}

/// Decodes an entry. Clocks of hosts differ, so the writer's expiry alone is not trusted: the token lives no longer
/// than its lifetime, and no longer than the entry's time to live in the store. A token that is bound to a key needs the
/// prover of that key.
pub(crate) fn decode(
    bytes: &[u8],
    ttl: Option<Duration>,
    now: Moment,
    prover: Option<&Arc<dyn Prover>>,
) -> DecodeResult {
    let Ok(head) = serde_json::from_slice::<Head<'_>>(bytes) else {
        return DecodeResult::Corrupt;
    };
    if head.version != VERSION || head.kind != TOKEN {
        return DecodeResult::Nothing;
    }
    let Ok(entry) = serde_json::from_slice::<Entry<'_>>(bytes) else {
        return DecodeResult::Corrupt;
    };
    let lifetime = Duration::from_millis(entry.lifetime_ms).min(MAX_LIFETIME);
    let requested_at =
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(entry.requested_at_ms));
    let expires = requested_at.and_then(|requested_at| requested_at.checked_add(lifetime));
    let (Some(requested_at), Some(expires)) = (requested_at, expires) else {
        return DecodeResult::Corrupt;
    };
    let ahead = requested_at.duration_since(now.wall).unwrap_or_default();
    let left = expires.duration_since(now.wall).unwrap_or_default();
    let left = left.min(lifetime).min(ttl.unwrap_or(Duration::MAX));
    if left.is_zero() || ahead > MAX_CLOCK_SKEW {
        return DecodeResult::Nothing;
    }
    token(&entry, lifetime, left, now, prover).map_or(DecodeResult::Corrupt, DecodeResult::Token)
}

/// Returns the token as if it had been requested here, at a time that matches its age: its expiry and its refresh point
/// are right.
fn token(
    entry: &Entry<'_>,
    lifetime: Duration,
    left: Duration,
    now: Moment,
    prover: Option<&Arc<dyn Prover>>,
) -> Option<AccessToken> {
    let token_type = entry.token_type.parse().ok()?;
    let prover = match token_type {
        // Where tokens are bound to a key, a bearer token is from elsewhere.
        TokenType::Bearer if prover.is_some() => return None,
        TokenType::Bearer => None,
        TokenType::Dpop => {
            let key = entry.jkt.as_deref()?;
            Some(prover.filter(|prover| prover.shared_key() == Some(key))?)
        }
        _ => return None,
    };
    let age = lifetime.saturating_sub(left);
    let before = now.timestamp.saturating_sub(age);
    let requested_at = Moment::new(before, now.wall.checked_sub(age)?);
    // The monotonic scale may not reach back that far: the expiry takes precedence.
    let lifetime = now.timestamp.saturating_since(before).saturating_add(left);
    let token = AccessToken::new(token_type, &entry.token, requested_at, lifetime).ok()?;
    let token = token.with_scopes(entry.scopes.parse().ok()?);
    let token = match prover {
        Some(prover) => token.with_prover(prover.clone()),
        None => token,
    };
    let token = match entry.refresh_in_ms {
        Some(advice) => token.with_refresh_in(Duration::from_millis(advice)),
        None => token,
    };
    let extra = entry.extra.iter();
    let extra = extra.map(|(name, json)| (name.as_str().into(), json.get().to_owned()));
    Some(token.with_extra(extra))
}

#[cfg(test)]
mod tests;
