//! Kafka clients with tokens, and the calls that they make.

#![allow(clippy::unwrap_used)]

mod calls;
mod clients;
mod contexts;
#[path = "../../../renewal.rs"]
mod renewal;
mod rules;
mod support;
