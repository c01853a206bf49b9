use hallpass_core::{TokenError, authorize::Authorizer};
use hallpass_endpoint::{BuildError, HttpTransport, ServiceClient};
use hallpass_jwt::{Algorithm, KmsSigner, PublicKey};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    error::{DISABLED, HINTS, KEY_NAME, OPERATION},
    key::KeyVaultKey,
};

/// The name of the service in errors.
pub(crate) const NAME: &str = "Azure Key Vault";
const API_VERSION: &str = "7.4";

/// A client of a vault in Azure Key Vault, or of a Managed HSM, whose keys become signers.
///
/// The [`Authorizer`] gives it tokens: allow the vault's origin, and request the scope
/// `https://vault.azure.net/.default`, or for a Managed HSM `https://managedhsm.azure.net/.default`. The client needs
/// the permissions Get and Sign for the key, such as by the role `Key Vault Crypto User`.
#[derive(Clone, Debug)]
pub struct KeyVault {
    client: ServiceClient,
    vault: String,
}

#[derive(Deserialize)]
struct KeyBundle {
    key: Jwk,
    attributes: Option<Attributes>,
}

#[derive(Deserialize)]
struct Attributes {
    enabled: Option<bool>,
}

/// The public key. A key in an HSM has a type of its own, such as `RSA-HSM`.
#[derive(Deserialize, Serialize)]
struct Jwk {
    #[serde(skip_serializing)]
    kid: String,
    kty: String,
    #[serde(skip_serializing)]
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

impl KeyVault {
    /// Creates a client of the vault at this origin, such as `https://orders.vault.azure.net`, with the default
    /// transport. The authorizer must allow the origin.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] if the transport cannot be set up.
    pub fn new(vault: &str, authorizer: Authorizer) -> Result<Self, BuildError> {
        Ok(Self {
            client: ServiceClient::new(NAME, authorizer)?.hints(HINTS),
            vault: vault.trim_end_matches('/').to_owned(),
        })
    }

    /// Sets the transport, such as one with a proxy or shorter timeouts.
    #[must_use]
    pub fn transport(mut self, transport: HttpTransport) -> Self {
        self.client = self.client.transport(transport);
        self
    }

    /// Reads the public key of a key, and returns a signer with it. `key` is the key's name, or name and version
    /// (`orders/0123456789abcdef0123456789abcdef`).
    ///
    /// Without a version, the current one is used: the signer keeps it when the key is rotated, until the process asks
    /// for another signer. The service supports ES256, ES384, RS256 and PS256.
    ///
    /// # Errors
    ///
    /// As [`Signer::sign`](hallpass_jwt::Signer::sign); of kind [`Configuration`](hallpass_core::ErrorKind::Configuration) if the key is
    /// disabled, or does not sign by a supported algorithm.
    ///
    /// # Cancellation
    ///
    /// Dropping the future drops the request.
    pub async fn signer(&self, key: &str) -> Result<KmsSigner<KeyVaultKey>, TokenError> {
        let (name, version) = key.split_once('/').unwrap_or((key, ""));
        if !is_id(name) || !(version.is_empty() || is_id(version)) {
            return Err(TokenError::configuration(
                "the key is not a name, or a name and a version, of a key in Azure Key Vault",
            )
            .with_hint(KEY_NAME));
        }
        let url = format!(
            "{}/keys/{name}/{version}?api-version={API_VERSION}",
            self.vault
        );
        let KeyBundle { key, attributes } = self.client.get(&url).await?;
        if attributes.and_then(|attributes| attributes.enabled) == Some(false) {
            return Err(
                TokenError::configuration("the key version is disabled").with_hint(DISABLED)
            );
        }
        if !key
            .key_ops
            .as_ref()
            .is_none_or(|ops| ops.iter().any(|op| op == "sign"))
        {
            return Err(
                TokenError::configuration("the key is not for signatures").with_hint(OPERATION)
            );
        }
        let current =
            version_of(&key.kid, name).filter(|current| version.is_empty() || *current == version);
        let current = current.ok_or_else(other_key)?.to_owned();
        let public = public_key(key).map_err(unusable)?;
        let key = KeyVaultKey::new(self.clone(), name.to_owned(), current);
        KmsSigner::new(
            key,
            public,
            &[
                Algorithm::Es256,
                Algorithm::Es384,
                Algorithm::Rs256,
                Algorithm::Ps256,
            ],
        )
        .map_err(unusable)
    }

    pub(crate) async fn sign<T: DeserializeOwned>(
        &self,
        name: &str,
        version: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T, TokenError> {
        let url = format!(
            "{}/keys/{name}/{version}/sign?api-version={API_VERSION}",
            self.vault
        );
        self.client.post(&url, body).await
    }
}

/// Returns the version in a key identifier, such as `https://orders.vault.azure.net/keys/orders/0a1b`, if it is one of
/// this key.
pub(crate) fn version_of<'a>(kid: &'a str, name: &str) -> Option<&'a str> {
    let (_, path) = kid.split_once("/keys/")?;
    let (own, version) = path.split_once('/')?;
    (own.eq_ignore_ascii_case(name) && is_id(version)).then_some(version)
}

/// Returns true for a name or a version, which become parts of a URL.
fn is_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !text.is_empty() && text.bytes().all(allowed)
}

/// Returns the error for a response that is about another key than its request.
pub(crate) fn other_key() -> TokenError {
    TokenError::unusable_response(format!("{NAME} answered for another key or version"))
}

fn public_key(mut key: Jwk) -> Result<PublicKey, BuildError> {
    if let Some(kind) = key.kty.strip_suffix("-HSM") {
        key.kty = kind.to_owned();
    }
    let jwk = serde_json::to_string(&key)
        .map_err(|_| BuildError::new("key", "it cannot be encoded as JSON"))?;
    PublicKey::from_jwk(&jwk)
}

#[allow(clippy::needless_pass_by_value)] // The argument of `map_err`.
fn unusable(error: BuildError) -> TokenError {
    TokenError::configuration(format!(
        "the key in {NAME} cannot be used: {}",
        error.message()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_an_identifier_of_its_key() {
        let right = "https://orders.vault.azure.net/keys/Orders/0a1b";
        assert_eq!(version_of(right, "orders"), Some("0a1b"));
        for wrong in [
            "https://orders.vault.azure.net/keys/orders",
            "/keys/orders/",
            "/keys/other/0a1b",
            "/keys/orders/../0a1b",
            "/secrets/orders/0a1b",
        ] {
            assert_eq!(version_of(wrong, "orders"), None, "{wrong}");
        }
    }
}
