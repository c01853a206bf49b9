//! JWTs as a person reads them: decoded, and not verified.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

/// Decodes the header and the claims of a signed JWT (RFC 7515 section 7.1).
pub(crate) fn decode(token: &str) -> Option<(Map<String, Value>, Map<String, Value>)> {
    let mut parts = token.split('.');
    let (header, claims, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let object = |part: &str| {
        let bytes = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.decode(part).ok()?);
        serde_json::from_slice(&bytes).ok()
    };
    Some((object(header)?, object(claims)?))
}

/// The binding of a token, as its claim `cnf` names it (RFC 7800 section 3.1).
pub(crate) enum Confirmation {
    /// The token is no JWT.
    Opaque,
    /// A JWT that names nothing.
    Missing,
    /// A thumbprint.
    Named(String),
}

impl Confirmation {
    /// Reads this member of the claim.
    pub(crate) fn read(token: &str, member: &str) -> Self {
        let Some((_, claims)) = decode(token) else {
            return Self::Opaque;
        };
        let named = claims.get("cnf").and_then(|cnf| cnf.get(member)?.as_str());
        named.map_or(Self::Missing, |named| Self::Named(named.to_owned()))
    }
}

/// Returns the `exp` of a token that is a JWT.
pub(crate) fn expiry(token: &str) -> Option<SystemTime> {
    let (_, claims) = decode(token)?;
    let since = Duration::try_from_secs_f64(claims.get("exp")?.as_f64()?).ok()?;
    UNIX_EPOCH.checked_add(since)
}
