#![doc = include_str!("../README.md")]

mod crc32c;
mod error;
mod key;
mod service;

pub use key::GoogleKmsKey;
pub use service::GoogleKms;
