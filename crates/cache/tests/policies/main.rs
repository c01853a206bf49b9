//! Every policy of the cache, in paused time: nothing here waits for a real clock, and counts are exact.

// A test panics at an unexpected result, in its helpers too; and text is assembled piecewise.
#![allow(clippy::unwrap_used, clippy::format_push_string)]

mod bound;
mod breaker;
mod clocks;
mod distant;
mod endings;
mod failures;
mod fleet;
mod flights;
mod handles;
mod invalidation;
mod keys;
mod model;
mod observers;
mod panics;
mod proven;
mod races;
mod readiness;
mod refresh;
mod runtimes;
#[cfg(feature = "metrics")]
mod settings;
mod spans;
mod store;
mod support;
mod time;
mod traces;
mod upstream;
