//! Private keys in PEM (RFC 7468).

use hallpass_endpoint::BuildError;
use rustls_pki_types::{AlgorithmIdentifier, alg_id, pem::SectionKind};

use super::error::{invalid_key, refused};
use crate::{
    pem::{damage, encrypted, is_encrypted, sections},
    provider::{KeyPair, RefusalReason},
    public_key::Curve,
};

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

fn pkcs8(der: &[u8]) -> Result<KeyPair, BuildError> {
    let head = &der[..der.len().min(PKCS8_HEAD)];
    let names = |id: &AlgorithmIdentifier| head.windows(id.len()).any(|window| window == &**id);
    let known = PKCS8.iter().find(|(id, _)| names(id));
    let (_, read) = known.ok_or_else(|| {
        invalid_key("its kind is not supported; use RSA, EC on P-256 or P-384, or Ed25519")
    })?;
    read(der).map_err(refused)
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
