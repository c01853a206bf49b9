//! Every policy of the cache, on paused time: nothing here waits for a real clock, and counts are exact.

// A test stops at what it does not expect, in its helpers too; and what it shows is put together as it comes.
#![allow(clippy::unwrap_used, clippy::format_push_string)]

mod bound;
mod breaker;
mod distant;
mod failures;
mod fleet;
mod flights;
mod invalidation;
mod keys;
mod model;
mod observers;
mod panics;
mod proven;
mod renewal;
mod runtimes;
mod spans;
mod store;
mod support;
mod time;
mod traces;
mod upstream;
