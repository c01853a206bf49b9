//! Many tenants in one process.

#![allow(clippy::unwrap_used)]

mod functions;
mod memory;
mod registry;
mod reload;
mod rotation;
mod support;
mod watching;
