//! Keys and certificates in PEM (RFC 7468).

use hallpass_endpoint::BuildError;
use rustls_pki_types::{
    AlgorithmIdentifier, alg_id,
    pem::{PemObject as _, SectionKind},
};
use zeroize::Zeroizing;

use super::{mistake, rejected, wrong};
use crate::provider::{Curve, KeyPair, Rejected};

/// The maximum length, above that of any key with a chain of certificates.
const LONGEST: usize = 1 << 20;

type Section = (SectionKind, Zeroizing<Vec<u8>>);
type Read = fn(&[u8]) -> Result<KeyPair, Rejected>;

/// The supported kinds of keys, with their algorithm in PKCS#8 (RFC 5958 section 2).
const PKCS8: [(AlgorithmIdentifier, Read); 4] = [
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
        [(SectionKind::EcPrivateKey, der)] => KeyPair::ec_sec1(der).map_err(rejected),
        [(SectionKind::RsaPrivateKey, der)] => KeyPair::rsa_pkcs1(der).map_err(rejected),
        [(_, der)] => pkcs8(der),
        _ => Err(wrong(
            "the PEM text holds more than one private key; leave the one to sign with",
        )),
    }
}

/// Returns all certificates as DER, in the order of the text.
pub(super) fn certificates(pem: &str) -> Result<Vec<Zeroizing<Vec<u8>>>, BuildError> {
    let sections = sections(pem, "certificate")?.into_iter();
    let certificates = sections.filter(|(kind, _)| *kind == SectionKind::Certificate);
    Ok(certificates.map(|(_, der)| der).collect())
}

fn pkcs8(der: &[u8]) -> Result<KeyPair, BuildError> {
    let head = &der[..der.len().min(PKCS8_HEAD)];
    let names = |id: &AlgorithmIdentifier| head.windows(id.len()).any(|window| window == &**id);
    let known = PKCS8.iter().find(|(id, _)| names(id));
    let (_, read) = known.ok_or_else(|| {
        wrong("it is none of the kinds that are supported: RSA, EC on P-256 or P-384, Ed25519")
    })?;
    read(der).map_err(rejected)
}

fn sections(pem: &str, setting: &'static str) -> Result<Vec<Section>, BuildError> {
    if pem.len() > LONGEST {
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
                mistake::of(pem).unwrap_or(
                    "the PEM text is damaged or cut; copy it whole, with its BEGIN and END lines",
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
        return wrong("the text is no PEM; if it is a JWK, read it with `from_jwk`");
    }
    if let Some(mistake) = mistake::of(pem) {
        return wrong(mistake);
    }
    if pem.contains("BEGIN PUBLIC KEY") || pem.contains("BEGIN CERTIFICATE") {
        return wrong("the PEM text holds no private key, but a public one or a certificate");
    }
    wrong("the text holds no private key in PEM (`-----BEGIN PRIVATE KEY-----`)")
}

/// Returns true for an encrypted key: PKCS#8 marks it in the section's name, older forms in a line below it.
fn is_encrypted(pem: &str) -> bool {
    pem.contains("BEGIN ENCRYPTED PRIVATE KEY") || pem.contains("Proc-Type: 4,ENCRYPTED")
}

fn encrypted() -> BuildError {
    wrong(
        "it is encrypted, which is not supported; keep it where it needs no password (`openssl pkey -in key.pem` takes one off)",
    )
}
