//! Stories that cross crates: one file each, all in one binary.

mod building;
mod leaks;
mod main_job;
mod oidc_provider;
mod peer;
mod responses;
mod retries;
mod support;
mod transport;
