//! A TLS front that identifies one client by its certificate, for a server that checks secrets, like a proxy that
//! terminates mTLS.

use hallpass::{
    Secret,
    endpoint::{HttpTransport, HttpTransportBuilder, MutualTls},
};
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::{net::SocketAddr, sync::Arc};
use tokio::{
    io::{self, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{RootCertStore, pki_types::PrivateKeyDer},
};

use crate::tls_server::{client_verifier, server_config};

/// The settings that a client needs to reach the server through the front.
pub(crate) struct TlsFront {
    pub(crate) url: String,
    pub(crate) transport: HttpTransportBuilder,
    pub(crate) authentication: MutualTls,
}

impl TlsFront {
    /// Starts a front for the plain HTTP server at this URL, and adds `secret` to each form. It ends with the runtime.
    pub(crate) fn before(url: &str, secret: &str) -> Self {
        let rest = url.strip_prefix("http://").unwrap();
        let (server, path) = rest.split_once('/').unwrap();
        let server: SocketAddr = server.parse().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let issue = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new([name.to_owned()]).unwrap();
            (params.signed_by(&key, &authority).unwrap(), key)
        };
        let mut roots = RootCertStore::empty();
        roots.add(authority.as_ref().der().clone()).unwrap();
        let verifier = client_verifier(roots).build();
        let (own, key) = issue("localhost");
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = server_config()
            .with_client_cert_verifier(verifier.unwrap())
            .with_single_cert(vec![own.der().clone()], key)
            .unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let escaped = secret.bytes().map(|byte| format!("%{byte:02X}"));
        let parameter = format!("&client_secret={}", escaped.collect::<String>());
        tokio::spawn(serve(
            TcpListener::from_std(listener).unwrap(),
            TlsAcceptor::from(Arc::new(config)),
            server,
            parameter,
        ));
        let (certificate, key) = issue("client");
        let pem = certificate.pem() + &key.serialize_pem();
        Self {
            url: format!("https://localhost:{port}/{path}"),
            transport: HttpTransport::builder()
                .add_root_certificates_pem(authority.as_ref().pem())
                .only_added_root_certificates(),
            authentication: MutualTls::new(Secret::new(pem).unwrap()),
        }
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, server: SocketAddr, parameter: String) {
    let parameter = Arc::new(parameter);
    while let Ok((client, _)) = listener.accept().await {
        let (tls, parameter) = (tls.clone(), parameter.clone());
        tokio::spawn(async move {
            // If nothing listens, the connection is closed, as it would be without the front.
            let server = TcpStream::connect(server).await?;
            let (from_client, mut to_client) = io::split(tls.accept(client).await?);
            let (mut from_server, to_server) = server.into_split();
            // The server decides when the response ends; it is passed on unchanged, including faults.
            tokio::select! {
                copied = io::copy(&mut from_server, &mut to_client) => { copied?; }
                passed = pass(from_client, to_server, &parameter) => passed?,
            }
            to_client.shutdown().await
        });
    }
}

/// Forwards requests, each with the parameter appended to its form.
async fn pass(
    from: impl io::AsyncRead + Unpin,
    mut to: impl io::AsyncWrite + Unpin,
    parameter: &str,
) -> io::Result<()> {
    const LENGTH: &str = "content-length: ";
    let mut from = io::BufReader::new(from);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if io::AsyncBufReadExt::read_line(&mut from, &mut head).await? == 0 {
                return Ok(());
            }
        }
        let at = head.to_ascii_lowercase().find(LENGTH).unwrap() + LENGTH.len();
        let digits = head[at..].split("\r\n").next().unwrap().to_owned();
        let length: usize = digits.parse().unwrap();
        let mut form = vec![0; length];
        from.read_exact(&mut form).await?;
        let longer = (length + parameter.len()).to_string();
        head.replace_range(at..at + digits.len(), &longer);
        to.write_all(head.as_bytes()).await?;
        to.write_all(&form).await?;
        to.write_all(parameter.as_bytes()).await?;
    }
}
