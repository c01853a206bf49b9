//! Responses of an agent that are damaged at each of their bytes.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hallpass_testkit::leak;
use prost::Message as _;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject as _};

use super::{
    ID,
    x509::{response, svid},
};
use crate::{
    WorkloadApi,
    messages::{JwtSvidResponse, X509SvidResponse},
};

/// Returns the bytes without their end, with each bit changed, and with each byte removed or repeated.
fn damaged(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..bytes.len()).flat_map(move |at| {
        let (before, after) = bytes.split_at(at);
        let flipped = (0..8).map(move |bit| {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 1 << bit;
            flipped
        });
        let shorter = [before.to_vec(), [before, &after[1..]].concat()];
        let longer = [before, &after[..1], after].concat();
        flipped.chain(shorter).chain([longer])
    })
}

/// Returns the certificates and the key that another parser reads from the PEM.
fn parsed(pem: &str) -> (Vec<u8>, Vec<u8>) {
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes());
    let certificates: Vec<_> = certificates.map(|der| der.unwrap().to_vec()).collect();
    let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    (certificates.concat(), key.secret_pkcs8_der().to_vec())
}

#[tokio::test]
async fn a_damaged_response_is_refused_or_read_as_it_is() {
    let sent = svid(ID);
    let key = BASE64_STANDARD.encode(&sent.x509_svid_key);
    let bytes = response([sent]).encode_to_vec();
    let api = WorkloadApi::new("unix:///run/agent.sock").unwrap();
    let (mut read, mut refused, mut unreadable) = (0, 0, 0);
    for bytes in damaged(&bytes) {
        let Ok(response) = X509SvidResponse::decode(&*bytes) else {
            unreadable += 1;
            continue;
        };
        let source = api.x509_svid();
        match source.update(response.clone()) {
            Ok(()) => {
                let svid = &response.svids[0];
                let pem = source.latest_pem();
                let sent = (svid.x509_svid.clone(), svid.x509_svid_key.clone());
                assert_eq!(parsed(&pem), sent);
                read += 1;
            }
            Err(error) => {
                leak::assert_clean(&leak::error_chain(&error), &key[..32]);
                refused += 1;
            }
        }
    }
    // Most changes are inside of the certificate or the key, which TLS checks.
    assert!(read > 0 && refused > 0 && unreadable > 0);
}

#[test]
fn a_damaged_response_with_a_jwt_svid_never_panics() {
    let bytes = super::response([super::svid(ID, "CANARY-signature")]).encode_to_vec();
    for bytes in damaged(&bytes) {
        if let Err(error) = JwtSvidResponse::decode(&*bytes) {
            leak::assert_clean(&leak::error_chain(&error), "CANARY");
        }
    }
}
