//! The current token: read by everyone, without a lock.

use std::sync::Arc;

use hallpass_core::{AccessToken, Binding, Timestamp};

// Relative: the checker compiles this file with other primitives (`explore.rs`).
use super::sync::{ArcSwapOption, AtomicU64, Ordering};

/// The current token of a key, or none.
pub(crate) struct Current(ArcSwapOption<CurrentToken>);

struct CurrentToken {
    /// Copied from the token, so that a hit touches only the token's reference count.
    expires: Timestamp,
    /// The time to start a refresh, in the clock's nanoseconds; [`REFRESH_CLAIMED`] while a caller is doing so.
    refresh_at: AtomicU64,
    /// Copied from the token for the same reason. Usually none.
    binding: Option<Binding>,
    token: AccessToken,
    hash: u64,
}

const REFRESH_CLAIMED: u64 = u64::MAX;

/// The current token, and whether its reader must refresh it.
pub(crate) struct Ready {
    pub(crate) token: AccessToken,
    /// True if this caller passed the refresh point first: it must start the refresh.
    pub(crate) refresh: bool,
}

impl Current {
    pub(crate) fn none() -> Self {
        Self(ArcSwapOption::new(None))
    }

    /// Returns the token if it has not expired: the hot path.
    #[inline]
    pub(crate) fn ready(&self, now: Timestamp) -> Option<Ready> {
        let guard = self.0.load();
        let held = guard.as_deref()?;
        if now >= held.expires || held.is_unbound() {
            return None;
        }
        let refresh_at = held.refresh_at.load(Ordering::Relaxed);
        let refresh = now.as_nanos() >= refresh_at && held.claim(refresh_at);
        Some(Ready {
            token: held.token.clone(),
            refresh,
        })
    }

    /// Returns the token, regardless of its age.
    pub(crate) fn token(&self) -> Option<AccessToken> {
        self.0.load().as_ref().map(|held| held.token.clone())
    }

    pub(crate) fn live(&self, now: Timestamp) -> Option<AccessToken> {
        self.token().filter(|token| is_live(token, now))
    }

    pub(crate) fn holds(&self, hash: u64) -> bool {
        self.0.load().as_ref().is_some_and(|held| held.hash == hash)
    }

    pub(crate) fn is_claimed(&self) -> bool {
        self.refresh_point() == Some(REFRESH_CLAIMED)
    }

    /// Returns the time of the next refresh; `None` without a token, or while one is in progress.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        let point = self
            .refresh_point()
            .filter(|point| *point != REFRESH_CLAIMED)?;
        Some(Timestamp::from_nanos(point))
    }

    /// Postpones the refresh point, or releases a claim.
    pub(crate) fn refresh_at(&self, at: Timestamp) {
        if let Some(held) = &*self.0.load() {
            held.refresh_at.store(at.as_nanos(), Ordering::Relaxed);
        }
    }

    pub(crate) fn replace(&self, token: AccessToken, refresh_at: Timestamp) {
        self.0.store(Some(Arc::new(CurrentToken {
            expires: token.deadline(),
            refresh_at: AtomicU64::new(refresh_at.as_nanos()),
            hash: hash(&token),
            binding: token.binding().cloned(),
            token,
        })));
    }

    pub(crate) fn clear(&self) {
        self.0.store(None);
    }

    fn refresh_point(&self) -> Option<u64> {
        let guard = self.0.load();
        let held = guard.as_ref().filter(|held| !held.is_unbound())?;
        Some(held.refresh_at.load(Ordering::Relaxed))
    }
}

impl CurrentToken {
    /// Returns true if the token's binding has ended.
    #[inline]
    fn is_unbound(&self) -> bool {
        self.binding.as_ref().is_some_and(Binding::has_ended)
    }

    fn claim(&self, refresh_at: u64) -> bool {
        self.refresh_at
            .compare_exchange(
                refresh_at,
                REFRESH_CLAIMED,
                Ordering::Relaxed,
                Ordering::Relaxed,
            )
            .is_ok()
    }
}

/// The last `MAX` refused tokens, by their hashes: the tokens themselves are not needed, and so not stored. A store that
/// lost its latest entries may hold any of them.
#[derive(Default)]
pub(crate) struct RefusedTokens<const MAX: usize>(Vec<u64>);

impl<const MAX: usize> RefusedTokens<MAX> {
    pub(crate) fn contains(&self, token: &AccessToken) -> bool {
        self.0.contains(&hash(token))
    }

    pub(crate) fn note(&mut self, token: &AccessToken) {
        let hash = hash(token);
        if self.0.contains(&hash) {
            return;
        }
        if self.0.len() == MAX {
            self.0.remove(0);
        }
        self.0.push(hash);
    }
}

/// Returns true if the token has not expired and its binding has not ended.
pub(crate) fn is_live(token: &AccessToken, now: Timestamp) -> bool {
    !token.is_expired(now) && !token.binding().is_some_and(Binding::has_ended)
}

/// Returns the hash under which the holders of a token are indexed.
pub(crate) fn hash(token: &AccessToken) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};

    let mut hasher = DefaultHasher::new();
    token.expose().hash(&mut hasher);
    hasher.finish()
}
