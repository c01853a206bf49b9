//! The authorization server behind TLS and the fault proxy, and the API over HTTP and gRPC.

use std::{
    collections::{HashMap, HashSet},
    future::ready,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use axum::{
    Router,
    extract::{ConnectInfo, Path, Request, State, connect_info::Connected},
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::{IncomingStream, Listener},
};
use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    time,
};
use tokio_rustls::{TlsAcceptor, rustls::pki_types::CertificateDer, server::TlsStream};
use tonic::{Status, body::Body, service::Routes, transport::server::TcpIncoming};
use tonic_prost::ProstCodec;

use crate::{
    MARKER,
    fault_proxy::{Fault, forward},
    ledger::{Key, Ledger, Micros, Verdict, now},
    scan::Scanner,
};

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

pub(crate) const ISSUER: &str = "https://issuer.example";
/// The path of the API's method over gRPC.
pub(crate) const GRPC_METHOD: &str = "/soak.Api/Call";

/// A fault of the authorization server in HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HttpFault {
    None,
    Unavailable,
    /// 429 with this `Retry-After` in seconds.
    TooManyRequests(u64),
}

/// The credentials of a client; the last element of each list is the current one.
#[derive(Default)]
pub(crate) struct Credentials {
    pub(crate) secrets: Vec<String>,
    /// Seeds of Ed25519 keys.
    pub(crate) keys: Vec<[u8; 32]>,
    pub(crate) certificates: Vec<CertificateDer<'static>>,
}

/// The state of the servers.
pub(crate) struct World {
    pub(crate) ledger: Mutex<Ledger>,
    pub(crate) clients: Mutex<HashMap<String, Credentials>>,
    /// The `jti` of each assertion that authenticated a client.
    assertions: Mutex<HashSet<String>>,
    pub(crate) http_fault: Mutex<HttpFault>,
    pub(crate) network_fault: watch::Sender<Fault>,
    /// True while the proxy refuses connections.
    pub(crate) refuses: watch::Sender<bool>,
    pub(crate) tls: RwLock<TlsAcceptor>,
    random: Mutex<fastrand::Rng>,
    scanner: Arc<Scanner>,
}

/// Locks a mutex; its data are plain values, which a panic elsewhere leaves whole.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The ports of the servers.
#[derive(Clone, Copy)]
pub(crate) struct Ports {
    /// The proxy before the authorization server.
    pub(crate) issuer: u16,
    pub(crate) http: u16,
    pub(crate) grpc: u16,
}

impl World {
    pub(crate) fn new(seed: u64, tls: TlsAcceptor, scanner: Arc<Scanner>) -> Arc<Self> {
        Arc::new(Self {
            ledger: Mutex::default(),
            clients: Mutex::default(),
            assertions: Mutex::default(),
            http_fault: Mutex::new(HttpFault::None),
            network_fault: watch::channel(Fault::None).0,
            refuses: watch::channel(false).0,
            tls: RwLock::new(tls),
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
            scanner,
        })
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        locked(&self.ledger)
    }

    /// Starts all servers. They end with the runtime.
    pub(crate) async fn serve(self: &Arc<Self>) -> io::Result<Ports> {
        let tls = TlsListener::start(self.clone()).await?;
        let tls_port = tls.1;
        let issuer = Router::new()
            .route("/token", post(token))
            .with_state(self.clone())
            .into_make_service_with_connect_info::<Presented>();
        tokio::spawn(async move { axum::serve(tls, issuer).await });

        let http = TcpListener::bind("127.0.0.1:0").await?;
        let http_port = http.local_addr()?.port();
        let api = Router::new().route("/api/{audience}", get(api));
        let api = api.with_state(self.clone());
        tokio::spawn(async move { axum::serve(http, api).await });

        let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into())?;
        let grpc_port = incoming.local_addr()?.port();
        let api = Router::new().route(GRPC_METHOD, post(grpc));
        let api = Routes::from(api.with_state(self.clone()));
        let grpc = tonic::transport::Server::builder().add_routes(api);
        tokio::spawn(grpc.serve_with_incoming(incoming));

        let proxy = TcpListener::bind("127.0.0.1:0").await?;
        let issuer_port = proxy.local_addr()?.port();
        tokio::spawn(self.clone().forward(proxy, tls_port));
        Ok(Ports {
            issuer: issuer_port,
            http: http_port,
            grpc: grpc_port,
        })
    }

    /// Accepts connections, but not while connections are refused.
    async fn forward(self: Arc<Self>, mut listener: TcpListener, to: u16) -> io::Result<()> {
        let address = listener.local_addr()?;
        let mut refuses = self.refuses.subscribe();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => Some(accepted),
                _ = refuses.wait_for(|refuses| *refuses) => None,
            };
            match accepted {
                Some(Ok((client, _))) => {
                    tokio::spawn(forward(client, to, self.network_fault.subscribe()));
                }
                Some(Err(_)) => {}
                None => {
                    drop(listener);
                    let _ = refuses.wait_for(|refuses| !*refuses).await;
                    listener = TcpListener::bind(address).await?;
                }
            }
        }
    }

    /// Returns a number below `limit`.
    fn random(&self, limit: u64) -> u64 {
        locked(&self.random).u64(0..limit)
    }

    /// Returns the client that the request authenticates.
    fn authenticate(
        &self,
        headers: &HeaderMap,
        form: &HashMap<String, String>,
        presented: &Presented,
    ) -> Option<String> {
        let clients = locked(&self.clients);
        if let Some(assertion) = form.get("client_assertion") {
            self.scanner.receive(assertion);
            return self.verify(assertion, &clients);
        }
        let basic = headers.get(AUTHORIZATION).and_then(|header| {
            let encoded = header.to_str().ok()?.strip_prefix("Basic ")?;
            String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok()
        });
        let (id, secret) = match (&basic, form.get("client_secret")) {
            (Some(basic), _) => basic.split_once(':')?,
            (None, Some(secret)) => (form.get("client_id")?.as_str(), secret.as_str()),
            (None, None) => (form.get("client_id")?.as_str(), ""),
        };
        let client = clients.get(id)?;
        let knows_secret = client.secrets.iter().any(|known| known == secret);
        let certificate = presented.0.as_ref();
        let knows_certificate =
            certificate.is_some_and(|presented| client.certificates.contains(presented));
        (knows_secret || knows_certificate).then(|| id.to_owned())
    }

    /// Returns the client that signed this assertion (RFC 7523).
    fn verify(&self, assertion: &str, clients: &HashMap<String, Credentials>) -> Option<String> {
        let (message, signature) = assertion.rsplit_once('.')?;
        let claims = BASE64_URL_SAFE_NO_PAD.decode(message.split_once('.')?.1);
        let claims: Value = serde_json::from_slice(&claims.ok()?).ok()?;
        let id = claims["sub"].as_str()?;
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
        let signed = clients.get(id)?.keys.iter().any(|seed| {
            let pair = Ed25519KeyPair::from_seed_unchecked(seed).unwrap();
            let public = UnparsedPublicKey::new(&ED25519, *pair.public_key());
            public.verify(message.as_bytes(), &signature).is_ok()
        });
        let in_time = claims["exp"].as_u64()? > now() / 1_000_000;
        let accepted = signed && in_time && claims["aud"] == ISSUER && claims["iss"] == id;
        let is_new = locked(&self.assertions).insert(claims["jti"].as_str()?.to_owned());
        (accepted && is_new).then(|| id.to_owned())
    }

    /// Decides about an API call.
    fn call(&self, audience: &str, protocol: &'static str, headers: &HeaderMap) -> Verdict {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let number = |name: &str| text(name).and_then(|number| number.parse().ok());
        let bearer = text("authorization").and_then(|header| header.strip_prefix("Bearer "));
        // Calls of the command have no number.
        let id = number("x-call").unwrap_or_else(|| u64::MAX - self.random(1 << 40));
        let start: Micros = number("x-start").unwrap_or_else(now);
        let verdict = self
            .ledger()
            .call(bearer.unwrap_or_default(), audience, protocol, id, start);
        if verdict == Verdict::Accepted && text("x-call").is_some() && self.random(50) == 0 {
            return Verdict::Fault;
        }
        verdict
    }
}

/// The client certificate of a connection.
#[derive(Clone)]
struct Presented(Option<CertificateDer<'static>>);

impl Connected<IncomingStream<'_, TlsListener>> for Presented {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        let (_, tls) = stream.io().get_ref();
        let presented = tls.peer_certificates().and_then(<[_]>::first);
        Self(presented.cloned())
    }
}

/// Connections after their handshake, and the port.
struct TlsListener(mpsc::Receiver<TlsStream<TcpStream>>, u16);

impl TlsListener {
    async fn start(world: Arc<World>) -> io::Result<Self> {
        const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (ready, accepted) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = world.tls.read().unwrap_or_else(PoisonError::into_inner);
                let (handshake, ready) = (acceptor.accept(stream), ready.clone());
                tokio::spawn(async move {
                    if let Ok(Ok(stream)) = time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
                        let _ = ready.send(stream).await;
                    }
                });
            }
        });
        Ok(Self(accepted, port))
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = u16;

    async fn accept(&mut self) -> (Self::Io, u16) {
        match self.0.recv().await {
            Some(stream) => (stream, self.1),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<u16> {
        Ok(self.1)
    }
}

/// The token endpoint.
async fn token(
    State(world): State<Arc<World>>,
    ConnectInfo(presented): ConnectInfo<Presented>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let form = reqwest::Url::parse(&format!("http://form/?{body}")).unwrap();
    let form: HashMap<String, String> = form.query_pairs().into_owned().collect();
    let client = world.authenticate(&headers, &form, &presented);
    let key = Key {
        client: client.clone().unwrap_or_default(),
        audience: audience(form.get("audience")),
    };
    world.ledger().request(&key);
    let fault = *locked(&world.http_fault);
    match (fault, &client) {
        (HttpFault::Unavailable, _) => {
            (StatusCode::SERVICE_UNAVAILABLE, "<html>maintenance</html>").into_response()
        }
        (HttpFault::TooManyRequests(seconds), _) => {
            world.ledger().limit(key, seconds);
            let header = [("retry-after", seconds.to_string())];
            (StatusCode::TOO_MANY_REQUESTS, header).into_response()
        }
        (HttpFault::None, None) => {
            world.ledger().count("clients refused");
            let refusal = json!({ "error": "invalid_client" });
            (StatusCode::UNAUTHORIZED, JSON, refusal.to_string()).into_response()
        }
        (HttpFault::None, Some(_)) => world.issue(key),
    }
}

impl World {
    fn issue(&self, key: Key) -> Response {
        let serial = format!("{:016x}{:016x}", self.random(u64::MAX), now());
        let token = format!("{MARKER}-token-{serial}");
        let seconds = match key.client.as_str() {
            crate::COMMAND => 90,
            _ => 8 + self.random(8),
        };
        self.ledger().issue(key, token.clone(), seconds);
        let refresh_token = format!("{MARKER}-refresh-{serial}");
        let response = json!({
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": seconds,
            "refresh_token": refresh_token,
        });
        (JSON, response.to_string()).into_response()
    }
}

/// Returns the name of a requested audience.
fn audience(requested: Option<&String>) -> String {
    let name = requested.and_then(|audience| {
        let host = audience.strip_prefix("https://")?;
        host.strip_suffix(".example")
    });
    name.unwrap_or("default").to_owned()
}

async fn api(
    State(world): State<Arc<World>>,
    Path(audience): Path<String>,
    headers: HeaderMap,
) -> Response {
    match world.call(&audience, "HTTP", &headers) {
        Verdict::Accepted => "accepted".into_response(),
        Verdict::Fault => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Verdict::Refused => {
            let header = [("www-authenticate", r#"Bearer error="invalid_token""#)];
            (StatusCode::UNAUTHORIZED, header).into_response()
        }
    }
}

/// The API over gRPC. The message of a request is its audience.
async fn grpc(State(world): State<Arc<World>>, request: Request) -> http::Response<Body> {
    let call = tower::service_fn(move |request: tonic::Request<String>| {
        let headers = request.metadata().clone().into_headers();
        ready(match world.call(request.get_ref(), "gRPC", &headers) {
            Verdict::Accepted => Ok(tonic::Response::new("accepted".to_owned())),
            Verdict::Refused => Err(Status::unauthenticated("the token is not valid")),
            Verdict::Fault => Err(Status::internal("a fault")),
        })
    });
    let codec = ProstCodec::<String, String>::default();
    tonic::server::Grpc::new(codec).unary(call, request).await
}
