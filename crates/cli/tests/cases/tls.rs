//! A TLS front for a server that speaks plain HTTP, with the certificate of a case.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
        sign::{CertifiedKey, SingleCertAndKey},
    },
};

/// Starts the front for `server` until the runtime ends, and returns its URL.
pub(crate) async fn start_front(server: SocketAddr, certificate: Vec<u8>, key: Vec<u8>) -> String {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&certificate)
        .collect::<Result<_, _>>()
        .unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let key = PrivateKeyDer::from_pem_slice(&key).unwrap();
    let key = provider.key_provider.load_private_key(key).unwrap();
    // Not validated: some certificates are wrong on purpose.
    let certified = SingleCertAndKey::from(CertifiedKey::new(chain, key));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certified));
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // An error means that the client has disconnected or refused the certificate.
                let mut client = acceptor.accept(client).await?;
                let mut server = TcpStream::connect(server).await?;
                io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    url
}
