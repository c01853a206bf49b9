//! Secrets in HashiCorp Vault or OpenBao.

mod builder;
mod kv;
mod response;
mod secret;

pub use builder::VaultSecretBuilder;
#[cfg(feature = "internals")]
pub(crate) use response::read as read_response;
pub use secret::VaultSecret;

#[cfg(test)]
mod tests;
