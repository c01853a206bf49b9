//! The requests to Vault.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use hallpass_core::{Secret, SecretError, SecretSource, is_loopback_host};
use reqwest::{Client, StatusCode, Url, header::HeaderValue};
use tokio::time;
use zeroize::Zeroizing;

use super::response;

/// A field of a KV version 2 secret, read at each call.
pub(super) struct Kv {
    pub(super) client: Client,
    pub(super) url: Url,
    /// The secret's name in errors.
    pub(super) name: String,
    pub(super) field: String,
    pub(super) token: Arc<dyn SecretSource>,
    pub(super) namespace: Option<HeaderValue>,
    pub(super) timeout: Duration,
    /// True if the settings are those of Vault's own command, which hints name.
    pub(super) from_env: bool,
}

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
        if status == StatusCode::BAD_REQUEST && self.is_http() && says_https(&body) {
            return Err(self.speaks_tls());
        }
        response::read(status, &body, &self.name, &self.field)
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
            SecretError::inaccessible(
                "Vault's token has characters that an HTTP header cannot contain",
            )
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
            let mut response = get.send().await.map_err(|error| self.unreachable(&error))?;
            let mut body = Zeroizing::new(Vec::with_capacity(4 * 1_024));
            while let Some(chunk) = response
                .chunk()
                .await
                .map_err(|error| self.unreachable(&error))?
            {
                if body.len() + chunk.len() > response::MAX_BYTES {
                    return Err(SecretError::new(format!(
                        "the response for {} is longer than {} bytes",
                        self.name,
                        response::MAX_BYTES
                    )));
                }
                response::append(&mut body, &chunk);
            }
            Ok((response.status(), body))
        };
        time::timeout(self.timeout, exchange)
            .await
            .unwrap_or_else(|_| {
                Err(SecretError::unavailable(format!(
                    "{} could not be read within {:?}",
                    self.name, self.timeout
                )))
            })
    }

    /// Describes a request that failed. The library's error is not shown, since its text may hold anything.
    fn unreachable(&self, error: &reqwest::Error) -> SecretError {
        let failure = self.failure();
        let address = self.address_setting();
        let text = chain(error);
        if error.is_connect() && text.contains("invalid peer certificate") {
            return SecretError::inaccessible(format!(
                "{failure}: the server's certificate could not be verified; check {address}; for a private certificate authority, {}",
                self.authority_hint()
            ));
        }
        if error.is_connect() && text.contains("received corrupt message") {
            let plain = if self.url.host_str().is_some_and(is_loopback_host) {
                "; if it speaks plain HTTP, use `http://` and `danger_allow_http_on_loopback`"
            } else {
                ""
            };
            return SecretError::inaccessible(format!(
                "{failure}: the server does not speak TLS; check the port in {address}{plain}"
            ));
        }
        if self.is_http() && text.contains("invalid HTTP") {
            return self.speaks_tls();
        }
        let reason = if error.is_dns() {
            format!("the host's name could not be resolved; check {address}")
        } else if error.is_connect() {
            format!("the connection failed; check {address}, and that the server is running")
        } else {
            "the connection was lost".to_owned()
        };
        SecretError::unavailable(format!("{failure}: {reason}"))
    }

    /// Returns the error for plain HTTP to a server that expects TLS.
    fn speaks_tls(&self) -> SecretError {
        SecretError::inaccessible(format!(
            "{}: the server does not speak plain HTTP; use `https://` in {}",
            self.failure(),
            self.address_setting()
        ))
    }

    /// Returns the start of an error, with host and port.
    fn failure(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        let port = self.url.port_or_known_default().unwrap_or_default();
        format!("{} could not be read from `{host}:{port}`", self.name)
    }

    fn address_setting(&self) -> &'static str {
        if self.from_env {
            "`VAULT_ADDR`"
        } else {
            "the address"
        }
    }

    pub(super) fn authority_hint(&self) -> &'static str {
        if self.from_env {
            "set `VAULT_CACERT` to its PEM file"
        } else {
            "add it with `add_root_certificates_pem`"
        }
    }

    fn is_http(&self) -> bool {
        self.url.scheme() == "http"
    }
}

/// Joins the texts of an error and its causes: the TLS library's own error is behind two others.
fn chain(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(Some(error as &dyn Error), |&error| error.source());
    let texts: Vec<_> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}

/// Returns true for the response that servers of TLS, such as Go's, send to plain HTTP.
fn says_https(body: &[u8]) -> bool {
    body.windows(b"HTTPS".len()).any(|word| word == b"HTTPS")
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
