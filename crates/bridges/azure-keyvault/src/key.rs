use std::fmt;

use async_trait::async_trait;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hallpass_core::TokenError;
use hallpass_jwt::{Algorithm, KmsKey};
use serde::{Deserialize, Serialize};

use crate::vault::{KeyVault, NAME, other_key, version_of};

/// A version of a key in Azure Key Vault, which signs for a [`KmsSigner`](hallpass_jwt::KmsSigner).
#[derive(Clone)]
pub struct KeyVaultKey {
    vault: KeyVault,
    name: String,
    version: String,
}

#[derive(Serialize)]
struct Input<'a> {
    alg: &'a str,
    value: String,
}

#[derive(Deserialize)]
struct Signed {
    kid: String,
    value: String,
}

impl KeyVaultKey {
    pub(crate) fn new(vault: KeyVault, name: String, version: String) -> Self {
        Self {
            vault,
            name,
            version,
        }
    }

    /// Returns the name of the key.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the version of the key.
    pub fn version(&self) -> &str {
        &self.version
    }
}

#[async_trait]
impl KmsKey for KeyVaultKey {
    async fn sign(&self, algorithm: Algorithm, input: &[u8]) -> Result<Vec<u8>, TokenError> {
        // The service has the names of RFC 7518, and r and s joined.
        let request = Input {
            alg: algorithm.name(),
            value: BASE64_URL_SAFE_NO_PAD.encode(input),
        };
        let signed: Signed = self.vault.sign(&self.name, &self.version, &request).await?;
        if version_of(&signed.kid, &self.name) != Some(&self.version) {
            return Err(other_key());
        }
        BASE64_URL_SAFE_NO_PAD.decode(signed.value).map_err(|_| {
            TokenError::unusable_response(format!("the signature of {NAME} is not base64url"))
        })
    }
}

impl fmt::Debug for KeyVaultKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyVaultKey")
            .field("name", &self.name)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}
