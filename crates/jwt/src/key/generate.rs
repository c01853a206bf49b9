//! Key generation, and PEM output (RFC 7468).

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hallpass_core::Secret;
use hallpass_endpoint::BuildError;
use rustls_pki_types::alg_id;
use zeroize::Zeroizing;

use super::{SigningKey, error::invalid_key};
use crate::{
    Algorithm,
    provider::{KeyPair, RefusalReason},
    public_key::Curve,
};

/// As strong as P-256, and good beyond the year 2030 (NIST SP 800-57 part 1, tables 2 and 4).
const RSA_BITS: u16 = 3072;
/// The bytes in a PEM line of 64 characters.
const LINE_BYTES: usize = 48;

impl SigningKey {
    /// Generates a private key for this algorithm, and returns it with its PEM text (PKCS#8), which the service reads
    /// later.
    ///
    /// An RSA key has 3072 bits; [`generate_rsa`](Self::generate_rsa) supports other sizes. Register
    /// [`public_jwk`](Self::public_jwk) or [`public_pem`](Self::public_pem) at the server.
    ///
    /// ```
    /// use hallpass_jwt::{Algorithm, SigningKey};
    ///
    /// let (key, pem) = SigningKey::generate(Algorithm::Es256)?;
    /// let read = SigningKey::from_pem(pem.expose())?;
    /// assert_eq!(read.public_jwk(), key.public_jwk());
    /// # Ok::<(), hallpass_endpoint::BuildError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A [`BuildError`] if the system has no random numbers; with ring alone, also for RSA, since ring generates no
    /// RSA keys.
    pub fn generate(algorithm: Algorithm) -> Result<(Self, Secret), BuildError> {
        let new = match algorithm {
            Algorithm::Es256 => KeyPair::generate_ec(Curve::P256),
            Algorithm::Es384 => KeyPair::generate_ec(Curve::P384),
            Algorithm::EdDsa => KeyPair::generate_ed25519(),
            Algorithm::Ps256 | Algorithm::Rs256 => KeyPair::generate_rsa(RSA_BITS),
        };
        Self::from_generated(new, algorithm)
    }

    /// Generates an RSA key of 2048, 3072 or 4096 bits, for [`Algorithm::Rs256`] or [`Algorithm::Ps256`]; see
    /// [`generate`](Self::generate).
    ///
    /// # Errors
    ///
    /// Those of [`generate`](Self::generate); also for another number of bits or another algorithm.
    pub fn generate_rsa(algorithm: Algorithm, bits: u16) -> Result<(Self, Secret), BuildError> {
        if !matches!(algorithm, Algorithm::Ps256 | Algorithm::Rs256) {
            let message = format!("{algorithm} does not use an RSA key, so its key size is fixed");
            return Err(BuildError::new("algorithm", message));
        }
        if ![2048, 3072, 4096].contains(&bits) {
            return Err(BuildError::new(
                "bits",
                "an RSA key has 2048, 3072 or 4096 bits",
            ));
        }
        Self::from_generated(KeyPair::generate_rsa(bits), algorithm)
    }

    /// Returns the public key as PEM (`PUBLIC KEY`, the SubjectPublicKeyInfo of RFC 5280 section 4.1), for servers
    /// that accept no JWK. It is not secret.
    pub fn public_pem(&self) -> String {
        let kind = match &self.pair {
            KeyPair::Ec(Curve::P256, _) => alg_id::ECDSA_P256,
            KeyPair::Ec(Curve::P384, _) => alg_id::ECDSA_P384,
            KeyPair::Ed25519(_) => alg_id::ED25519,
            KeyPair::Rsa(_) => alg_id::RSA_ENCRYPTION,
        };
        let kind = element(SEQUENCE, &[&kind]);
        // The bit string has no unused bits.
        let key = element(BIT_STRING, &[&[0], self.pair.public_bytes()]);
        pem("PUBLIC KEY", &element(SEQUENCE, &[&kind, &key]))
    }

    fn from_generated(
        new: Result<(KeyPair, Zeroizing<Vec<u8>>), RefusalReason>,
        algorithm: Algorithm,
    ) -> Result<(Self, Secret), BuildError> {
        let (pair, der) =
            new.map_err(|reason| invalid_key(format!("it could not be generated ({reason})")))?;
        let pem = Secret::new(pem("PRIVATE KEY", &der));
        let pem = pem.map_err(|error| invalid_key(error.to_string()))?;
        Ok((Self::from_pair(pair).with_algorithm(algorithm)?, pem))
    }
}

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;

/// Encodes a DER element with this content (X.690 section 8.1).
fn element(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let content = content.concat();
    let length = content.len().to_be_bytes();
    let zeros = length.iter().take_while(|byte| **byte == 0).count();
    let length = &length[zeros..];
    let mut element = vec![tag];
    match length {
        [] => element.push(0),
        [short] if *short < 0x80 => element.push(*short),
        long => {
            let length = u8::try_from(long.len()).expect("the eight bytes of a usize at most");
            element.push(0x80 | length);
            element.extend(long);
        }
    }
    element.extend(content);
    element
}

/// Encodes PEM into a buffer of the final length: growing would leave copies of a private key behind.
fn pem(label: &str, der: &[u8]) -> String {
    let begin = format!("-----BEGIN {label}-----\n");
    let end = format!("-----END {label}-----\n");
    let lines = der.len().div_ceil(LINE_BYTES);
    let characters = der.len().div_ceil(3) * 4;
    let mut text = vec![b'\n'; begin.len() + characters + lines + end.len()];
    text[..begin.len()].copy_from_slice(begin.as_bytes());
    let mut at = begin.len();
    for line in der.chunks(LINE_BYTES) {
        // The length above includes each line and its end.
        let written = BASE64_STANDARD.encode_slice(line, &mut text[at..]);
        at += written.expect("room for the line") + 1;
    }
    text[at..].copy_from_slice(end.as_bytes());
    String::from_utf8(text).expect("base64 and labels are ASCII")
}

#[cfg(test)]
mod tests;
