//! TLS by rustls, with the system's roots or given ones.

use std::sync::{Arc, OnceLock};

use hallpass_core::SecretSource;
use rustls::{
    ClientConfig, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    version::{TLS12, TLS13},
};
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{RedisBuildError, RedisStoreErrorKind as Kind, call_error::CallError, crypto};

/// Root certificates, as PEM.
pub(crate) enum Roots {
    Pem(String),
    /// Read for each connection.
    Source(Box<dyn SecretSource>),
}

/// The settings of TLS connections.
pub(crate) struct Tls {
    roots: RootSettings,
    /// Certificate and key, read for each connection.
    client: Option<Box<dyn SecretSource>>,
}

enum RootSettings {
    /// The system's, read once.
    System(OnceLock<Arc<dyn ServerCertVerifier>>),
    Fixed(Arc<dyn ServerCertVerifier>),
    Source(Box<dyn SecretSource>),
}

impl Tls {
    pub(crate) fn new(
        roots: Option<Roots>,
        client: Option<Box<dyn SecretSource>>,
    ) -> Result<Self, RedisBuildError> {
        let roots = match roots {
            None => RootSettings::System(OnceLock::new()),
            Some(Roots::Pem(pem)) => {
                let verifier = read_roots(&pem);
                let wrong = |message| RedisBuildError::new("tls_roots", message);
                RootSettings::Fixed(verifier.map_err(wrong)?)
            }
            Some(Roots::Source(source)) => RootSettings::Source(source),
        };
        Ok(Self { roots, client })
    }

    pub(crate) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, CallError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            CallError::connection(
                Kind::Tls,
                "the host is not a name that a certificate can have",
            )
        })?;
        let connector = TlsConnector::from(Arc::new(self.config().await?));
        let connected = connector.connect(name, stream).await;
        // The text may quote the server's certificate: a name, a time, no secret.
        connected.map_err(|error| {
            CallError::connection(Kind::Tls, format!("the TLS handshake failed: {error}"))
        })
    }

    async fn config(&self) -> Result<ClientConfig, CallError> {
        let builder = ClientConfig::builder_with_provider(crypto::tls())
            // The default versions depend on the features that other crates enable on rustls.
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|_| {
                CallError::connection(Kind::Tls, "the TLS library supports no protocol version")
            })?;
        let builder = builder
            .dangerous()
            .with_custom_certificate_verifier(self.verifier().await?);
        let Some(client) = &self.client else {
            return Ok(builder.with_no_client_auth());
        };
        let pem = client.secret().await.map_err(|error| {
            CallError::connection(
                Kind::ClientCertificate,
                format!("the client certificate cannot be read: {error}"),
            )
        })?;
        let unusable = || {
            CallError::connection(
                Kind::ClientCertificate,
                "the client certificate or its key is unusable",
            )
        };
        let pem = pem.expose().as_bytes();
        let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|_| unusable())?;
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| unusable())?;
        builder
            .with_client_auth_cert(chain, key)
            .map_err(|_| unusable())
    }

    async fn verifier(&self) -> Result<Arc<dyn ServerCertVerifier>, CallError> {
        let unusable = |why: String| CallError::connection(Kind::RootCertificates, why);
        match &self.roots {
            RootSettings::Fixed(verifier) => Ok(verifier.clone()),
            RootSettings::System(read) => {
                if let Some(verifier) = read.get() {
                    return Ok(verifier.clone());
                }
                let verifier = Verifier::new(crypto::tls())
                    .map_err(|_| unusable("the root certificates cannot be used".to_owned()))?;
                Ok(read.get_or_init(|| Arc::new(verifier)).clone())
            }
            RootSettings::Source(source) => {
                let pem = source.secret().await.map_err(|error| {
                    unusable(format!("the root certificates cannot be read: {error}"))
                })?;
                read_roots(pem.expose())
                    .map_err(|why| unusable(format!("the root certificates cannot be used: {why}")))
            }
        }
    }
}

fn read_roots(pem: &str) -> Result<Arc<dyn ServerCertVerifier>, &'static str> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|_| "the PEM text is damaged or incomplete")?;
        roots
            .add(certificate)
            .map_err(|_| "a certificate cannot be used as a root")?;
    }
    if roots.is_empty() {
        return Err("there is no certificate in the PEM text (`-----BEGIN CERTIFICATE-----`)");
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), crypto::tls());
    let verifier = verifier.build();
    Ok(verifier.map_err(|_| "the root certificates cannot be used")?)
}
