//! Authentication with a client secret (RFC 6749 section 2.3.1).

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use hallpass_core::{SecretSource, TokenError};
use http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

use super::{
    context::AuthenticationContext, credentials::Credentials, digest::credential_digest,
    method::ClientAuthentication,
};
use crate::hints;

/// `client_secret_basic`: id and secret in an HTTP Basic header (RFC 6749 section 2.3.1).
///
/// The RFC has both form-encoded before they are joined. Servers that skip the decoding need [`raw`](Self::raw); the
/// two differ only if id or secret contain characters other than letters, digits and `*-._`.
#[derive(Clone, Debug)]
pub struct ClientSecretBasic {
    secret: Arc<dyn SecretSource>,
    encoding: BasicEncoding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BasicEncoding {
    Form,
    Raw,
}

impl ClientSecretBasic {
    /// Creates the method with the encoding of RFC 6749. Try this one first.
    ///
    /// A space is written as `%20`, which form and percent decoders both accept; some refuse `+`.
    pub fn new(secret: impl SecretSource + 'static) -> Self {
        Self {
            secret: Arc::new(secret),
            encoding: BasicEncoding::Form,
        }
    }

    /// Creates the method with id and secret joined unencoded, for a server that does not decode them.
    ///
    /// A `client_id` that contains a `:` would be ambiguous and is refused.
    pub fn raw(secret: impl SecretSource + 'static) -> Self {
        Self {
            secret: Arc::new(secret),
            encoding: BasicEncoding::Raw,
        }
    }
}

#[async_trait]
impl ClientAuthentication for ClientSecretBasic {
    async fn credentials(
        &self,
        context: &AuthenticationContext<'_>,
    ) -> Result<Credentials, TokenError> {
        let secret = self.secret.secret().await?;
        context.check(&secret)?;
        let id = context.client_id();
        let joined = Zeroizing::new(match self.encoding {
            BasicEncoding::Form => format!("{}:{}", form_encode(id), form_encode(secret.expose())),
            BasicEncoding::Raw if id.contains(':') => {
                return Err(TokenError::configuration(
                    "the `client_id` contains a `:`, which raw Basic authentication cannot carry",
                )
                .with_hint(hints::COLON));
            }
            BasicEncoding::Raw => format!("{id}:{}", secret.expose()),
        });
        let header = Zeroizing::new(format!(
            "Basic {}",
            BASE64_STANDARD.encode(joined.as_bytes())
        ));
        let value = HeaderValue::from_str(&header)
            .map_err(|_| TokenError::configuration("the Basic header could not be written"))?;
        let rest = joined
            .strip_prefix(id)
            .and_then(|rest| rest.strip_prefix(':'));
        let plain = self.encoding == BasicEncoding::Raw || rest == Some(secret.expose());
        let credentials = Credentials::authorization(value).from_secret(secret);
        Ok(if plain {
            credentials
        } else {
            credentials.refusal_hint(hints::ENCODING)
        })
    }

    fn method(&self) -> Option<&'static str> {
        Some("client_secret_basic")
    }

    fn epoch(&self) -> u64 {
        self.secret.epoch()
    }

    async fn digest(&self, client_id: &str) -> Option<[u8; 32]> {
        let method = match self.encoding {
            BasicEncoding::Form => "client_secret_basic",
            BasicEncoding::Raw => "client_secret_basic, raw",
        };
        digest(method, client_id, &*self.secret).await
    }

    fn refused(&self, credentials: &Credentials) {
        forget(&*self.secret, credentials);
    }
}

/// `client_secret_post`: id and secret in the request body (RFC 6749 section 2.3.1, which prefers Basic).
#[derive(Clone, Debug)]
pub struct ClientSecretPost {
    secret: Arc<dyn SecretSource>,
}

impl ClientSecretPost {
    /// Creates the method with this secret.
    pub fn new(secret: impl SecretSource + 'static) -> Self {
        Self {
            secret: Arc::new(secret),
        }
    }
}

#[async_trait]
impl ClientAuthentication for ClientSecretPost {
    async fn credentials(
        &self,
        context: &AuthenticationContext<'_>,
    ) -> Result<Credentials, TokenError> {
        let secret = self.secret.secret().await?;
        context.check(&secret)?;
        let parameters = [
            ("client_id", context.client_id()),
            ("client_secret", secret.expose()),
        ];
        Ok(Credentials::parameters(parameters).from_secret(secret))
    }

    fn method(&self) -> Option<&'static str> {
        Some("client_secret_post")
    }

    fn epoch(&self) -> u64 {
        self.secret.epoch()
    }

    async fn digest(&self, client_id: &str) -> Option<[u8; 32]> {
        digest("client_secret_post", client_id, &*self.secret).await
    }

    fn refused(&self, credentials: &Credentials) {
        forget(&*self.secret, credentials);
    }
}

async fn digest(method: &str, client_id: &str, secret: &dyn SecretSource) -> Option<[u8; 32]> {
    let secret = secret.secret().await.ok()?;
    let parts = [client_id.as_bytes(), secret.expose().as_bytes()];
    Some(credential_digest(method, &parts))
}

fn forget(source: &dyn SecretSource, refused: &Credentials) {
    if let Some(secret) = refused.secret() {
        source.refused(secret);
    }
}

/// The characters that RFC 6749 appendix B leaves unencoded.
const FORM_ENCODE_SET: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'*')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_');

/// Form-encodes the text, with a space as `%20`.
fn form_encode(text: &str) -> impl fmt::Display + '_ {
    utf8_percent_encode(text, FORM_ENCODE_SET)
}

#[cfg(test)]
mod tests;
