//! Profiles as a service, a provider of another crate, and many tenants use them.

#![allow(clippy::unwrap_used)]

mod files;
mod providers;
#[cfg(feature = "redis")]
mod redis;
mod security;
mod tenants;
