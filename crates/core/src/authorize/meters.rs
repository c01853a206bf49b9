//! The metric of API calls, through the `metrics` facade.
//!
//! Its name and labels are listed in docs/observability.md, and a test keeps the two in sync.

use std::sync::OnceLock;

use metrics::{Counter, Unit, counter, describe_counter};

const NAME: &str = "hallpass_api_calls_total";
const ACCEPTED: &str = "accepted";
/// All outcomes, so that each starts at zero: Prometheus misses the increase of a counter that first appears with a
/// value.
const OUTCOMES: [&str; 6] = [
    ACCEPTED,
    "insufficient_scope",
    "blocked",
    "no_token",
    "refused",
    "token_refused",
];

pub(super) struct Meters {
    authorizer: String,
    /// Looked up once, because every request uses it. Not before the first request, when an exporter is installed.
    accepted: OnceLock<Counter>,
}

impl Meters {
    pub(super) fn new(authorizer: &str) -> Self {
        describe_counter!(NAME, Unit::Count, "API calls that need a token, by outcome");
        let meters = Self {
            authorizer: authorizer.to_owned(),
            accepted: OnceLock::new(),
        };
        for outcome in OUTCOMES {
            meters.counter(outcome).increment(0);
        }
        meters
    }

    pub(super) fn count(&self, outcome: &'static str) {
        self.counter(outcome).increment(1);
    }

    #[inline]
    pub(super) fn count_accepted(&self) {
        let accepted = self.accepted.get_or_init(|| self.counter(ACCEPTED));
        accepted.increment(1);
    }

    fn counter(&self, outcome: &'static str) -> Counter {
        counter!(NAME, "authorizer" => self.authorizer.clone(), "outcome" => outcome)
    }
}
