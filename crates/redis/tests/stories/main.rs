//! Stories with a real Redis server.

#![allow(clippy::unwrap_used)]

mod basics;
mod faults;
#[path = "../../../../tests/shared/redis_server.rs"]
mod redis_server;
mod support;
