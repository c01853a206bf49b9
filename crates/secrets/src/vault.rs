//! Secrets in HashiCorp Vault or OpenBao.

mod builder;
mod kv;
mod response;
mod secret;

pub use builder::VaultSecretBuilder;
pub use secret::VaultSecret;

#[cfg(test)]
mod tests;
