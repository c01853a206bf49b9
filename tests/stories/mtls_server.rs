//! A server that identifies clients by their certificates, and binds its tokens to them.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use hallpass::{
    AccessToken, TokenError, TokenRequest, TokenSource,
    endpoint::{ClientCredentials, HttpTransportBuilder, MutualTls, Retry, SourceBuilder},
};
use hallpass_testkit::RotatingSecret;
use http::{Request, Response, StatusCode};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        HandshakeKind, RootCertStore,
        pki_types::{CertificateDer, PrivateKeyDer},
    },
};

use crate::{
    support::ID,
    tls::Authority,
    tls_server::{client_verifier, server_config},
};

/// A client's certificate with its key, as PEM text.
pub(crate) struct Identity {
    pub(crate) name: &'static str,
    der: CertificateDer<'static>,
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Identity {
    pub(crate) fn new(authority: &Authority, name: &'static str) -> Self {
        let (certificate, key) = authority.issue(name, 2999);
        Self {
            name,
            der: certificate.der().clone(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    pub(crate) fn pem(&self) -> String {
        format!("{}{}", self.certificate, self.key)
    }
}

/// A request, and the connection on which it arrived.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) connection: usize,
    pub(crate) resumed: bool,
    /// The client whose certificate the connection presented.
    pub(crate) client: String,
    pub(crate) path: String,
    pub(crate) form: String,
    pub(crate) status: u16,
}

pub(crate) struct MtlsServer {
    pub(crate) authority: Authority,
    address: SocketAddr,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct State {
    known: Mutex<Vec<(CertificateDer<'static>, &'static str)>>,
    records: Mutex<Vec<Record>>,
    /// The closed connections.
    ended: Mutex<Vec<usize>>,
    metadata: Mutex<String>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

impl MtlsServer {
    /// Starts a server that requires a client certificate from its own authority during the TLS handshake.
    pub(crate) async fn start() -> Self {
        Self::with(false).await
    }

    /// Starts a server that also accepts clients without a certificate.
    pub(crate) async fn open_to_all() -> Self {
        Self::with(true).await
    }

    async fn with(open: bool) -> Self {
        let authority = Authority::new("ours");
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate().der().clone()).unwrap();
        let verifier = client_verifier(roots);
        let verifier = if open {
            verifier.allow_unauthenticated()
        } else {
            verifier
        };
        let (certificate, key) = authority.issue("localhost", 2999);
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = server_config()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<State>::default();
        let mut tasks = JoinSet::new();
        let serving = state.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, state) = (acceptor.clone(), serving.clone());
                connections.spawn(async move {
                    // An error is the end of the connection.
                    let _ = serve(acceptor, stream, connection, state.clone()).await;
                    locked(&state.ended).push(connection);
                });
            }
        });
        Self {
            authority,
            address,
            state,
            _tasks: tasks,
        }
    }

    pub(crate) fn issuer(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.issuer())
    }

    pub(crate) fn identity(&self, name: &'static str) -> Identity {
        Identity::new(&self.authority, name)
    }

    /// Registers this certificate for its client.
    pub(crate) fn register(&self, identity: &Identity) {
        locked(&self.state.known).push((identity.der.clone(), identity.name));
    }

    pub(crate) fn forget(&self, identity: &Identity) {
        locked(&self.state.known).retain(|(_, name)| *name != identity.name);
    }

    pub(crate) fn publish(&self, metadata: String) {
        *locked(&self.state.metadata) = metadata;
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        locked(&self.state.records).clone()
    }

    pub(crate) fn token_requests(&self) -> Vec<Record> {
        let mut records = self.records();
        records.retain(|record| record.path == "/token");
        records
    }

    pub(crate) fn ended(&self) -> Vec<usize> {
        locked(&self.state.ended).clone()
    }

    pub(crate) fn transport(&self) -> HttpTransportBuilder {
        self.authority.transport()
    }

    /// Creates a source without retries.
    pub(crate) fn source(&self, authentication: MutualTls) -> SourceBuilder<ClientCredentials> {
        ClientCredentials::builder(self.url("/token"), ID, authentication)
            .transport(self.transport().build().unwrap())
            .retry(Retry::new())
    }
}

/// Creates a registered client whose certificate a test replaces.
pub(crate) fn client(server: &MtlsServer, name: &'static str) -> (Identity, RotatingSecret) {
    let identity = server.identity(name);
    server.register(&identity);
    let text = RotatingSecret::new(&identity.pem());
    (identity, text)
}

pub(crate) async fn ask(source: &impl TokenSource) -> Result<AccessToken, TokenError> {
    source.token(&TokenRequest::default()).await
}

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// A connection, and the certificate it presented.
#[derive(Clone)]
struct Connection {
    number: usize,
    resumed: bool,
    presented: Option<CertificateDer<'static>>,
    state: Arc<State>,
}

async fn serve(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    number: usize,
    state: Arc<State>,
) -> Outcome {
    let stream = acceptor.accept(stream).await?;
    let (_, tls) = stream.get_ref();
    let connection = Connection {
        number,
        resumed: tls.handshake_kind() == Some(HandshakeKind::Resumed),
        presented: tls.peer_certificates().and_then(<[_]>::first).cloned(),
        state,
    };
    let mut h2 = h2::server::handshake(stream).await?;
    // Each in its own task: a body arrives only while the connection is polled for the next request.
    let mut requests = JoinSet::new();
    while let Some(request) = h2.accept().await {
        let (request, respond) = request?;
        requests.spawn(connection.clone().answer(request, respond));
    }
    Ok(())
}

impl Connection {
    /// Returns the client to whom the certificate belongs.
    fn client(&self) -> &'static str {
        let Some(presented) = &self.presented else {
            return "nobody";
        };
        let known = locked(&self.state.known);
        let known = known.iter().find(|(known, _)| known == presented);
        known.map_or("a stranger", |(_, name)| name)
    }

    async fn answer(
        self,
        request: Request<h2::RecvStream>,
        mut respond: h2::server::SendResponse<bytes::Bytes>,
    ) -> Outcome {
        let (head, mut body) = request.into_parts();
        let mut form = Vec::new();
        while let Some(chunk) = body.data().await {
            form.extend_from_slice(&chunk?);
        }
        let client = self.client();
        let head = Request::from_parts(head, ());
        let (status, text) = {
            let mut records = locked(&self.state.records);
            let (status, text) = answer(&head, client, records.len(), &self.state);
            records.push(Record {
                connection: self.number,
                resumed: self.resumed,
                client: client.to_owned(),
                path: head.uri().path().to_owned(),
                form: String::from_utf8(form)?,
                status: status.as_u16(),
            });
            (status, text)
        };
        let head = Response::builder()
            .status(status)
            .header("content-type", "application/json")
            .body(())?;
        respond
            .send_response(head, false)?
            .send_data(text.into(), true)?;
        Ok(())
    }
}

/// Handles an API call. A token names the client to whose certificate it is bound, and is accepted only on that
/// client's connections.
fn answer(request: &Request<()>, client: &str, nth: usize, state: &State) -> (StatusCode, String) {
    let stranger = matches!(client, "nobody" | "a stranger");
    match request.uri().path() {
        "/.well-known/oauth-authorization-server" => {
            (StatusCode::OK, locked(&state.metadata).clone())
        }
        "/token" if stranger => (
            StatusCode::UNAUTHORIZED,
            r#"{"error":"invalid_client"}"#.to_owned(),
        ),
        "/token" => (
            StatusCode::OK,
            format!(
                r#"{{"access_token":"{client}.{nth}","token_type":"Bearer","expires_in":3600}}"#
            ),
        ),
        "/introspect" if !stranger => (StatusCode::OK, r#"{"active":true}"#.to_owned()),
        _ => {
            let header = request.headers().get("authorization");
            let bound = header.and_then(|header| header.to_str().ok()?.strip_prefix("Bearer "));
            let holds = bound.and_then(|token| token.split('.').next()) == Some(client);
            let status = if holds {
                StatusCode::OK
            } else {
                StatusCode::UNAUTHORIZED
            };
            (status, "{}".to_owned())
        }
    }
}
