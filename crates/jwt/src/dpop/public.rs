//! The public key in a proof's header: the members that RFC 7638 requires and no others.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hallpass_endpoint::BuildError;
use serde::{Deserialize, de::IgnoredAny};

use crate::{Algorithm, provider};

/// Length in bytes of a P-256 coordinate, and of an Ed25519 public key.
const COORDINATE_BYTES: usize = 32;

#[derive(Deserialize)]
struct Jwk<'a> {
    kty: Option<&'a str>,
    crv: Option<&'a str>,
    x: Option<&'a str>,
    y: Option<&'a str>,
    d: Option<IgnoredAny>,
}

pub(super) struct PublicJwk(String);

impl PublicJwk {
    /// Reads a signer's public JWK.
    pub(super) fn read(text: &str, algorithm: Algorithm) -> Result<Self, BuildError> {
        // The library's error may quote the text.
        let jwk: Jwk<'_> = serde_json::from_str(text)
            .map_err(|_| wrong("the signer's public key is not a JWK"))?;
        if jwk.d.is_some() {
            return Err(wrong(
                "the signer returns a private key, which would be sent with each request; return the public key",
            ));
        }
        let (kty, crv) = match algorithm {
            Algorithm::Es256 => ("EC", "P-256"),
            Algorithm::EdDsa => ("OKP", "Ed25519"),
            other => {
                return Err(wrong(format!(
                    "proofs are signed with ES256 or EdDSA, and the key signs with {other}; use a key on P-256 or Ed25519"
                )));
            }
        };
        if (jwk.kty, jwk.crv) != (Some(kty), Some(crv)) {
            return Err(wrong(format!(
                "the signer's public key does not fit {algorithm}, with which it signs"
            )));
        }
        let x = coordinate("x", jwk.x)?;
        // In alphabetical order, without spaces (RFC 7638 section 3).
        Ok(Self(match algorithm {
            Algorithm::Es256 => {
                let y = coordinate("y", jwk.y)?;
                format!(r#"{{"crv":"{crv}","kty":"{kty}","x":"{x}","y":"{y}"}}"#)
            }
            _ => format!(r#"{{"crv":"{crv}","kty":"{kty}","x":"{x}"}}"#),
        }))
    }

    /// Returns the canonical form of RFC 7638 section 3.
    pub(super) fn canonical(&self) -> &str {
        &self.0
    }

    pub(super) fn thumbprint(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(provider::sha256(self.0.as_bytes()))
    }
}

fn coordinate<'a>(name: &str, value: Option<&'a str>) -> Result<&'a str, BuildError> {
    let fit = |value: &&str| {
        let decoded = BASE64_URL_SAFE_NO_PAD.decode(value);
        decoded.is_ok_and(|bytes| bytes.len() == COORDINATE_BYTES)
    };
    value.filter(fit).ok_or_else(|| {
        wrong(format!(
            "the `{name}` of the signer's public key is not {COORDINATE_BYTES} bytes in base64url"
        ))
    })
}

fn wrong(message: impl Into<std::borrow::Cow<'static, str>>) -> BuildError {
    BuildError::new("dpop", message)
}
