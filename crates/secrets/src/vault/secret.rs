use std::fmt;

use super::kv::Kv;
use crate::{CachedSecret, forward::forward};

/// A secret in HashiCorp Vault or OpenBao: one field of a KV version 2 secret, in its newest version.
///
/// The request goes over HTTPS and carries a token from any secret source: an agent's file, a variable. If Vault
/// refuses the token, it is read again, and the request is retried once if the token changed. The secret is
/// [cached](CachedSecret) for five minutes by default, and fetched again at once when the authorization server refuses
/// it. While Vault is sealed or down, or its token has expired, the secret that was read last is used. One trailing
/// line end of the field is removed, as with a file.
///
/// Redirects are errors, system proxies are not used, and a response is limited in size (1 MiB) and in time.
///
/// ```
/// use hallpass_secrets::{FileSecret, VaultSecret};
///
/// let token = FileSecret::new("/run/vault/token"); // an agent renews it
/// let secret = VaultSecret::builder("https://vault.example:8200", token, "secret", "orders/client", "secret")
///     .namespace("team-orders")
///     .build()?;
/// # Ok::<(), hallpass_core::SecretError>(())
/// ```
pub struct VaultSecret(pub(super) CachedSecret<Kv>);

forward!(VaultSecret);

impl fmt::Debug for VaultSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VaultSecret").field(&self.0).finish()
    }
}
