//! A key in a hardware token, against a certified authorization server that has its public key.

use std::path::Path;

use hallpass::{
    ErrorKind, Secret, TokenRequest, TokenSource,
    cache::CachedTokenSource,
    endpoint::ClientCredentials,
    jwt::{Algorithm, AssertionSettings, Pkcs11Signer, PrivateKeyJwt},
};

use crate::{
    peer::OidcProvider,
    shared::softhsm::{LABEL, PIN, SoftHsm},
};

// covers: C-39, C-45
#[tokio::test]
async fn it_takes_what_a_hardware_token_signs() {
    let test = "oidc_pkcs11::it_takes_what_a_hardware_token_signs";
    let Some(hsm) = SoftHsm::alone(test) else {
        return;
    };
    let Some(mut peer) = OidcProvider::start(&[]).await else {
        return;
    };
    for (number, name, algorithm) in [
        ("01", "es256", Algorithm::Es256),
        ("02", "es384", Algorithm::Es384),
        ("03", "rs256", Algorithm::Rs256),
        ("04", "ps256", Algorithm::Ps256),
    ] {
        let pem = Path::new(peer.received("keys")).join(format!("{name}.pem"));
        hsm.import(&pem, name, number);
        let id = format!("key-{name}");
        let source = CachedTokenSource::new(client(&peer, &id, signer(&hsm, name, algorithm)));
        for _ in 0..3 {
            let token = source.token(&TokenRequest::default()).await.expect(name);
            assert_eq!(token.scopes().as_str(), "api:read");
        }
        assert_eq!(peer.served().await, 200, "{name}");
    }
    // If the token does not sign, nothing is sent.
    let unfit = client(&peer, "key-es256", signer(&hsm, "es256", Algorithm::Es384));
    let error = unfit.token(&TokenRequest::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    // A valid signature, but by another client's key.
    let wrong = client(&peer, "key-es256", signer(&hsm, "rs256", Algorithm::Rs256));
    let error = wrong.token(&TokenRequest::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CredentialsRefused, "{error}");
    assert_eq!(peer.served().await, 401);
}

fn signer(hsm: &SoftHsm, name: &str, algorithm: Algorithm) -> Pkcs11Signer {
    Pkcs11Signer::builder(hsm.module(), algorithm, Secret::new(PIN).unwrap())
        .token_label(LABEL)
        .object_label(name)
        .key_id(name)
        .build()
        .unwrap()
}

fn client(peer: &OidcProvider, id: &str, signer: Pkcs11Signer) -> ClientCredentials {
    let settings = AssertionSettings::new(peer.received("issuer")).unwrap();
    let authentication = PrivateKeyJwt::new(settings, signer);
    ClientCredentials::builder(peer.received("token_endpoint"), id, authentication)
        .danger_allow_http_on_loopback()
        .scope("api:read")
        .build()
        .unwrap()
}
