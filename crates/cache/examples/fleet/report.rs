//! The figures of a scenario, and what is expected of them.

use std::{ops::RangeInclusive, time::Duration};

/// The figures of one scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) name: String,
    /// Processes that were started.
    pub(crate) processes: usize,
    pub(crate) calls: usize,
    pub(crate) failed: usize,
    /// API calls that were refused with 401.
    pub(crate) unauthorized: usize,
    /// Those more than a second after the first one.
    pub(crate) repeated_unauthorized: usize,
    pub(crate) longest_wait: Duration,
    /// Requests at the authorization server, and those that it refused.
    pub(crate) requests: usize,
    pub(crate) refused: usize,
    /// Store calls.
    pub(crate) questions: usize,
    /// Tokens that processes took from the store or fetched.
    pub(crate) loads: u64,
    /// The maximum number of store calls for one load, by a process that fetched nothing.
    pub(crate) most_questions: usize,
}

/// The promises of a scenario.
pub(crate) struct Expected {
    pub(crate) requests: RangeInclusive<usize>,
    pub(crate) failed: usize,
    pub(crate) longest_wait: Duration,
    /// The maximum number of store calls for one load.
    pub(crate) most_questions: usize,
}

impl Report {
    /// The titles of [`row`](Self::row)'s columns.
    pub(crate) const HEAD: &str = "| scenario | processes | calls | failed | longest wait | requests | refused | store calls per load | most | 401 |\n|---|---|---|---|---|---|---|---|---|---|";

    /// Returns a row of a table.
    pub(crate) fn row(&self) -> String {
        #[allow(clippy::cast_precision_loss)] // Far below 2^52.
        let mean = self.questions as f64 / self.loads.max(1) as f64;
        format!(
            "| {} | {} | {} | {} | {:.3} s | {} | {} | {mean:.1} | {} | {} |",
            self.name,
            self.processes,
            self.calls,
            self.failed,
            self.longest_wait.as_secs_f64(),
            self.requests,
            self.refused,
            self.most_questions,
            self.unauthorized,
        )
    }

    /// Returns the promises that are broken.
    pub(crate) fn broken(&self, expected: &Expected) -> Vec<String> {
        let mut broken = Vec::new();
        if !expected.requests.contains(&self.requests) {
            let (min, max) = (expected.requests.start(), expected.requests.end());
            broken.push(format!("{} requests, not {min} to {max}", self.requests));
        }
        if self.failed > expected.failed {
            broken.push(format!("{} failed calls", self.failed));
        }
        if self.repeated_unauthorized > 0 {
            let repeated = self.repeated_unauthorized;
            broken.push(format!(
                "{repeated} calls with a token refused a second ago"
            ));
        }
        if self.most_questions > expected.most_questions {
            let most = self.most_questions;
            broken.push(format!("{most} store calls for one load"));
        }
        if self.longest_wait > expected.longest_wait {
            let (wait, most) = (self.longest_wait, expected.longest_wait);
            broken.push(format!("a call waited for {wait:?}, longer than {most:?}"));
        }
        broken
    }
}
