use base64::{Engine as _, prelude::BASE64_STANDARD};
use hallpass_core::{TokenError, authorize::Authorizer};
use hallpass_endpoint::{BuildError, HttpTransport, ServiceClient};
use hallpass_jwt::{Algorithm, KmsSigner, PublicKey};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    crc32c,
    error::{ALGORITHM, HINTS, KEY_NAME},
    key::GoogleKmsKey,
};

/// The name of the service in errors.
const NAME: &str = "Google Cloud KMS";
const ENDPOINT: &str = "https://cloudkms.googleapis.com";

/// A client of Google Cloud KMS, whose keys become signers.
///
/// The [`Authorizer`] gives it tokens: allow the origin `https://cloudkms.googleapis.com`, and request the scope
/// `https://www.googleapis.com/auth/cloudkms`. The service account needs `roles/cloudkms.signerVerifier` on each key.
#[derive(Clone, Debug)]
pub struct GoogleKms {
    client: ServiceClient,
    endpoint: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PublicKeyResponse {
    name: String,
    pem: String,
    algorithm: String,
    pem_crc32c: Option<String>,
}

impl GoogleKms {
    /// Creates a client with the default transport.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] if the transport cannot be set up.
    pub fn new(authorizer: Authorizer) -> Result<Self, BuildError> {
        Ok(Self {
            client: ServiceClient::new(NAME, authorizer)?.hints(HINTS),
            endpoint: ENDPOINT.to_owned(),
        })
    }

    /// Sets the transport, such as one with a proxy or shorter timeouts.
    #[must_use]
    pub fn transport(mut self, transport: HttpTransport) -> Self {
        self.client = self.client.transport(transport);
        self
    }

    /// Sets the origin of the service, such as a regional endpoint or Private Service Connect. Default:
    /// `https://cloudkms.googleapis.com`. The authorizer must allow it.
    #[must_use]
    pub fn endpoint(mut self, origin: impl Into<String>) -> Self {
        let origin = origin.into();
        origin.trim_end_matches('/').clone_into(&mut self.endpoint);
        self
    }

    /// Reads the public key of a key version, and returns a signer with it. `name` is the resource name:
    /// `projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/V`.
    ///
    /// The version has one algorithm. ES256, ES384, EdDSA, and RS256 and PS256 with SHA-256 are supported.
    ///
    /// # Errors
    ///
    /// As [`Signer::sign`](hallpass_jwt::Signer::sign); of kind [`Configuration`](hallpass_core::ErrorKind::Configuration) if the name is not
    /// that of a key version, or the key does not sign by a supported algorithm.
    ///
    /// # Cancellation
    ///
    /// Dropping the future drops the request.
    pub async fn signer(&self, name: &str) -> Result<KmsSigner<GoogleKmsKey>, TokenError> {
        check_name(name)?;
        let url = format!("{}/v1/{name}/publicKey", self.endpoint);
        let response: PublicKeyResponse = self.client.get(&url).await?;
        check_integrity(
            response.name == name
                && matches_checksum(response.pem.as_bytes(), response.pem_crc32c.as_deref()),
        )?;
        let public = PublicKey::from_pem(&response.pem).map_err(unusable)?;
        let algorithm = algorithm(&response.algorithm)?;
        let key = GoogleKmsKey::new(self.clone(), name.to_owned());
        KmsSigner::new(key, public, &[algorithm]).map_err(unusable)
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        name: &str,
        method: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T, TokenError> {
        let url = format!("{}/v1/{name}:{method}", self.endpoint);
        self.client.post(&url, body).await
    }
}

#[allow(clippy::needless_pass_by_value)] // The argument of `map_err`.
fn unusable(error: BuildError) -> TokenError {
    TokenError::configuration(format!(
        "the key in {NAME} cannot be used: {}",
        error.message()
    ))
}

/// Returns true if there is no checksum, or the right one. A 64-bit integer is a string in JSON.
pub(crate) fn matches_checksum(bytes: &[u8], sent: Option<&str>) -> bool {
    sent.is_none_or(|sent| sent.parse() == Ok(crc32c::checksum(bytes)))
}

/// Reads base64, of a field that has a checksum.
pub(crate) fn decode(text: &str) -> Result<Vec<u8>, TokenError> {
    BASE64_STANDARD.decode(text).map_err(|_| {
        TokenError::unusable_response(format!("the signature of {NAME} is not base64"))
    })
}

/// Returns an error unless a response belongs to its request, and both arrived undamaged.
pub(crate) fn check_integrity(intact: bool) -> Result<(), TokenError> {
    if intact {
        return Ok(());
    }
    Err(TokenError::unavailable(format!(
        "a request to {NAME} or its response was damaged on the way: a checksum or the key's name differs"
    )))
}

fn algorithm(name: &str) -> Result<Algorithm, TokenError> {
    Ok(match name {
        "EC_SIGN_P256_SHA256" => Algorithm::Es256,
        "EC_SIGN_P384_SHA384" => Algorithm::Es384,
        "EC_SIGN_ED25519" => Algorithm::EdDsa,
        "RSA_SIGN_PSS_2048_SHA256" | "RSA_SIGN_PSS_3072_SHA256" | "RSA_SIGN_PSS_4096_SHA256" => {
            Algorithm::Ps256
        }
        "RSA_SIGN_PKCS1_2048_SHA256"
        | "RSA_SIGN_PKCS1_3072_SHA256"
        | "RSA_SIGN_PKCS1_4096_SHA256" => Algorithm::Rs256,
        _ => {
            let message = format!("the key in {NAME} signs by an unsupported algorithm");
            return Err(TokenError::configuration(message)
                .with_server_message(name)
                .with_hint(ALGORITHM));
        }
    })
}

/// Checks that a name is that of a key version, and only that: it becomes a part of a URL.
fn check_name(name: &str) -> Result<(), TokenError> {
    const COLLECTIONS: [&str; 5] = [
        "projects",
        "locations",
        "keyRings",
        "cryptoKeys",
        "cryptoKeyVersions",
    ];
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    let is_id = |id: &str| !id.trim_matches('.').is_empty() && id.bytes().all(allowed);
    let parts: Vec<&str> = name.split('/').collect();
    let (pairs, rest) = parts.as_chunks::<2>();
    let known = pairs.iter().zip(COLLECTIONS);
    let fits = rest.is_empty()
        && pairs.len() == COLLECTIONS.len()
        && known
            .into_iter()
            .all(|([name, id], known)| *name == known && is_id(id));
    if fits {
        return Ok(());
    }
    Err(TokenError::configuration(
        "the name of the key version is not a resource name of Google Cloud KMS",
    )
    .with_hint(KEY_NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "projects/example.com:orders/locations/europe-west3/keyRings/r/cryptoKeys/k_1/cryptoKeyVersions/12";

    #[test]
    fn only_names_of_key_versions_are_accepted() {
        assert!(check_name(GOOD).is_ok());
        for wrong in [
            "",
            &GOOD[..GOOD.len() - "/cryptoKeyVersions/12".len()],
            &GOOD.replace("/r/", "/../"),
            &GOOD.replace("/r/", "//"),
            &GOOD.replace("/r/", "/r?x/"),
            &GOOD.replace("keyRings", "keys"),
            &format!("{GOOD}/"),
            &format!("/{GOOD}"),
            &format!("{GOOD}:asymmetricDecrypt/x/y"),
        ] {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
    }
}
