//! TLS by rustls, with the system's roots or given ones.

use std::sync::{Arc, OnceLock};

use hallpass_core::SecretSource;
use rustls::{
    ClientConfig, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{RedisBuildError, RedisStoreErrorKind as Kind, call_error::CallError, crypto};

/// The settings of TLS connections.
pub(crate) struct Tls {
    /// `None` for the system's.
    roots: Option<Arc<RootCertStore>>,
    /// Certificate and key, read for each connection.
    client: Option<Box<dyn SecretSource>>,
    verifier: OnceLock<Arc<dyn ServerCertVerifier>>,
}

impl Tls {
    pub(crate) fn new(
        roots: Option<&str>,
        client: Option<Box<dyn SecretSource>>,
    ) -> Result<Self, RedisBuildError> {
        Ok(Self {
            roots: roots.map(read_roots).transpose()?.map(Arc::new),
            client,
            verifier: OnceLock::new(),
        })
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
            .with_safe_default_protocol_versions()
            .map_err(|_| {
                CallError::connection(Kind::Tls, "the TLS library supports no protocol version")
            })?;
        let builder = builder
            .dangerous()
            .with_custom_certificate_verifier(self.verifier()?);
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

    /// Returns the verifier; the system's roots are read once.
    fn verifier(&self) -> Result<Arc<dyn ServerCertVerifier>, CallError> {
        if let Some(verifier) = self.verifier.get() {
            return Ok(verifier.clone());
        }
        let unusable = |_| {
            CallError::connection(
                Kind::RootCertificates,
                "the root certificates cannot be used",
            )
        };
        let verifier: Arc<dyn ServerCertVerifier> = match &self.roots {
            Some(roots) => {
                WebPkiServerVerifier::builder_with_provider(roots.clone(), crypto::tls())
                    .build()
                    .map_err(|_| {
                        CallError::connection(
                            Kind::RootCertificates,
                            "the root certificates cannot be used",
                        )
                    })?
            }
            None => Arc::new(Verifier::new(crypto::tls()).map_err(unusable)?),
        };
        Ok(self.verifier.get_or_init(|| verifier).clone())
    }
}

fn read_roots(pem: &str) -> Result<RootCertStore, RedisBuildError> {
    let wrong = |message| RedisBuildError::new("tls_roots", message);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate =
            certificate.map_err(|_| wrong("the PEM text is damaged or incomplete"))?;
        roots
            .add(certificate)
            .map_err(|_| wrong("a certificate cannot be used as a root"))?;
    }
    if roots.is_empty() {
        return Err(wrong(
            "there is no certificate in the PEM text (`-----BEGIN CERTIFICATE-----`)",
        ));
    }
    Ok(roots)
}
