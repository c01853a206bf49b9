use std::{env, error::Error, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use hallpass_core::{Secret, SecretError, SecretSource};
use reqwest::{Client, StatusCode, Url, header::HeaderValue};
use tokio::time;
use zeroize::Zeroizing;

use crate::{Remembered, forward::forward};

mod answer;
mod builder;

pub use builder::VaultSecretBuilder;

/// A secret in HashiCorp Vault or OpenBao: one field of a KV version 2 secret, in its newest version.
///
/// The request goes over HTTPS and carries a token from any secret source: an agent's file, a variable. If Vault
/// refuses the token, it is read again, and the request is retried once if the token changed. The secret is
/// [cached](Remembered) for five minutes by default, and fetched again at once when the authorization server refuses
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
pub struct VaultSecret(Remembered<Kv>);

struct Kv {
    client: Client,
    url: Url,
    /// The secret's name in errors.
    place: String,
    field: String,
    token: Arc<dyn SecretSource>,
    namespace: Option<HeaderValue>,
    timeout: Duration,
    /// The hint in errors on how to trust a private certificate authority.
    authority_hint: &'static str,
}

impl VaultSecret {
    /// Starts a source from the server's address, the token that authenticates to it, the engine's mount, the secret's
    /// path in it, and the field.
    pub fn builder(
        address: impl Into<String>,
        token: impl SecretSource + 'static,
        mount: impl Into<String>,
        path: impl Into<String>,
        field: impl Into<String>,
    ) -> VaultSecretBuilder {
        VaultSecretBuilder::new(
            address.into(),
            Arc::new(token),
            mount.into(),
            path.into(),
            field.into(),
        )
    }

    /// Starts a source from the settings of Vault's own command:
    ///
    /// | variable | |
    /// |---|---|
    /// | `VAULT_ADDR` | the address; `https://127.0.0.1:8200` by default |
    /// | `VAULT_TOKEN` | the token, read once, here; else the file `.vault-token` in the home folder, read at each use |
    /// | `VAULT_NAMESPACE` | the namespace; none by default |
    /// | `VAULT_CACERT` | a PEM file of certificate authorities to trust too, read once, here |
    ///
    /// An empty variable counts as absent.
    ///
    /// # Errors
    ///
    /// A [`SecretError`] if a variable is not Unicode, there is neither a token nor a home directory, or
    /// `VAULT_CACERT` cannot be read.
    pub fn from_env(
        mount: impl Into<String>,
        path: impl Into<String>,
        field: impl Into<String>,
    ) -> Result<VaultSecretBuilder, SecretError> {
        let names = [mount.into(), path.into(), field.into()];
        VaultSecretBuilder::from_settings(|name| env::var_os(name), env::home_dir(), names)
    }
}

forward!(VaultSecret);

#[async_trait]
impl SecretSource for Kv {
    async fn secret(&self) -> Result<Secret, SecretError> {
        let token = self.token().await?;
        let (mut status, mut body) = self.exchange(&token).await?;
        if status == StatusCode::FORBIDDEN {
            self.token.refused(&token);
            let again = self.token().await?;
            if !again.matches(&token) {
                (status, body) = self.exchange(&again).await?;
            }
        }
        answer::read(status, &body, &self.place, &self.field)
    }
}

impl Kv {
    /// Reads the token. A failure says nothing about the secret.
    async fn token(&self) -> Result<Secret, SecretError> {
        let token = self.token.secret().await;
        token.map_err(|error| {
            let message = format!("Vault's token: {error}");
            if error.is_local() {
                SecretError::local(message)
            } else if error.is_transient() {
                SecretError::unavailable(message)
            } else {
                SecretError::inaccessible(message)
            }
        })
    }

    async fn exchange(
        &self,
        token: &Secret,
    ) -> Result<(StatusCode, Zeroizing<Vec<u8>>), SecretError> {
        let mut token = HeaderValue::from_str(token.expose()).map_err(|_| {
            SecretError::inaccessible("Vault's token holds characters that no header may hold")
        })?;
        token.set_sensitive(true);
        let mut get = self
            .client
            .get(self.url.clone())
            .header("x-vault-request", "true")
            .header("x-vault-token", token);
        if let Some(namespace) = &self.namespace {
            get = get.header("x-vault-namespace", namespace);
        }
        let exchange = async {
            let mut response = get.send().await.map_err(|error| self.unreached(&error))?;
            let mut body = Zeroizing::new(Vec::with_capacity(4 * 1_024));
            while let Some(chunk) = response
                .chunk()
                .await
                .map_err(|error| self.unreached(&error))?
            {
                if body.len() + chunk.len() > answer::MAX_BYTES {
                    return Err(SecretError::new(format!(
                        "the answer to {} is longer than {} bytes",
                        self.place,
                        answer::MAX_BYTES
                    )));
                }
                answer::append(&mut body, &chunk);
            }
            Ok((response.status(), body))
        };
        time::timeout(self.timeout, exchange)
            .await
            .unwrap_or_else(|_| {
                Err(SecretError::unavailable(format!(
                    "{} was not answered within {:?}",
                    self.place, self.timeout
                )))
            })
    }

    /// Describes a request that failed. The library's error is not shown, since its text may hold anything.
    fn unreached(&self, error: &reqwest::Error) -> SecretError {
        let host = self.url.host_str().unwrap_or_default();
        let place = format!("{} could not be asked for at `{host}`", self.place);
        if error.is_connect() && is_certificate_refused(error) {
            return SecretError::inaccessible(format!(
                "{place}: the server's certificate could not be verified; check the address; for a private certificate authority, {}",
                self.authority_hint
            ));
        }
        let what = if error.is_dns() {
            "the host's name could not be resolved; check the address"
        } else if error.is_connect() {
            "no connection could be made; check the address, and that the server runs"
        } else {
            "the connection was lost"
        };
        SecretError::unavailable(format!("{place}: {what}"))
    }
}

/// Searches the error's sources, since the TLS library's own error is behind two others.
fn is_certificate_refused(error: &reqwest::Error) -> bool {
    let causes = std::iter::successors(Some(error as &dyn Error), |&error| error.source());
    causes
        .map(ToString::to_string)
        .any(|text| text.contains("invalid peer certificate"))
}

impl fmt::Debug for VaultSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VaultSecret").field(&self.0).finish()
    }
}

impl fmt::Debug for Kv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kv")
            .field("url", &self.url.as_str())
            .field("field", &self.field)
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
