//! Secrets in HashiCorp Vault or OpenBao.

mod answer;
mod builder;
mod kv;
mod secret;

pub use builder::VaultSecretBuilder;
pub use secret::VaultSecret;

#[cfg(test)]
mod tests;
