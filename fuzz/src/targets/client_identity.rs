//! Client certificates with their key, in PEM: what is accepted is written in a form that is read back the same, its
//! key, its dates and its SPIFFE ID are those that `x509-cert` finds, and an error repeats nothing of the text.

use std::time::UNIX_EPOCH;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hallpass_endpoint::ClientIdentity;
use hallpass_jwt::{PublicKey, SigningKey};
use x509_cert::{
    Certificate, Version,
    der::{Decode as _, Encode as _},
};

use crate::{seeds, support::check_key_error};

pub(crate) use super::private_key::WORDS;

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let cases = seeds::cases().files;
    let is_pem = |text: &&String| text.contains("-----BEGIN");
    let pem: Vec<&String> = cases.iter().filter(is_pem).collect();
    let mut seeds = Vec::new();
    for certificate in pem.iter().filter(|text| text.contains("CERTIFICATE")) {
        for key in pem.iter().filter(|text| text.contains("PRIVATE KEY")) {
            seeds.push([certificate.as_bytes(), key.as_bytes()].concat());
        }
    }
    let version_1 = seeds::text("crates/endpoint/src/authentication/mtls/version_1.pem");
    seeds.push(version_1.into_bytes());
    seeds
}

pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let identity = match ClientIdentity::from_pem(text) {
        Ok(identity) => identity,
        Err(error) => return check_key_error(&error, text),
    };
    let pem = identity.expose_pem();
    let again = ClientIdentity::from_pem(pem).unwrap();
    assert_eq!(again.expose_pem(), pem);
    assert_eq!(again.valid_until(), identity.valid_until());
    assert_eq!(again.spiffe_id(), identity.spiffe_id());
    assert_eq!(pem.matches("PRIVATE KEY-----").count(), 2);
    // Of two keys, none is chosen.
    let other = seeds::text("crates/jwt/src/key/samples/ed25519.pem");
    for both in [format!("{pem}{other}"), format!("{other}{pem}")] {
        assert!(ClientIdentity::from_pem(&both).is_err());
    }
    let key = pem.lines().rev().nth(1).unwrap();
    assert!(key.len() < 16 || !format!("{identity:?}").contains(key));

    let (_, base64) = pem.split_once("-----BEGIN CERTIFICATE-----").unwrap();
    let (base64, _) = base64.split_once("-----END").unwrap();
    let base64: String = base64.split_whitespace().collect();
    let der = BASE64_STANDARD.decode(base64).unwrap();
    let Ok(certificate) = Certificate::from_der(&der) else {
        return assert_eq!(identity.valid_until(), None);
    };
    assert_ne!(certificate.tbs_certificate().version(), Version::V1);
    // The certificate is that of the key, as far as `hallpass_jwt` knows its kind.
    let spki = certificate.tbs_certificate().subject_public_key_info();
    let public = PublicKey::from_der(&spki.to_der().unwrap()).ok();
    let key = SigningKey::from_pem(pem).ok();
    let own = key.and_then(|key| PublicKey::from_jwk(&key.public_jwk()).ok());
    assert!(public == own || public.is_none() || own.is_none());
    let not_after = certificate.tbs_certificate().validity().not_after;
    assert_eq!(
        identity.valid_until(),
        Some(UNIX_EPOCH + not_after.to_unix_duration())
    );
    if let Some(id) = identity.spiffe_id() {
        assert!(id.starts_with("spiffe://"));
        let der = der.windows(id.len()).any(|window| window == id.as_bytes());
        assert!(der, "{id}");
    }
    assert!(!format!("{identity:?}").contains("PRIVATE"));
}
