//! Many tenants in one process.

mod functions;
mod memory;
mod registry;
mod reload;
mod rotation;
mod support;
mod watching;
