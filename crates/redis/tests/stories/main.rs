//! Stories with a real Redis server.

#![allow(clippy::format_push_string, clippy::unwrap_used)]

mod basics;
mod cluster;
mod encryption;
mod faults;
mod functions;
mod redirections;
#[path = "../../../../tests/shared/redis_server.rs"]
mod redis_server;
#[path = "../../../../tests/shared/redis_topology.rs"]
mod redis_topology;
mod sentinel;
mod settings;
mod sharing;
mod states;
mod support;
mod tls;
