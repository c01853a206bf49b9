use std::time::Duration;

/// A quota of an authorization server for token requests, as it reported it with a token.
///
/// A cache publishes it as an event and as metrics; nothing else depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    name: &'static str,
    remaining: u64,
    limit: Option<u64>,
    resets_in: Option<Duration>,
}

impl Quota {
    /// Creates a quota with the number of requests or tokens that remain. The name is a label of metrics, such as
    /// `client_per_hour`.
    pub fn new(name: &'static str, remaining: u64) -> Self {
        Self {
            name,
            remaining,
            limit: None,
            resets_in: None,
        }
    }

    /// Sets the number of requests or tokens that the server allows in all.
    #[must_use]
    pub fn with_limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Sets the time until the server counts from zero again.
    #[must_use]
    pub fn with_reset(mut self, resets_in: Duration) -> Self {
        self.resets_in = Some(resets_in);
        self
    }

    /// Returns the name: `rate_limit`, `client_per_hour`, `client_per_day`, `organization_per_hour`,
    /// `organization_per_day`, or that of another provider.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the number of requests or tokens that remain.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Returns the number of requests or tokens that the server allows in all, if it said so.
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Returns the time from the response until the server counts from zero again, if it said so.
    pub fn resets_in(&self) -> Option<Duration> {
        self.resets_in
    }
}
