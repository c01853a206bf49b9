use std::fmt;

use hallpass_core::TokenError;
use sha2::{Digest as _, Sha256, Sha384};

mod der;

/// A signature algorithm for private keys (RFC 7518 section 3.1, RFC 8037 section 3.1).
///
/// The key determines which algorithms can be used. There is no `none`, and the server's input has no influence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256: small and fast; the one to use where the server leaves the choice.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519, under the name `EdDSA`.
    EdDsa,
    /// RSA with PSS padding and SHA-256.
    Ps256,
    /// RSA with PKCS#1 v1.5 padding and SHA-256: for servers that support nothing newer.
    Rs256,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: &'static [Self] = &[
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
        Self::Ps256,
        Self::Rs256,
    ];

    /// Returns the name in an assertion's header: `ES256`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
            Self::Ps256 => "PS256",
            Self::Rs256 => "RS256",
        }
    }

    /// Returns the hash that a signature covers; `None` for EdDSA, which signs the message itself.
    pub(crate) fn hash(self, message: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Es256 | Self::Ps256 | Self::Rs256 => Some(Sha256::digest(message).to_vec()),
            Self::Es384 => Some(Sha384::digest(message).to_vec()),
            Self::EdDsa => None,
        }
    }

    /// Checks the shape of a signature. The server would refuse a wrong one without a reason; the usual cause is
    /// known.
    pub(crate) fn check(self, signature: &[u8]) -> Result<(), TokenError> {
        const ECDSA_SIGNATURE_HINT: &str = "a JWS requires r and s concatenated, not DER (RFC 7518 section 3.4): convert it with `Algorithm::signature_from_der`";
        const EDDSA_SIGNATURE_HINT: &str =
            "a JWS requires the raw signature (RFC 8037 section 3.1)";
        const RSA_KEY_HINT: &str = "use an RSA key of 2048 bits or more (RFC 7518 section 3.3)";
        let length = signature.len();
        let (fit, expected, hint) = match self {
            Self::Es256 => (length == 64, "64", ECDSA_SIGNATURE_HINT),
            Self::Es384 => (length == 96, "96", ECDSA_SIGNATURE_HINT),
            Self::EdDsa => (length == 64, "64", EDDSA_SIGNATURE_HINT),
            Self::Ps256 | Self::Rs256 => (length >= 256, "at least 256", RSA_KEY_HINT),
        };
        if fit {
            return Ok(());
        }
        let message = format!(
            "the signer returned {length} bytes, but a signature with {self} has {expected}"
        );
        Err(TokenError::configuration(message).with_hint(hint))
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A signature algorithm for a `client_secret` (RFC 7518 section 3.2).
#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HmacAlgorithm {
    /// HMAC with SHA-256, which needs a secret of at least 32 bytes.
    #[default]
    Hs256,
    /// HMAC with SHA-384, which needs a secret of at least 48 bytes.
    Hs384,
    /// HMAC with SHA-512, which needs a secret of at least 64 bytes.
    Hs512,
}

#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
impl HmacAlgorithm {
    /// Returns the name in an assertion's header: `HS256`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
        }
    }

    /// Returns the minimum length of a secret: that of the hash (RFC 7518 section 3.2).
    pub(crate) fn min_secret_len(self) -> usize {
        match self {
            Self::Hs256 => 32,
            Self::Hs384 => 48,
            Self::Hs512 => 64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_of_the_wrong_form_is_an_error_with_its_cause() {
        for (algorithm, right, wrong) in [
            (Algorithm::Es256, 64, 71),
            (Algorithm::Es384, 96, 103),
            (Algorithm::EdDsa, 64, 0),
            (Algorithm::Rs256, 256, 128),
            (Algorithm::Ps256, 512, 255),
        ] {
            assert!(algorithm.check(&vec![0; right]).is_ok(), "{algorithm}");
            let error = algorithm.check(&vec![0; wrong]).unwrap_err();
            let text = error.to_string();
            assert!(
                text.contains(algorithm.name()) && text.contains(&wrong.to_string()),
                "{text}"
            );
        }
    }
}
