//! Tests of the compiled command, against the embedded server and a real one.

// Tests and their helpers panic on anything unexpected, and format output directly.
#![allow(clippy::unwrap_used, clippy::format_push_string)]

mod assertions;
mod authentication;
mod cache;
mod doctor;
mod documentation;
mod dpop;
mod exec;
mod failures;
mod fapi;
mod keygen;
#[cfg(unix)]
mod kubectl;
mod leaks;
#[path = "../../../../tests/stories/peer.rs"]
mod peer;
mod profiles;
#[path = "../../../../tests/stories/proofs.rs"]
mod proofs;
mod real_server;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
#[path = "../../../../tests/shared/redis_server.rs"]
#[allow(dead_code)] // Shared with tests that restart the server.
mod redis_server;
#[cfg(feature = "redis")]
#[path = "../../../../tests/shared/redis_topology.rs"]
#[allow(dead_code)] // Shared with tests of a failover.
mod redis_topology;
mod request;
mod scripts;
mod support;
mod token;
