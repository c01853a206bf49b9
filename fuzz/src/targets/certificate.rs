//! X.509 certificates in DER (RFC 5280): the key that is found in one is the key that `x509-cert` finds, and a chain
//! begins with the certificate of its key.

use std::{collections::BTreeSet, sync::LazyLock};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hallpass_jwt::{PublicKey, SigningKey};
use sha2::{Digest as _, Sha256};
use x509_cert::{
    Certificate,
    der::{Decode as _, Encode as _, asn1::AnyRef},
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

/// Returns the certificates of PEM texts in DER.
fn certificates(texts: &[String]) -> Vec<Vec<u8>> {
    let texts = texts.iter();
    let sections = texts.flat_map(|pem| pem.split("-----BEGIN CERTIFICATE-----").skip(1));
    let certificates = sections.filter_map(|section| {
        let base64 = section.split("-----END").next().unwrap_or_default();
        let base64: String = base64.split_whitespace().collect();
        BASE64_STANDARD.decode(base64).ok()
    });
    certificates.collect()
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let samples = certificates(&seeds::keys());
    let others = certificates(&seeds::cases().files);
    let mut seeds = Vec::new();
    for der in samples.iter().chain(&others) {
        seeds.push([&[0], &**der].concat());
        seeds.push([&[CHAIN], &**der].concat());
    }
    // The samples have one name, so each could have issued each other one.
    for first in &samples {
        for second in samples.iter().chain(&others[..1]) {
            seeds.push([&[CHAIN], &**first, &**second].concat());
        }
    }
    seeds
}

/// Returns certificates as PEM.
fn pem<'a>(certificates: impl IntoIterator<Item = &'a [u8]>) -> String {
    let sections = certificates.into_iter().map(|der| {
        let base64 = BASE64_STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
    });
    sections.collect()
}

/// Returns the key of a certificate, if it is of a kind that signs tokens.
fn key_of(certificate: &Certificate) -> Option<PublicKey> {
    let spki = certificate.tbs_certificate().subject_public_key_info();
    PublicKey::from_der(&spki.to_der().unwrap()).ok()
}

pub(crate) fn run(bytes: &[u8]) {
    let (settings, der) = settings(bytes);
    if settings & CHAIN != 0 {
        return chain(der);
    }
    let pem = pem([der]);
    let Some(key) = Certificate::from_der(der).ok().as_ref().and_then(key_of) else {
        return;
    };
    let thumbprint = key.certificate_thumbprint(&pem);
    assert_eq!(thumbprint.ok(), Some(<[u8; 32]>::from(Sha256::digest(der))));
}

/// A chain begins with the certificate of the key, and each certificate names the next one as its issuer.
fn chain(mut rest: &[u8]) {
    static PEM: LazyLock<String> =
        LazyLock::new(|| seeds::text("crates/jwt/src/key/samples/ec-256.pem"));
    let key = SigningKey::from_pem(&PEM).unwrap();
    let public = PublicKey::from_jwk(&key.public_jwk()).unwrap();
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let length =
            AnyRef::from_der_partial(rest).map_or(rest.len(), |(_, next)| rest.len() - next.len());
        let (part, next) = rest.split_at(length);
        parts.push(part);
        rest = next;
    }
    if let Err(error) = key.with_certificate_chain(&pem(parts.iter().copied())) {
        return check_error(&error, CANARY);
    }
    assert!(parts.len() <= 10);
    assert_eq!(BTreeSet::from_iter(&parts).len(), parts.len());
    let certificates: Vec<_> = parts
        .iter()
        .map(|der| Certificate::from_der(der).ok())
        .collect();
    if let Some(own) = &certificates[0] {
        assert_eq!(key_of(own), Some(public));
    }
    for pair in certificates.windows(2) {
        if let [Some(one), Some(next)] = pair {
            let issuer = one.tbs_certificate().issuer();
            assert_eq!(issuer, next.tbs_certificate().subject());
        }
    }
}
