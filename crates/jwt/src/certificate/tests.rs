use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::*;
use crate::PublicKey;

/// Returns true if this certificate is for this key.
fn is_of(der: &[u8], key: &PublicKey) -> bool {
    key_of(der).is_some_and(|found| PublicKey::from_der(found).is_ok_and(|found| found == *key))
}

/// A chain of certificates for a key: the key's own one, its issuer's, and the root's.
struct Chain {
    key: PublicKey,
    pem: [String; 3],
}

impl Chain {
    fn new() -> Self {
        let name = |name: &str, is_authority: bool| {
            let mut params = CertificateParams::new([]).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            if is_authority {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            }
            params
        };
        let keys = [(); 3].map(|()| KeyPair::generate().unwrap());
        let [leaf_key, middle_key, root_key] = keys;
        let key = PublicKey::from_pem(&leaf_key.public_key_pem()).unwrap();
        let (leaf, middle, root) = (
            name("leaf", false),
            name("middle", true),
            name("root", true),
        );
        let root_pem = root.self_signed(&root_key).unwrap().pem();
        let root = Issuer::new(root, root_key);
        let middle_pem = middle.signed_by(&middle_key, &root).unwrap().pem();
        let middle = Issuer::new(middle, middle_key);
        let leaf_pem = leaf.signed_by(&leaf_key, &middle).unwrap().pem();
        Self {
            key,
            pem: [leaf_pem, middle_pem, root_pem],
        }
    }

    /// Returns these certificates in one text.
    fn text(&self, order: &[usize]) -> String {
        order.iter().map(|at| &*self.pem[*at]).collect()
    }
}

#[test]
fn a_chain_leads_from_the_keys_certificate_upwards() {
    let certified = Chain::new();
    for order in [&[0][..], &[0, 1], &[0, 1, 2]] {
        let found = certified
            .key
            .certificate_chain(&certified.text(order))
            .unwrap();
        assert_eq!(found.len(), order.len());
        assert!(is_of(&found[0], &certified.key));
    }
}

#[test]
fn a_wrong_chain_is_refused_with_the_reason() {
    let certified = Chain::new();
    let other = Chain::new();
    let many: String = (0..11).map(|_| certified.pem[0].clone()).collect();
    let damaged = "-----BEGIN CERTIFICATE-----\nMAAwAA==\n-----END CERTIFICATE-----\n";
    let nested = {
        // Sequences within sequences, each as long as the rest.
        let mut der = Vec::new();
        for _ in 0..2_000 {
            let length = u16::try_from(der.len()).unwrap().to_be_bytes();
            der.splice(0..0, [0x30, 0x82, length[0], length[1]]);
        }
        let body = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, der);
        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    };
    let of_length = |length: usize| {
        let body = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, vec![0x30; length]);
        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    };
    let rest = MAX_CHAIN_BYTES - certificates(&certified.pem[0]).unwrap()[0].len();
    for (text, says) in [
        (String::new(), "no certificate in PEM"),
        (other.text(&[0]), "no certificate of this key"),
        (certified.text(&[1, 0]), "it is certificate 2"),
        (
            certified.text(&[0, 2]),
            "certificate 2 of the chain did not issue certificate 1",
        ),
        (certified.text(&[0, 2, 1]), "did not issue certificate 1"),
        (
            certified.text(&[0, 1, 1]),
            "certificate 3 of the chain is there twice",
        ),
        (
            certified.text(&[0]) + damaged,
            "certificate 2 of the chain is damaged",
        ),
        (
            certified.text(&[0]) + &nested,
            "certificate 2 of the chain is damaged",
        ),
        (many, "the chain has 11 certificates"),
        (
            certified.text(&[0; 10]),
            "certificate 2 of the chain is there twice",
        ),
        (
            certified.text(&[0]) + &of_length(rest),
            "certificate 2 of the chain is damaged",
        ),
        (
            certified.text(&[0]) + &of_length(rest + 1),
            "2 certificates in 33 KiB; at most 10 in 32 KiB",
        ),
    ] {
        let error = certified.key.certificate_chain(&text).unwrap_err();
        assert_eq!(error.setting(), "certificate");
        assert!(error.to_string().contains(says), "{says}: {error}");
    }
}

#[test]
fn a_key_elsewhere_in_a_certificate_does_not_count() {
    let certified = Chain::new();
    let other = Chain::new();
    let mut params = CertificateParams::new([]).unwrap();
    let point = certified.key.to_jwk().into_bytes();
    let own = certificates(&certified.pem[0]).unwrap();
    let copied =
        rcgen::CustomExtension::from_oid_content(&[1, 2, 3], [point, own[0].to_vec()].concat());
    params.custom_extensions.push(copied);
    let impostor = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    assert!(!is_of(impostor.der(), &certified.key));
    assert!(is_of(&own[0], &certified.key) && !is_of(&own[0], &other.key));
}

#[test]
fn no_prefix_and_no_changed_byte_panics() {
    let certified = Chain::new();
    let own = certificates(&certified.pem[0]).unwrap();
    for end in 0..own[0].len() {
        assert!(!is_of(&own[0][..end], &certified.key), "{end}");
        let mut changed = own[0].to_vec();
        changed[end] ^= 0xff;
        let _ = is_of(&changed, &certified.key);
    }
}
