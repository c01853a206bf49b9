//! Vault over TLS, with a private certificate authority.

use std::sync::Arc;

use hallpass::{Secret, SecretSource as _, secrets::VaultSecret};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::{TlsAcceptor, rustls::pki_types::PrivateKeyDer};

use crate::{tls::Authority, tls_server::server_config};

/// Starts a server for `localhost` that answers each request with one secret. It ends with the runtime.
async fn serve(authority: &Authority) -> String {
    const BODY: &str = r#"{"data":{"data":{"key":"s3cr3t"},"metadata":{"version":1}}}"#;
    let (certificate, key) = authority.issue("localhost", 2099);
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = server_config()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let tls = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            // A client that does not trust the certificate disconnects.
            let Ok(mut client) = tls.accept(client).await else {
                continue;
            };
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(client.read_u8().await.unwrap());
            }
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", BODY.len());
            client.write_all((head + BODY).as_bytes()).await.unwrap();
            client.shutdown().await.unwrap();
        }
    });
    format!("https://localhost:{port}")
}

#[tokio::test]
async fn the_error_for_an_unknown_authority_names_a_setting() {
    let authority = Authority::new("the company");
    let address = serve(&authority).await;
    let vault = || {
        let token = Secret::new("CANARY").unwrap();
        VaultSecret::builder(&address, token, "secret", "orders", "key")
    };
    let error = vault().build().unwrap().secret().await.unwrap_err();
    let text = error.to_string();
    for told in [
        "certificate could not be verified",
        "`localhost:",
        "`add_root_certificates_pem`",
    ] {
        assert!(text.contains(told), "{text}");
    }
    assert!(!error.is_transient() && error.is_inaccessible(), "{text}");

    let trusting = vault().add_root_certificates_pem(authority.certificate().pem());
    let secret = trusting.build().unwrap().secret().await.unwrap();
    assert_eq!(secret.expose(), "s3cr3t");
}
