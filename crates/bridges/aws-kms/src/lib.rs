#![doc = include_str!("../README.md")]

mod error;
mod key;

pub use key::AwsKmsKey;
