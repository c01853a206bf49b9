//! The signing library: aws-lc-rs, or ring if only that is enabled. No cryptography is implemented here.

#[cfg(feature = "aws-lc-rs")]
use aws_lc_rs as library;
#[cfg(not(feature = "aws-lc-rs"))]
use ring as library;

use library::{
    digest, hmac,
    rand::SystemRandom,
    rsa,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
        RsaKeyPair,
    },
};

use crate::{
    Algorithm, HmacAlgorithm, PublicKey,
    public_key::{Curve, Parts},
};

mod generate;
mod verification;

/// The library's one-word reason for refusing a key, which reveals nothing of it.
pub(crate) type RefusalReason = String;

impl Curve {
    fn signing(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Self::P256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
            Self::P384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
        }
    }
}

/// A private key with its public key; the library checks that they match.
pub(crate) enum KeyPair {
    Ec(Curve, Box<EcdsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
    Rsa(Box<RsaKeyPair>),
}

/// The parts of an RSA key, with their names in a JWK (RFC 7518 section 6.3).
pub(crate) struct RsaParts<B> {
    pub(crate) n: B,
    pub(crate) e: B,
    pub(crate) d: B,
    pub(crate) p: B,
    pub(crate) q: B,
    pub(crate) dp: B,
    pub(crate) dq: B,
    pub(crate) qi: B,
}

impl KeyPair {
    pub(crate) fn ec_pkcs8(curve: Curve, der: &[u8]) -> Result<Self, RefusalReason> {
        #[cfg(feature = "aws-lc-rs")]
        let pair = EcdsaKeyPair::from_pkcs8(curve.signing(), der);
        #[cfg(not(feature = "aws-lc-rs"))]
        let pair = EcdsaKeyPair::from_pkcs8(curve.signing(), der, &SystemRandom::new());
        pair.map(|pair| Self::Ec(curve, pair.into()))
            .map_err(refused)
    }

    #[cfg(feature = "aws-lc-rs")]
    pub(crate) fn ec_sec1(der: &[u8]) -> Result<Self, RefusalReason> {
        let read = |curve: Curve| {
            let pair = EcdsaKeyPair::from_private_key_der(curve.signing(), der)?;
            Ok(Self::Ec(curve, pair.into()))
        };
        read(Curve::P256)
            .or_else(|_| read(Curve::P384))
            .map_err(refused)
    }

    #[cfg(not(feature = "aws-lc-rs"))]
    pub(crate) fn ec_sec1(_: &[u8]) -> Result<Self, RefusalReason> {
        Err(
            "ring does not read the SEC1 form: convert it with `openssl pkcs8 -topk8 -nodes`"
                .into(),
        )
    }

    pub(crate) fn ec_parts(curve: Curve, d: &[u8], point: &[u8]) -> Result<Self, RefusalReason> {
        #[cfg(feature = "aws-lc-rs")]
        let pair = EcdsaKeyPair::from_private_key_and_public_key(curve.signing(), d, point);
        #[cfg(not(feature = "aws-lc-rs"))]
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            curve.signing(),
            d,
            point,
            &SystemRandom::new(),
        );
        pair.map(|pair| Self::Ec(curve, pair.into()))
            .map_err(refused)
    }

    pub(crate) fn ed25519_pkcs8(der: &[u8]) -> Result<Self, RefusalReason> {
        // Does not require the public key in the file: OpenSSL writes none, and it is derived.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der);
        pair.map(|pair| Self::Ed25519(pair.into())).map_err(refused)
    }

    pub(crate) fn ed25519_parts(d: &[u8], x: &[u8]) -> Result<Self, RefusalReason> {
        let pair = Ed25519KeyPair::from_seed_and_public_key(d, x);
        pair.map(|pair| Self::Ed25519(pair.into())).map_err(refused)
    }

    pub(crate) fn rsa_pkcs8(der: &[u8]) -> Result<Self, RefusalReason> {
        RsaKeyPair::from_pkcs8(der)
            .map_err(refused)
            .and_then(Self::rsa)
    }

    pub(crate) fn rsa_pkcs1(der: &[u8]) -> Result<Self, RefusalReason> {
        RsaKeyPair::from_der(der)
            .map_err(refused)
            .and_then(Self::rsa)
    }

    pub(crate) fn rsa_parts<B: AsRef<[u8]>>(parts: &RsaParts<B>) -> Result<Self, RefusalReason> {
        let components = rsa::KeyPairComponents {
            public_key: rsa::PublicKeyComponents {
                n: parts.n.as_ref(),
                e: parts.e.as_ref(),
            },
            d: parts.d.as_ref(),
            p: parts.p.as_ref(),
            q: parts.q.as_ref(),
            dP: parts.dp.as_ref(),
            dQ: parts.dq.as_ref(),
            qInv: parts.qi.as_ref(),
        };
        RsaKeyPair::from_components(&components)
            .map_err(refused)
            .and_then(Self::rsa)
    }

    /// Checks the minimum size of RFC 7518 section 3.3, which neither library promises.
    fn rsa(pair: RsaKeyPair) -> Result<Self, RefusalReason> {
        if pair.public_key().modulus_len() < 256 {
            return Err("TooSmall".into());
        }
        Ok(Self::Rsa(pair.into()))
    }

    /// Returns the signature; `None` if the system has no random bytes, or the key and the algorithm do not fit.
    pub(crate) fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            Self::Ec(_, pair) => Some(pair.sign(&random, message).ok()?.as_ref().to_vec()),
            Self::Ed25519(pair) => Some(pair.sign(message).as_ref().to_vec()),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_key().modulus_len()];
                let signed = match algorithm {
                    Algorithm::Rs256 => {
                        pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    }
                    Algorithm::Ps256 => {
                        pair.sign(&RSA_PSS_SHA256, &random, message, &mut signature)
                    }
                    _ => return None,
                };
                signed.ok().map(|()| signature)
            }
        }
    }

    pub(crate) fn public_key(&self) -> PublicKey {
        PublicKey(match self {
            Self::Ec(curve, pair) => {
                // Uncompressed (SEC 1 section 2.3.3): a 4, then both coordinates.
                let (x, y) = pair.public_key().as_ref()[1..].split_at(curve.width());
                Parts::Ec {
                    curve: *curve,
                    x: x.to_vec(),
                    y: y.to_vec(),
                }
            }
            Self::Ed25519(pair) => Parts::Ed25519 {
                x: pair.public_key().as_ref().to_vec(),
            },
            Self::Rsa(pair) => {
                let parts = rsa::PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                Parts::Rsa {
                    n: parts.n,
                    e: parts.e,
                }
            }
        })
    }

    /// Returns the public key in its form in a certificate: the point (SEC 1 section 2.3.3), the bytes of Ed25519, or
    /// `RSAPublicKey` (RFC 8017 appendix A.1.1).
    pub(crate) fn public_bytes(&self) -> &[u8] {
        match self {
            Self::Ec(_, pair) => pair.public_key().as_ref(),
            Self::Ed25519(pair) => pair.public_key().as_ref(),
            Self::Rsa(pair) => pair.public_key().as_ref(),
        }
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, bytes);
    let mut hash = [0; 32];
    hash.copy_from_slice(digest.as_ref());
    hash
}

pub(crate) fn hmac(algorithm: HmacAlgorithm, key: &[u8], message: &[u8]) -> hmac::Tag {
    let algorithm = match algorithm {
        HmacAlgorithm::Hs256 => hmac::HMAC_SHA256,
        HmacAlgorithm::Hs384 => hmac::HMAC_SHA384,
        HmacAlgorithm::Hs512 => hmac::HMAC_SHA512,
    };
    hmac::sign(&hmac::Key::new(algorithm, key), message)
}

#[allow(clippy::needless_pass_by_value)] // The argument of `map_err`.
fn refused(error: library::error::KeyRejected) -> RefusalReason {
    error.to_string()
}
