use std::{borrow::Cow, fmt};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use der::{
    AnyRef, Decode as _, Reader as _, SliceReader, Tag, Tagged as _,
    asn1::{BitStringRef, UintRef},
};
use hallpass_endpoint::BuildError;
use rustls_pki_types::{
    SubjectPublicKeyInfoDer, alg_id,
    pem::{self, PemObject as _},
};
use serde::{Deserialize, de::IgnoredAny};
use sha2::{Digest as _, Sha256};

use crate::{Algorithm, certificate, pem::certificates};

/// The maximum length of a key's text, above that of the longest RSA key.
const MAX_LEN: usize = 1 << 16;

/// A public key, as a service that holds the private key returns it: RSA of 2048 bits or more, EC on P-256 or P-384, or
/// Ed25519.
///
/// ```
/// use hallpass_jwt::{Algorithm, PublicKey};
///
/// let key = PublicKey::from_jwk(r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#)?;
/// assert_eq!(key.algorithms(), [Algorithm::EdDsa]);
/// assert_eq!(key.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
/// # Ok::<(), hallpass_endpoint::BuildError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(pub(crate) Parts);

/// A public key in the parts of a JWK.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Parts {
    Ec {
        curve: Curve,
        x: Vec<u8>,
        y: Vec<u8>,
    },
    Ed25519 {
        x: Vec<u8>,
    },
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Curve {
    P256,
    P384,
}

impl Curve {
    /// Returns the name of RFC 7518 section 6.2.1.1.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
        }
    }

    /// Returns the length in bytes of a coordinate, and of a private key.
    pub(crate) fn width(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }
}

/// The public members of a JWK, and the private one.
#[derive(Deserialize)]
struct Jwk<'a> {
    kty: Option<&'a str>,
    crv: Option<&'a str>,
    x: Option<&'a str>,
    y: Option<&'a str>,
    n: Option<&'a str>,
    e: Option<&'a str>,
    d: Option<IgnoredAny>,
}

impl PublicKey {
    /// Reads a public key in PEM (`PUBLIC KEY`, RFC 7468 section 13).
    ///
    /// # Errors
    ///
    /// A [`BuildError`] if there is no such section, or as [`from_der`](Self::from_der).
    pub fn from_pem(pem: &str) -> Result<Self, BuildError> {
        let key = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes());
        let key = key.map_err(|error| match error {
            pem::Error::NoItemsFound => {
                invalid("the text has no public key in PEM (`-----BEGIN PUBLIC KEY-----`)")
            }
            _ => invalid("the PEM text is damaged or incomplete"),
        })?;
        Self::from_der(&key)
    }

    /// Reads a public key in DER (the SubjectPublicKeyInfo of RFC 5280 section 4.1).
    ///
    /// # Errors
    ///
    /// A [`BuildError`] if it is damaged, too small or of an unsupported kind.
    pub fn from_der(der: &[u8]) -> Result<Self, BuildError> {
        let (kind, key) =
            key_info(der).ok_or_else(|| invalid("it is not a SubjectPublicKeyInfo in DER"))?;
        let parts = if kind == &*alg_id::ECDSA_P256 {
            point(Curve::P256, key)
        } else if kind == &*alg_id::ECDSA_P384 {
            point(Curve::P384, key)
        } else if kind == &*alg_id::ED25519 {
            (key.len() == 32).then(|| Parts::Ed25519 { x: key.to_vec() })
        } else if kind == &*alg_id::RSA_ENCRYPTION {
            modulus(key)
        } else {
            return Err(invalid(
                "its kind is not supported; use RSA, EC on P-256 or P-384, or Ed25519",
            ));
        };
        let parts = parts.ok_or_else(|| invalid("its point or its modulus is damaged"))?;
        Self::checked(parts)
    }

    /// Reads a public JWK (RFC 7517, RFC 7518 section 6, RFC 8037 section 2). Members that do not describe the key
    /// itself are ignored.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] if it is not a JWK, holds a private key, is too small or of an unsupported kind.
    pub fn from_jwk(jwk: &str) -> Result<Self, BuildError> {
        // The library's error may quote the text.
        let jwk: Option<Jwk<'_>> = (jwk.len() <= MAX_LEN)
            .then(|| serde_json::from_str(jwk).ok())
            .flatten();
        let jwk = jwk.ok_or_else(|| invalid("it is not a JWK"))?;
        if jwk.d.is_some() {
            return Err(invalid(
                "it is a private key, which must not be passed on; use the public key",
            ));
        }
        let parts = match (jwk.kty, jwk.crv) {
            (Some("EC"), Some("P-256")) => ec(Curve::P256, &jwk)?,
            (Some("EC"), Some("P-384")) => ec(Curve::P384, &jwk)?,
            (Some("OKP"), Some("Ed25519")) => Parts::Ed25519 {
                x: coordinate("x", jwk.x, 32)?,
            },
            (Some("RSA"), _) => Parts::Rsa {
                n: number("n", jwk.n)?,
                e: number("e", jwk.e)?,
            },
            _ => {
                return Err(invalid(
                    "its `kty` and `crv` are not supported; use RSA, EC on P-256 or P-384, or Ed25519",
                ));
            }
        };
        Self::checked(parts)
    }

    /// Returns the algorithms that the key supports; the first is the default.
    pub fn algorithms(&self) -> &'static [Algorithm] {
        match &self.0 {
            Parts::Ec { curve, .. } => match curve {
                Curve::P256 => &[Algorithm::Es256],
                Curve::P384 => &[Algorithm::Es384],
            },
            Parts::Ed25519 { .. } => &[Algorithm::EdDsa],
            Parts::Rsa { .. } => &[Algorithm::Rs256, Algorithm::Ps256],
        }
    }

    /// Returns the key as a JWK in the canonical form of RFC 7638 section 3: the required members alone.
    pub fn to_jwk(&self) -> String {
        // Neither names nor values need an escape.
        let members = self.members();
        let members = members
            .iter()
            .map(|(name, value)| format!(r#""{name}":"{value}""#));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    }

    /// Returns the hash of the key (RFC 7638, SHA-256), in base64url.
    pub fn thumbprint(&self) -> String {
        encode(&Sha256::digest(self.to_jwk()))
    }

    /// Returns the SHA-256 hash of the certificate of this key in a PEM text, for `x5t#S256`. Everything but the key's
    /// own certificate is skipped.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] if none of the certificates in the text belongs to the key.
    pub fn certificate_thumbprint(&self, pem: &str) -> Result<[u8; 32], BuildError> {
        let certificates = certificates(pem)?;
        let own = certificates
            .iter()
            .find(|der| certificate::key_of(der).is_some_and(|key| self.is_encoded(key)));
        let own = own.ok_or_else(|| {
            BuildError::new(
                "certificate",
                "the text contains no certificate of this key; use the PEM certificate issued for it",
            )
        })?;
        Ok(Sha256::digest(&**own).into())
    }

    /// Returns the certificates of a PEM text in DER, which start with the one of this key.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] if the chain has another order, belongs to another key, is damaged or is too long.
    pub(crate) fn certificate_chain(&self, pem: &str) -> Result<Vec<Vec<u8>>, BuildError> {
        certificate::chain(pem, |key| self.is_encoded(key))
    }

    /// Returns true if this SubjectPublicKeyInfo is that of this key.
    fn is_encoded(&self, der: &[u8]) -> bool {
        Self::from_der(der).is_ok_and(|key| key == *self)
    }

    /// Returns the key as a JWK with `alg`, `use` and `kid`, to register at a server.
    pub(crate) fn to_described_jwk(&self, algorithm: Algorithm, key_id: Option<&str>) -> String {
        let mut jwk: serde_json::Value = self.members().into_iter().collect();
        jwk["use"] = "sig".into();
        jwk["alg"] = algorithm.name().into();
        if let Some(key_id) = key_id {
            jwk["kid"] = key_id.into();
        }
        jwk.to_string()
    }

    /// Returns the members of RFC 7638 section 3.2, in alphabetical order.
    fn members(&self) -> Vec<(&'static str, String)> {
        match &self.0 {
            Parts::Ec { curve, x, y } => vec![
                ("crv", curve.name().to_owned()),
                ("kty", "EC".to_owned()),
                ("x", encode(x)),
                ("y", encode(y)),
            ],
            Parts::Ed25519 { x } => vec![
                ("crv", "Ed25519".to_owned()),
                ("kty", "OKP".to_owned()),
                ("x", encode(x)),
            ],
            Parts::Rsa { n, e } => vec![
                ("e", encode(e)),
                ("kty", "RSA".to_owned()),
                ("n", encode(n)),
            ],
        }
    }

    /// Returns the length in bytes of the key's signatures.
    pub(crate) fn signature_len(&self) -> usize {
        match &self.0 {
            Parts::Ec { curve, .. } => 2 * curve.width(),
            Parts::Ed25519 { .. } => 64,
            Parts::Rsa { n, .. } => n.len(),
        }
    }

    fn checked(parts: Parts) -> Result<Self, BuildError> {
        if let Parts::Rsa { n, e } = &parts {
            let bits = n
                .first()
                .map_or(0, |first| 8 * n.len() - first.leading_zeros() as usize);
            if bits < 2_048 {
                return Err(invalid(
                    "the RSA key has fewer than 2048 bits (RFC 7518 section 3.3); use a longer one",
                ));
            }
            // With an exponent of 1, each message would be its own signature.
            let is_odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
            if !is_odd(n) || !is_odd(e) || **e == [1] {
                return Err(invalid(
                    "its modulus or its exponent is not that of an RSA key (RFC 8017 section 3.1)",
                ));
            }
        }
        Ok(Self(parts))
    }
}

/// Checks that a key that supports `known` signs with this algorithm.
pub(crate) fn check_algorithm(algorithm: Algorithm, known: &[Algorithm]) -> Result<(), BuildError> {
    if known.contains(&algorithm) {
        return Ok(());
    }
    let known: Vec<&str> = known.iter().map(|known| known.name()).collect();
    Err(invalid(format!(
        "it cannot sign with {algorithm}, only with {}",
        known.join(" and ")
    )))
}

/// Reads a SubjectPublicKeyInfo: the content of its AlgorithmIdentifier, and the key's own bytes.
fn key_info(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = SliceReader::new(der).ok()?;
    let read: der::Result<_> = reader.sequence(|parts| {
        let kind = AnyRef::decode(parts)?;
        Ok((kind, BitStringRef::decode(parts)?))
    });
    let (kind, key) = read.ok()?;
    reader.finish().ok()?;
    let is_sequence = kind.tag() == Tag::Sequence;
    is_sequence.then_some((kind.value(), key.as_bytes()?))
}

/// Reads an uncompressed point (SEC 1 section 2.3.4).
fn point(curve: Curve, bytes: &[u8]) -> Option<Parts> {
    let coordinates = bytes.strip_prefix(&[4])?;
    let (x, y) = coordinates.split_at_checked(curve.width())?;
    (y.len() == curve.width()).then(|| Parts::Ec {
        curve,
        x: x.to_vec(),
        y: y.to_vec(),
    })
}

/// Reads an `RSAPublicKey` (RFC 8017 appendix A.1.1).
fn modulus(der: &[u8]) -> Option<Parts> {
    let mut reader = SliceReader::new(der).ok()?;
    let read: der::Result<_> = reader.sequence(|parts| {
        let n = UintRef::decode(parts)?;
        Ok((n, UintRef::decode(parts)?))
    });
    let (n, e) = read.ok()?;
    reader.finish().ok()?;
    Some(Parts::Rsa {
        n: n.as_bytes().to_vec(),
        e: e.as_bytes().to_vec(),
    })
}

fn ec(curve: Curve, jwk: &Jwk<'_>) -> Result<Parts, BuildError> {
    Ok(Parts::Ec {
        curve,
        x: coordinate("x", jwk.x, curve.width())?,
        y: coordinate("y", jwk.y, curve.width())?,
    })
}

fn coordinate(name: &str, value: Option<&str>, width: usize) -> Result<Vec<u8>, BuildError> {
    let bytes = value.and_then(|value| BASE64_URL_SAFE_NO_PAD.decode(value).ok());
    bytes
        .filter(|bytes| bytes.len() == width)
        .ok_or_else(|| invalid(format!("its `{name}` is not {width} bytes in base64url")))
}

/// Reads a number without its leading zeros, which some write although RFC 7518 section 2 forbids them.
fn number(name: &str, value: Option<&str>) -> Result<Vec<u8>, BuildError> {
    let bytes = value.and_then(|value| BASE64_URL_SAFE_NO_PAD.decode(value).ok());
    let bytes = bytes.ok_or_else(|| invalid(format!("its `{name}` is not base64url")))?;
    let from = bytes.iter().position(|byte| *byte != 0);
    Ok(bytes[from.unwrap_or(bytes.len())..].to_vec())
}

fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn invalid(message: impl Into<Cow<'static, str>>) -> BuildError {
    BuildError::new("key", message)
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.to_jwk())
    }
}

#[cfg(test)]
mod tests;
