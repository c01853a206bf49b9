//! Kafka clients with tokens, and the calls that they make.

#![allow(clippy::unwrap_used)]

mod clients;
mod support;
