//! The clients of the table, each with its authorizer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use hallpass::{
    AccessToken, Clock as _, Proof, ProofRequest, Prover, SystemClock, TokenError, TokenRequest,
    TokenSource, TokenType, async_trait,
    authorize::Authorizer,
    blocking::{
        AgentExt as _, BlockingAuthorizer, BlockingRequestBuilderExt as _, BlockingTokenSource,
    },
    reqwest_ext::{RequestBuilderExt as _, TokenClient, TokenMiddleware, same_origin_redirects},
    tower_ext::{TokenLayer, TokenService},
};
use http::Request;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as HyperClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use reqwest_middleware::ClientWithMiddleware;
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tower::{Layer as _, Service as _, ServiceExt as _};
use ureq::{
    SendBody,
    tls::{ClientCert, PrivateKey, RootCerts, TlsConfig},
};

use super::{
    cell::{Binding, Body, Cell, Kind},
    server::Server,
};

pub(super) const BODY: &str = "order";

/// A source of `token-1` and, whenever that is refused, the next.
struct Mint {
    is_dpop: bool,
    refused: AtomicUsize,
}

#[async_trait]
impl TokenSource for Mint {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        let text = format!("token-{}", self.refused.load(Relaxed) + 1);
        let (asked, hour) = (SystemClock.moment(), Duration::from_secs(3_600));
        if !self.is_dpop {
            return Ok(AccessToken::bearer(&text, asked, hour)?);
        }
        let token = AccessToken::new(TokenType::Dpop, &text, asked, hour)?;
        Ok(token.with_prover(Arc::new(PlainProver)))
    }

    fn invalidate(&self, _: &AccessToken) {
        self.refused.fetch_add(1, Relaxed);
    }
}

/// A prover whose proof is the method and the URL.
#[derive(Debug)]
struct PlainProver;

#[async_trait]
impl Prover for PlainProver {
    async fn prove(&self, request: &ProofRequest<'_>) -> Result<Proof, TokenError> {
        let text = format!("{} {}", request.method(), request.url());
        let proof = Proof::new(text, SystemClock.wall())?;
        Ok(match request.nonce() {
            Some(nonce) => proof.with_nonce(nonce),
            None => proof,
        })
    }
}

/// The clients of one binding.
pub(super) struct Clients {
    authorizer: Authorizer,
    plain: reqwest::Client,
    same_origin: reqwest::Client,
    ours: TokenClient,
    middleware: ClientWithMiddleware,
    tower: TokenService<HyperClient<HttpsConnector<HttpConnector>, Full<Bytes>>>,
}

pub(super) struct BlockingClients {
    authorizer: BlockingAuthorizer,
    reqwest: reqwest::blocking::Client,
    ureq: ureq::Agent,
}

fn authorizer(server: &Server, source: Arc<dyn TokenSource>) -> Authorizer {
    Authorizer::builder(source)
        .allow_origin(&server.origin(false))
        .allow_origin(&server.origin(true))
        .danger_allow_http_on_loopback()
        .build()
        .unwrap()
}

fn source(binding: Binding) -> Mint {
    Mint {
        is_dpop: binding == Binding::Dpop,
        refused: AtomicUsize::new(0),
    }
}

/// Returns the connector of hyper's client.
fn connector(server: &Server, binding: Binding) -> HttpsConnector<HttpConnector> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(server.root().as_bytes());
    roots.add(root.unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = if binding == Binding::Certificate {
        let pem = server.identity.as_bytes();
        let certificate = CertificateDer::from_pem_slice(pem).unwrap();
        let key = PrivateKeyDer::from_pem_slice(pem).unwrap();
        config
            .with_client_auth_cert(vec![certificate], key)
            .unwrap()
    } else {
        config.with_no_client_auth()
    };
    let builder = HttpsConnectorBuilder::new().with_tls_config(config);
    builder.https_or_http().enable_http1().build()
}

/// Returns the TLS settings of ureq's agent.
fn tls_of_ureq(server: &Server, binding: Binding) -> TlsConfig {
    let certificate = |pem: &str| ureq::tls::Certificate::from_pem(pem.as_bytes()).unwrap();
    let mut config = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(default_provider()))
        .root_certs(RootCerts::new_with_certs(&[certificate(&server.root())]));
    if binding == Binding::Certificate {
        let key = PrivateKey::from_pem(server.identity.as_bytes()).unwrap();
        let chain = [certificate(&server.identity)];
        config = config.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
    }
    config.build()
}

impl Clients {
    pub(super) fn new(server: &Server, binding: Binding) -> Self {
        let authorizer = authorizer(server, Arc::new(source(binding)));
        let builder = || {
            let root = reqwest::Certificate::from_pem(server.root().as_bytes()).unwrap();
            let builder = reqwest::Client::builder().no_proxy().tls_certs_only([root]);
            if binding == Binding::Certificate {
                let identity = reqwest::Identity::from_pem(server.identity.as_bytes());
                return builder.identity(identity.unwrap());
            }
            builder
        };
        let plain = builder().build().unwrap();
        let policy = same_origin_redirects();
        Self {
            same_origin: builder().redirect(policy).build().unwrap(),
            ours: TokenClient::new(authorizer.clone(), builder()).unwrap(),
            middleware: reqwest_middleware::ClientBuilder::new(plain.clone())
                .with(TokenMiddleware::new(authorizer.clone()))
                .build(),
            tower: TokenLayer::new(authorizer.clone()).layer(
                HyperClient::builder(TokioExecutor::new()).build(connector(server, binding)),
            ),
            plain,
            authorizer,
        }
    }

    /// Sends the request of a cell; returns the status.
    pub(super) async fn send(&self, cell: &Cell, url: &str) -> u16 {
        let request = |client: &reqwest::Client| {
            let request = client.request(cell.method.clone(), url);
            match cell.body {
                Body::None => request,
                Body::Memory => request.body(BODY),
                Body::Stream => request.body(reqwest::Body::wrap(Full::new(Bytes::from(BODY)))),
            }
        };
        let status = match cell.kind {
            Kind::Plain => {
                let sent = request(&self.plain).send_with(&self.authorizer).await;
                sent.unwrap().status()
            }
            Kind::SameOrigin => {
                let sent = request(&self.same_origin).send_with(&self.authorizer).await;
                sent.unwrap().status()
            }
            Kind::Ours => {
                let sent = self.ours.send(request(self.ours.http())).await;
                sent.unwrap().status()
            }
            Kind::Middleware => {
                let request = request(&self.plain).build().unwrap();
                self.middleware.execute(request).await.unwrap().status()
            }
            Kind::Tower => {
                let body = if cell.body == Body::None { "" } else { BODY };
                let request = Request::builder().method(cell.method.clone()).uri(url);
                let request = request.body(Full::new(Bytes::from(body))).unwrap();
                let mut service = self.tower.clone();
                let response = service.ready().await.unwrap().call(request).await;
                response.unwrap().status()
            }
            Kind::Blocking | Kind::Ureq => panic!("{:?} is not async", cell.kind),
        };
        status.as_u16()
    }
}

impl BlockingClients {
    pub(super) fn new(server: &Server, binding: Binding) -> Self {
        let tokens = BlockingTokenSource::new(source(binding)).unwrap();
        let authorizer = authorizer(server, tokens.source());
        let root = reqwest::Certificate::from_pem(server.root().as_bytes()).unwrap();
        let mut reqwest = reqwest::blocking::Client::builder()
            .no_proxy()
            .tls_certs_only([root]);
        if binding == Binding::Certificate {
            let identity = reqwest::Identity::from_pem(server.identity.as_bytes());
            reqwest = reqwest.identity(identity.unwrap());
        }
        Self {
            authorizer: BlockingAuthorizer::new(tokens, authorizer),
            reqwest: reqwest.build().unwrap(),
            ureq: ureq::Agent::config_builder()
                .proxy(None)
                .tls_config(tls_of_ureq(server, binding))
                .build()
                .into(),
        }
    }

    /// Sends the request of a cell; returns the status.
    pub(super) fn send(&self, cell: &Cell, url: &str) -> u16 {
        if cell.kind == Kind::Blocking {
            let request = self.reqwest.request(cell.method.clone(), url);
            let request = match cell.body {
                Body::None => request,
                Body::Memory => request.body(BODY),
                Body::Stream => request.body(reqwest::blocking::Body::new(BODY.as_bytes())),
            };
            let sent = request.send_with(&self.authorizer);
            return sent.unwrap().status().as_u16();
        }
        let request = Request::builder().method(cell.method.clone()).uri(url);
        let sent = match cell.body {
            Body::None => {
                let request = request.body(()).unwrap();
                self.ureq.run_with(&self.authorizer, request)
            }
            Body::Memory => {
                let request = request.body(BODY).unwrap();
                self.ureq.run_with(&self.authorizer, request)
            }
            Body::Stream => {
                let mut reader = BODY.as_bytes();
                let request = request.body(SendBody::from_reader(&mut reader)).unwrap();
                self.ureq.run_with(&self.authorizer, request)
            }
        };
        sent.unwrap().status().as_u16()
    }
}
