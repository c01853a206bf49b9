//! The parts of a JWS in its compact form (RFC 7515 section 7.1) that a profile restricts.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hallpass_core::{TextFilter, TokenError};
use serde::Deserialize;

use super::{Requirement, SecurityProfile};

/// The length of a signature with an RSA key of 2048 bits.
const MIN_RSA_BYTES: usize = 256;

/// A JWS that another crate has signed. Its signature is not verified.
pub(crate) struct Jws {
    algorithm: String,
    pub(crate) payload: Vec<u8>,
    signature_len: usize,
}

impl Jws {
    /// Reads the parts; `None` if the text is not the compact form of a JWS.
    pub(crate) fn read(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Header {
            alg: String,
        }

        let mut parts = text.split('.');
        let [header, payload, signature] = [parts.next()?, parts.next()?, parts.next()?];
        let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).ok();
        let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
        let jws = Self {
            algorithm: header.alg,
            payload: decode(payload)?,
            signature_len: decode(signature)?.len(),
        };
        parts.next().is_none().then_some(jws)
    }

    /// Checks the algorithm, and the length of the key, which that of a signature shows.
    ///
    /// # Errors
    ///
    /// A [`TokenError`] of kind [`Configuration`](hallpass_core::ErrorKind::Configuration). `name`: "assertion" or "DPoP
    /// proof".
    pub(crate) fn check(&self, profile: SecurityProfile, name: &str) -> Result<(), TokenError> {
        match self.fault(profile) {
            None => Ok(()),
            Some((fault, requirement)) => {
                Err(profile.violated(&format!("the {name} {fault}"), requirement))
            }
        }
    }

    /// Returns a clause about the algorithm or the length of the key, and the requirement, if the profile excludes it.
    pub(crate) fn fault(&self, profile: SecurityProfile) -> Option<(String, &'static Requirement)> {
        let Self { algorithm, .. } = self;
        let bytes = self.signature_len;
        let (is_allowed, requirement) = match &**algorithm {
            // The length of a signature is that of the key.
            "PS256" => (bytes >= MIN_RSA_BYTES, &Requirement::KEY_LENGTHS),
            // Others of EdDSA are longer: only Ed25519 is allowed.
            _ => (
                profile.allows_algorithm(algorithm) && bytes == 64,
                &Requirement::ALGORITHMS,
            ),
        };
        if is_allowed {
            return None;
        }
        let shown = TextFilter::new().clean(algorithm);
        let fault = format!("has a signature of {bytes} bytes with `{shown}`");
        Some((fault, requirement))
    }
}
