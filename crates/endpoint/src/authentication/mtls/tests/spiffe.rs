use hallpass_core::ErrorKind;
use hallpass_testkit::RotatingSecret;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, SanType};

use super::super::*;

const ID: &str = "spiffe://acme.example/orders";

/// Creates a certificate with these URIs, and its key, in one text.
fn svid(uris: &[&str], is_ca: IsCa) -> String {
    let mut params = CertificateParams::new(["orders.example".to_owned()]).unwrap();
    let uri = |uri: &&str| SanType::URI((*uri).try_into().unwrap());
    params.subject_alt_names.extend(uris.iter().map(uri));
    params.is_ca = is_ca;
    let key = KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().pem() + &key.serialize_pem()
}

async fn credentials(pem: &str, client_id: &str) -> Result<Credentials, TokenError> {
    let authentication = MutualTls::new(RotatingSecret::new(pem)).spiffe();
    assert_eq!(authentication.method(), Some("spiffe_x509"));
    let context = AuthenticationContext::new(client_id, "https://login.example/token");
    authentication.credentials(&context).await
}

#[tokio::test]
async fn the_client_id_is_the_spiffe_id_of_the_certificate() {
    let pem = svid(&[ID], IsCa::ExplicitNoCa);
    let sent = credentials(&pem, ID).await.unwrap();
    assert!(sent.expose_parameters().eq([("client_id", ID)]));
    assert_eq!(sent.identity().unwrap().spiffe_id(), Some(ID));
    for other in [
        "orders",
        "spiffe://acme.example/other",
        "spiffe://acme.example/orders/",
    ] {
        let error = credentials(&pem, other).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains(ID), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_that_is_no_svid_is_not_presented() {
    let authority = IsCa::Ca(BasicConstraints::Unconstrained);
    for pem in [
        svid(&[], IsCa::NoCa),
        svid(&[ID, ID], IsCa::NoCa),
        svid(&[ID, "spiffe://acme.example/other"], IsCa::NoCa),
        svid(&["https://acme.example/orders"], IsCa::NoCa),
        svid(&[ID], authority),
    ] {
        let error = credentials(&pem, ID).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("as its only URI"), "{error}");
    }
}
