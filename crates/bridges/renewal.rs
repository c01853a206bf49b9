//! A source whose token is refreshed while a test watches, for the tests of adapters (`#[path]`).

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hallpass_cache::CachedTokenSource;
use hallpass_core::{AccessToken, Clock as _, TokenError, TokenRequest, TokenSource, async_trait};
use hallpass_testkit::{Gate, ManualClock};

const HOUR: Duration = Duration::from_secs(3_600);

/// A time in which a cache refreshes a token of an hour.
pub(crate) const LAST_MINUTES: Duration = Duration::from_secs(150);

/// A source of tokens of an hour, whose second call waits for a gate and then returns `second`.
pub(crate) struct Renewal {
    pub(crate) clock: ManualClock,
    pub(crate) gate: Gate,
    calls: AtomicUsize,
    second: Result<(), TokenError>,
}

impl Renewal {
    pub(crate) fn new(second: Result<(), TokenError>) -> Arc<Self> {
        Arc::new(Self {
            clock: ManualClock::new(),
            gate: Gate::new(),
            calls: AtomicUsize::new(0),
            second,
        })
    }

    /// Returns a cache of its tokens.
    pub(crate) fn cached(self: &Arc<Self>) -> Arc<dyn TokenSource> {
        let cache = CachedTokenSource::builder(self.clone());
        Arc::new(cache.clock(self.clock.clone()).build())
    }

    /// Moves the clock to the last minutes of the first token.
    pub(crate) fn reach_last_minutes(&self) {
        self.clock.advance(HOUR.saturating_sub(LAST_MINUTES));
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl TokenSource for Renewal {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if number == 2 {
            self.gate.pass().await;
            self.second.clone()?;
        }
        let text = format!("token-{number}");
        Ok(AccessToken::bearer(&text, self.clock.moment(), HOUR)?)
    }
}
