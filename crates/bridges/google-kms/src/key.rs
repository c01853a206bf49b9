use std::fmt;

use async_trait::async_trait;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use hallpass_core::TokenError;
use hallpass_jwt::{Algorithm, KmsKey};
use serde::{Deserialize, Serialize};

use crate::{
    crc32c,
    service::{GoogleKms, check_integrity, decode, matches_checksum},
};

/// A key version in Google Cloud KMS, which signs for a [`KmsSigner`](hallpass_jwt::KmsSigner).
#[derive(Clone)]
pub struct GoogleKmsKey {
    service: GoogleKms,
    name: String,
}

#[derive(Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
enum Input {
    Digest {
        digest: DigestValue,
        digest_crc32c: String,
    },
    Data {
        data: String,
        data_crc32c: String,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum DigestValue {
    Sha256(String),
    Sha384(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Signed {
    name: Option<String>,
    signature: String,
    signature_crc32c: Option<String>,
    #[serde(default)]
    verified_digest_crc32c: bool,
    #[serde(default)]
    verified_data_crc32c: bool,
}

impl GoogleKmsKey {
    pub(crate) fn new(service: GoogleKms, name: String) -> Self {
        Self { service, name }
    }

    /// Returns the resource name of the key version.
    pub fn name(&self) -> &str {
        &self.name
    }
}

#[async_trait]
impl KmsKey for GoogleKmsKey {
    async fn sign(&self, algorithm: Algorithm, input: &[u8]) -> Result<Vec<u8>, TokenError> {
        let encoded = BASE64_STANDARD.encode(input);
        let checksum = crc32c::checksum(input).to_string();
        let digest = |digest| Input::Digest {
            digest,
            digest_crc32c: checksum.clone(),
        };
        let request = match algorithm {
            Algorithm::EdDsa => Input::Data {
                data: encoded,
                data_crc32c: checksum,
            },
            Algorithm::Es384 => digest(DigestValue::Sha384(encoded)),
            _ => digest(DigestValue::Sha256(encoded)),
        };
        let call = self.service.post(&self.name, "asymmetricSign", &request);
        let signed: Signed = call.await?;
        let signature = decode(&signed.signature)?;
        let is_own = signed.name.is_none_or(|name| name == self.name);
        check_integrity(
            is_own
                && (signed.verified_digest_crc32c || signed.verified_data_crc32c)
                && matches_checksum(&signature, signed.signature_crc32c.as_deref()),
        )?;
        match algorithm {
            Algorithm::Es256 | Algorithm::Es384 => algorithm.signature_from_der(&signature),
            _ => Ok(signature),
        }
    }
}

impl fmt::Debug for GoogleKmsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GoogleKmsKey")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
