//! A server's public keys (RFC 7517 section 5), read by the `jwks_uri` of its metadata and cached.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hallpass_core::{Clock, Timestamp, TokenError};

use super::{
    address::{Address, AddressRules},
    fetch::{self, DocumentKind},
};
use crate::HttpTransport;

/// The time after which keys are read again.
const LIFETIME: Duration = Duration::from_secs(3_600);
/// The time for which keys are used while they cannot be read again.
const MAX_STALE: Duration = Duration::from_secs(86_400);
/// The delay before a failed read is repeated.
const RETRY_DELAY: Duration = Duration::from_secs(5);
/// The minimum time between two reads for the sake of an unknown key: anyone can name one.
const UNKNOWN_KEY_INTERVAL: Duration = Duration::from_secs(60);
/// The maximum length of a set in bytes.
const MAX_BYTES: usize = 256 * 1_024;

/// The cached keys of one server.
pub(crate) struct ServerKeys {
    rules: AddressRules,
    /// Held while the keys are read.
    turn: tokio::sync::Mutex<()>,
    cached: Mutex<KeyCache>,
}

#[derive(Default)]
struct KeyCache {
    keys: Option<KeySet>,
    failure: Option<(Timestamp, TokenError)>,
    /// The last successful read for an unknown key.
    unknown_at: Option<Timestamp>,
}

#[derive(Clone)]
struct KeySet {
    uri: Box<str>,
    text: Arc<str>,
    read_at: Timestamp,
}

impl ServerKeys {
    pub(crate) fn new(rules: AddressRules) -> Self {
        Self {
            rules,
            turn: tokio::sync::Mutex::default(),
            cached: Mutex::default(),
        }
    }

    /// Returns the JWK set at this address. One call reads it, and the others wait for the result.
    ///
    /// With `unknown`, the set that lacks a key, a set is read that may have it, but at most once a minute; in between,
    /// the same set is returned. If it cannot be read, that is an error, and the read is repeated after a delay.
    ///
    /// # Cancellation
    ///
    /// Dropping the future drops the read, and one of the waiting calls starts another.
    pub(crate) async fn keys(
        &self,
        uri: &str,
        unknown: Option<&Arc<str>>,
        transport: &HttpTransport,
        clock: &dyn Clock,
    ) -> Result<Arc<str>, TokenError> {
        if let Some(known) = self.known(uri, unknown, clock.now()) {
            return known;
        }
        let _turn = self.turn.lock().await;
        if let Some(known) = self.known(uri, unknown, clock.now()) {
            return known;
        }
        let read = self.read(uri, transport, clock).await;
        let now = clock.now();
        let mut cached = self.cached();
        match read {
            Ok(text) => {
                tracing::debug!("keys of the server read");
                cached.failure = None;
                if unknown.is_some() {
                    cached.unknown_at = Some(now);
                }
                cached.keys = Some(KeySet {
                    uri: uri.into(),
                    text: text.clone(),
                    read_at: now,
                });
                Ok(text)
            }
            Err(error) => {
                cached.failure = Some((now, error.clone()));
                // Only the keys that were not read can show whether one is unknown.
                let old = cached.usable(uri, now).filter(|_| unknown.is_none());
                let old = old.ok_or_else(|| error.clone())?;
                tracing::warn!(%error, "keys of the server not refreshed, the cached ones are used");
                Ok(old.text)
            }
        }
    }

    /// Returns the result that is known without a read.
    fn known(
        &self,
        uri: &str,
        unknown: Option<&Arc<str>>,
        now: Timestamp,
    ) -> Option<Result<Arc<str>, TokenError>> {
        let cached = self.cached();
        let within = |since: Timestamp, time| now.saturating_since(since) < time;
        let failure = cached.failure.as_ref();
        let failure = failure.filter(|(at, _)| within(*at, RETRY_DELAY));
        let suffices = |keys: &KeySet| match unknown {
            None => within(keys.read_at, LIFETIME) || failure.is_some(),
            Some(unknown) => {
                let limited = cached.unknown_at;
                !Arc::ptr_eq(unknown, &keys.text)
                    || limited.is_some_and(|at| within(at, UNKNOWN_KEY_INTERVAL))
            }
        };
        match cached.usable(uri, now).filter(suffices) {
            Some(keys) => Some(Ok(keys.text)),
            None => failure.map(|(_, error)| Err(error.clone())),
        }
    }

    async fn read(
        &self,
        uri: &str,
        transport: &HttpTransport,
        clock: &dyn Clock,
    ) -> Result<Arc<str>, TokenError> {
        const MISSING: &str = "check `jwks_uri` in the server's metadata";
        let address = Address::parse_as("jwks_uri", uri, self.rules).map_err(|error| {
            TokenError::configuration(format!("the server's metadata cannot be used: {error}"))
        })?;
        let kind = DocumentKind {
            name: "key set",
            setting: "jwks_uri",
            redirect_hint: MISSING,
            response_section: "RFC 7517 section 8.5",
            missing_hint: MISSING.into(),
        };
        let now = || clock.wall();
        let answer = fetch::read(transport, address.url(), &kind, Duration::MAX, now).await;
        let text = answer.and_then(|answer| {
            if answer.body.len() > MAX_BYTES {
                let message = format!("the server's key set has more than {MAX_BYTES} bytes");
                return Err(TokenError::unusable_response(message));
            }
            let text = std::str::from_utf8(&answer.body);
            let text = text
                .map_err(|_| TokenError::unusable_response("the server's key set is not UTF-8"))?;
            Ok(text.into())
        });
        text.map_err(|error| error.with_host(address.host()))
    }

    fn cached(&self) -> MutexGuard<'_, KeyCache> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyCache {
    /// Returns the keys unless they are too old, or those of another address.
    fn usable(&self, uri: &str, now: Timestamp) -> Option<KeySet> {
        let fits =
            |keys: &KeySet| &*keys.uri == uri && now.saturating_since(keys.read_at) < MAX_STALE;
        self.keys.clone().filter(fits)
    }
}

#[cfg(test)]
mod tests;
