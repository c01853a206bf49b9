use std::fmt;

use async_trait::async_trait;
use aws_sdk_kms::{
    Client,
    primitives::Blob,
    types::{MessageType, SigningAlgorithmSpec},
};
use hallpass_core::TokenError;
use hallpass_endpoint::BuildError;
use hallpass_jwt::{Algorithm, KmsKey, KmsSigner, PublicKey};

use crate::error::convert;

/// The algorithms of JWS that the service has, by its names; not those of `ECC_SECG_P256K1`, and not SHA-512.
const ALGORITHMS: [(Algorithm, SigningAlgorithmSpec); 5] = [
    (Algorithm::Es256, SigningAlgorithmSpec::EcdsaSha256),
    (Algorithm::Es384, SigningAlgorithmSpec::EcdsaSha384),
    (Algorithm::EdDsa, SigningAlgorithmSpec::Ed25519Sha512),
    (Algorithm::Ps256, SigningAlgorithmSpec::RsassaPssSha256),
    (Algorithm::Rs256, SigningAlgorithmSpec::RsassaPkcs1V15Sha256),
];

/// A key in AWS KMS, which signs for a [`KmsSigner`].
///
/// Region, credentials, endpoint, timeouts and retries are those of the [`Client`]. The caller needs the permissions
/// `kms:GetPublicKey` and `kms:Sign` for the key.
#[derive(Clone)]
pub struct AwsKmsKey {
    client: Client,
    arn: String,
}

impl AwsKmsKey {
    /// Reads the public key of a key, and returns a signer with it. `key` is an ID, an ARN, or an alias
    /// (`alias/orders`).
    ///
    /// An alias is resolved once: the signer keeps its key when the alias is moved, until the process asks for another
    /// signer. ES256, ES384, EdDSA, RS256 and PS256 are supported, by keys of the usage `SIGN_VERIFY`.
    ///
    /// # Errors
    ///
    /// As [`Signer::sign`](hallpass_jwt::Signer::sign); of kind [`Configuration`](hallpass_core::ErrorKind::Configuration) if the key does not
    /// sign by a supported algorithm.
    ///
    /// # Cancellation
    ///
    /// Dropping the future drops the request.
    pub async fn signer(client: Client, key: &str) -> Result<KmsSigner<Self>, TokenError> {
        let read = client.get_public_key().key_id(key).send().await;
        let read = read.map_err(convert)?;
        let arn = read.key_id().map(str::to_owned);
        let (Some(arn), Some(der)) = (arn, read.public_key()) else {
            return Err(TokenError::unusable_response(
                "AWS KMS returned no key ID or no public key",
            ));
        };
        let public = PublicKey::from_der(der.as_ref()).map_err(unusable)?;
        let known = ALGORITHMS.iter();
        let allowed = known.filter(|(_, name)| read.signing_algorithms().contains(name));
        let allowed: Vec<_> = allowed.map(|(algorithm, _)| *algorithm).collect();
        KmsSigner::new(Self { client, arn }, public, &allowed).map_err(unusable)
    }

    /// Returns the ARN of the key.
    pub fn arn(&self) -> &str {
        &self.arn
    }
}

#[async_trait]
impl KmsKey for AwsKmsKey {
    async fn sign(&self, algorithm: Algorithm, input: &[u8]) -> Result<Vec<u8>, TokenError> {
        let mut known = ALGORITHMS.iter();
        let name = known.find(|(known, _)| *known == algorithm);
        let (_, name) = name.ok_or_else(|| {
            TokenError::configuration(format!("AWS KMS does not sign with {algorithm}"))
        })?;
        let message_type = match algorithm {
            Algorithm::EdDsa => MessageType::Raw,
            _ => MessageType::Digest,
        };
        let request = self
            .client
            .sign()
            .key_id(&self.arn)
            .message(Blob::new(input));
        let request = request
            .message_type(message_type)
            .signing_algorithm(name.clone());
        let signed = request.send().await.map_err(convert)?;
        let signature = signed
            .signature()
            .filter(|_| signed.key_id() == Some(&self.arn));
        let signature = signature.ok_or_else(|| {
            TokenError::unusable_response("AWS KMS returned no signature, or one by another key")
        })?;
        match algorithm {
            Algorithm::Es256 | Algorithm::Es384 => algorithm.signature_from_der(signature.as_ref()),
            _ => Ok(signature.as_ref().to_vec()),
        }
    }
}

#[allow(clippy::needless_pass_by_value)] // The argument of `map_err`.
fn unusable(error: BuildError) -> TokenError {
    TokenError::configuration(format!(
        "the key in AWS KMS cannot be used: {}",
        error.message()
    ))
}

impl fmt::Debug for AwsKmsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsKmsKey")
            .field("arn", &self.arn)
            .finish_non_exhaustive()
    }
}
