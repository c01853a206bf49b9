//! Stories that cross crates: one file each, all in one binary.

// A test stops at what it does not expect, in its helpers too; and what it shows is put together as it comes.
#![allow(clippy::unwrap_used, clippy::format_push_string)]

mod building;
mod cached;
mod conformance;
mod leaks;
mod main_job;
mod oidc_provider;
mod peer;
mod presets;
mod responses;
mod retries;
mod rotation;
mod secrets;
mod support;
mod tls;
mod transport;
