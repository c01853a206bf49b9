//! Keys and certificates in PEM (RFC 7468).

use hallpass_endpoint::BuildError;
use rustls_pki_types::{
    AlgorithmIdentifier, alg_id,
    pem::{PemObject as _, SectionKind},
};
use zeroize::Zeroizing;

use super::{
    damage,
    error::{invalid_key, refused},
};
use crate::provider::{Curve, KeyPair, RefusalReason};

/// The maximum length, above that of any key with a chain of certificates.
const MAX_LEN: usize = 1 << 20;

type Section = (SectionKind, Zeroizing<Vec<u8>>);
type Reader = fn(&[u8]) -> Result<KeyPair, RefusalReason>;

/// The supported kinds of keys, with their algorithm in PKCS#8 (RFC 5958 section 2).
const PKCS8: [(AlgorithmIdentifier, Reader); 4] = [
    (alg_id::ECDSA_P256, |der| {
        KeyPair::ec_pkcs8(Curve::P256, der)
    }),
    (alg_id::ECDSA_P384, |der| {
        KeyPair::ec_pkcs8(Curve::P384, der)
    }),
    (alg_id::ED25519, KeyPair::ed25519_pkcs8),
    (alg_id::RSA_ENCRYPTION, KeyPair::rsa_pkcs8),
];
/// The algorithm is near the start, after two headers and a version.
const PKCS8_HEAD: usize = 48;

pub(super) fn key_pair(pem: &str) -> Result<KeyPair, BuildError> {
    let mut keys = Vec::new();
    for (kind, der) in sections(pem, "key")? {
        if matches!(
            kind,
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey
        ) {
            keys.push((kind, der));
        }
    }
    match keys.as_slice() {
        [] => Err(no_key(pem)),
        [(SectionKind::EcPrivateKey, der)] => KeyPair::ec_sec1(der).map_err(refused),
        [(SectionKind::RsaPrivateKey, der)] => KeyPair::rsa_pkcs1(der).map_err(refused),
        [(_, der)] => pkcs8(der),
        _ => Err(invalid_key(
            "the PEM text has more than one private key; keep only the one to sign with",
        )),
    }
}

/// Returns all certificates as DER, in the order of the text, which has at least one.
pub(super) fn certificates(pem: &str) -> Result<Vec<Zeroizing<Vec<u8>>>, BuildError> {
    let sections = sections(pem, "certificate")?.into_iter();
    let certificates = sections.filter(|(kind, _)| *kind == SectionKind::Certificate);
    let certificates: Vec<_> = certificates.map(|(_, der)| der).collect();
    if certificates.is_empty() {
        let reason = damage::find(pem);
        return Err(BuildError::new(
            "certificate",
            reason.unwrap_or(
                "the text contains no certificate in PEM (`-----BEGIN CERTIFICATE-----`)",
            ),
        ));
    }
    Ok(certificates)
}

fn pkcs8(der: &[u8]) -> Result<KeyPair, BuildError> {
    let head = &der[..der.len().min(PKCS8_HEAD)];
    let names = |id: &AlgorithmIdentifier| head.windows(id.len()).any(|window| window == &**id);
    let known = PKCS8.iter().find(|(id, _)| names(id));
    let (_, read) = known.ok_or_else(|| {
        invalid_key("its kind is not supported; use RSA, EC on P-256 or P-384, or Ed25519")
    })?;
    read(der).map_err(refused)
}

fn sections(pem: &str, setting: &'static str) -> Result<Vec<Section>, BuildError> {
    if pem.len() > MAX_LEN {
        return Err(BuildError::new(setting, "the text is too long to be PEM"));
    }
    let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(pem.as_bytes());
    sections
        .map(|section| match section {
            Ok((kind, der)) => Ok((kind, Zeroizing::new(der))),
            // The library's error may quote the text.
            Err(_) if is_encrypted(pem) => Err(encrypted()),
            Err(_) => Err(BuildError::new(
                setting,
                damage::find(pem).unwrap_or(
                    "the PEM text is damaged or incomplete; copy all of it, with its BEGIN and END lines",
                ),
            )),
        })
        .collect()
}

fn no_key(pem: &str) -> BuildError {
    if is_encrypted(pem) {
        return encrypted();
    }
    if pem.trim_start().starts_with('{') {
        return invalid_key("the text is not PEM; if it is a JWK, read it with `from_jwk`");
    }
    if let Some(reason) = damage::find(pem) {
        return invalid_key(reason);
    }
    if pem.contains("BEGIN PUBLIC KEY") || pem.contains("BEGIN CERTIFICATE") {
        return invalid_key("the PEM text has no private key, only a public key or a certificate");
    }
    invalid_key("the text has no private key in PEM (`-----BEGIN PRIVATE KEY-----`)")
}

/// Returns true for an encrypted key: PKCS#8 marks it in the section's name, older forms in a line below it.
fn is_encrypted(pem: &str) -> bool {
    pem.contains("BEGIN ENCRYPTED PRIVATE KEY") || pem.contains("Proc-Type: 4,ENCRYPTED")
}

fn encrypted() -> BuildError {
    invalid_key(
        "it is encrypted, which is not supported; remove its password with `openssl pkey -in key.pem`, and protect it by access rights",
    )
}
