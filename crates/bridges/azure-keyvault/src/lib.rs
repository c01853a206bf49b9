#![doc = include_str!("../README.md")]

mod error;
mod key;
mod vault;

pub use key::KeyVaultKey;
pub use vault::KeyVault;
