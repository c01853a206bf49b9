//! The binary itself, against the embedded server and a real one.

// A test stops at what it does not expect, in its helpers too; and what it shows is put together as it comes.
#![allow(clippy::unwrap_used, clippy::format_push_string)]

mod cache;
mod doctor;
mod documentation;
mod exec;
mod failures;
mod keygen;
mod leaks;
#[path = "../../../../tests/stories/peer.rs"]
mod peer;
mod profiles;
mod real_server;
mod request;
mod scripts;
mod support;
mod token;
mod ways;
