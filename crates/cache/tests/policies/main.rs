//! Every policy of the cache, on paused time: nothing here waits for a real clock, and counts are exact.

mod failures;
mod flights;
mod invalidation;
mod keys;
mod renewal;
mod runtimes;
mod store;
mod support;
mod time;
mod traces;
