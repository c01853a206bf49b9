//! X.509 certificates in DER (RFC 5280): the key that is found in one is the key that `x509-cert` finds.

use std::sync::LazyLock;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hallpass_jwt::{PublicKey, SigningKey};
use sha2::{Digest as _, Sha256};
use x509_cert::{
    Certificate,
    der::{Decode as _, Encode as _},
};

use crate::{
    seeds,
    support::{CANARY, check_error, settings},
};

pub(crate) const WORDS: &[&str] = &[
    "\x30\x39\x02\x01",
    "\x06\x07\x2a\x65",
    "\x31\x0b",
    "\x30\x0d\x06",
];

const CHAIN: u8 = 1;

fn certificates() -> Vec<String> {
    let files = seeds::cases().files;
    files
        .into_iter()
        .filter(|text| text.contains("BEGIN CERTIFICATE"))
        .collect()
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for pem in certificates() {
        for section in pem.split("-----BEGIN CERTIFICATE-----").skip(1) {
            let base64 = section.split("-----END").next().unwrap_or_default();
            let base64: String = base64.split_whitespace().collect();
            if let Ok(der) = BASE64_STANDARD.decode(base64) {
                seeds.push([&[0], &*der].concat());
                seeds.push([&[CHAIN], &*der].concat());
            }
        }
    }
    seeds
}

pub(crate) fn run(bytes: &[u8]) {
    let (settings, der) = settings(bytes);
    let base64 = BASE64_STANDARD.encode(der);
    let pem = format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n");
    if settings & CHAIN != 0 {
        static PEM: LazyLock<String> =
            LazyLock::new(|| seeds::text("crates/jwt/src/key/samples/ec-256.pem"));
        let key = SigningKey::from_pem(&PEM).unwrap();
        if let Err(error) = key.with_certificate_chain(&pem) {
            check_error(&error, CANARY);
        }
    }
    let Ok(certificate) = Certificate::from_der(der) else {
        return;
    };
    let spki = certificate.tbs_certificate().subject_public_key_info();
    let spki = spki.to_der().unwrap();
    let Ok(key) = PublicKey::from_der(&spki) else {
        return;
    };
    let thumbprint = key.certificate_thumbprint(&pem);
    assert_eq!(thumbprint.ok(), Some(<[u8; 32]>::from(Sha256::digest(der))));
}
