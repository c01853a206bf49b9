//! A server for all runs: its answers depend on the number of the run in the path, and it records what it received.
//!
//! One port speaks HTTP, TLS with an optional client certificate, and `CONNECT` as a proxy does. Another one accepts
//! connections and stays silent, and two answer as nodes of
//! Redis, or as a sentinel, which run no script.

use std::{
    collections::HashMap,
    io::{self, Write as _},
    net::SocketAddr,
    sync::{Arc, Mutex, mpsc},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::aws_lc_rs::default_provider,
        pki_types::{CertificateDer, PrivateKeyDer},
        server::WebPkiClientVerifier,
    },
};

/// The host that is reached through the proxy only.
pub(super) const PROXIED_HOST: &str = "login.test";

/// The response to the token requests of a run.
#[derive(Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) token_type: &'static str,
    pub(super) content_type: &'static str,
    pub(super) expires_in: Option<u64>,
    /// The member `until`, in milliseconds.
    pub(super) until: Option<u64>,
    /// The granted scopes, if they are not those of the request.
    pub(super) scope: Option<&'static str>,
    pub(super) details: Option<Value>,
    /// True if the token is in the object `data`.
    pub(super) is_nested: bool,
    pub(super) is_compressed: bool,
    /// True if there is none.
    pub(super) is_missing: bool,
    /// Further members.
    pub(super) members: Vec<(&'static str, Value)>,
    /// The token, if it is not that of the run.
    pub(super) token: Option<String>,
    /// A body in place of the response.
    pub(super) body: Option<String>,
    /// The origin of the endpoints in the metadata, if it is not that of the issuer.
    pub(super) endpoints: Option<String>,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            status: 200,
            token_type: "Bearer",
            content_type: "application/json",
            expires_in: Some(3_600),
            until: None,
            scope: None,
            details: None,
            is_nested: false,
            is_compressed: false,
            is_missing: false,
            members: Vec::new(),
            token: None,
            body: None,
            endpoints: None,
        }
    }
}

impl Answer {
    fn body(&self, run: u32) -> Vec<u8> {
        if let Some(body) = &self.body {
            return body.clone().into_bytes();
        }
        let token = self.token.clone().unwrap_or_else(|| token_of(run));
        let mut body = json!({ "access_token": token, "token_type": self.token_type });
        let optional = [
            ("expires_in", self.expires_in.map(Value::from)),
            ("scope", self.scope.map(Value::from)),
            ("authorization_details", self.details.clone()),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                body[name] = value;
            }
        }
        for (name, value) in &self.members {
            body[name] = value.clone();
        }
        if self.is_nested {
            body = json!({ "data": body });
        }
        if let Some(until) = self.until {
            body["until"] = until.into();
        }
        let body = body.to_string().into_bytes();
        if !self.is_compressed {
            return body;
        }
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(&body).unwrap();
        gzip.finish().unwrap()
    }
}

/// Returns the token that the server issues in this run.
pub(super) fn token_of(run: u32) -> String {
    format!("CANARY-token-of-run-{run}")
}

/// A request as the server received it.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) path: String,
    /// The names in lower case.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) connection: Connection,
    pub(super) at: Instant,
}

#[derive(Clone)]
pub(super) struct Connection {
    pub(super) peer: SocketAddr,
    pub(super) is_tls: bool,
    pub(super) is_proxied: bool,
    pub(super) has_certificate: bool,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

#[derive(Default)]
struct State {
    answers: HashMap<u32, Answer>,
    requests: HashMap<u32, Vec<Request>>,
    /// The times of the connections to the silent port.
    silent: Vec<Instant>,
    redis: Vec<u8>,
    /// True if a script gets no reply.
    are_scripts_ignored: bool,
    /// Dropped when a run reaches the server.
    held: Option<mpsc::Sender<()>>,
}

/// The server, and the addresses of its ports. It ends with the runtime.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) silent: SocketAddr,
    pub(super) redis: SocketAddr,
    /// Another node of Redis.
    pub(super) node: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Server {
    /// Starts the server with this certificate and its key, and these authorities of clients.
    pub(super) async fn start(
        certificate: CertificateDer<'static>,
        key: PrivateKeyDer<'static>,
        clients: RootCertStore,
    ) -> Self {
        let provider = Arc::new(default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(clients), provider.clone());
        let verifier = verifier.allow_unauthenticated().build().unwrap();
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let tls = TlsAcceptor::from(Arc::new(tls));
        let state = Arc::<Mutex<State>>::default();
        let (main, address) = listen().await;
        let (silent, silent_address) = listen().await;
        let (redis, redis_address) = listen().await;
        let (node, node_address) = listen().await;
        let ports = [redis_address.port(), node_address.port()];
        tokio::spawn(accept(main, {
            let state = state.clone();
            let tls = tls.clone();
            move |stream| connection(stream, tls.clone(), state.clone())
        }));
        tokio::spawn(accept(silent, {
            let state = state.clone();
            move |mut stream| {
                let mut state = state.lock().unwrap();
                state.silent.push(Instant::now());
                state.held = None;
                // Read until the client closes it, and say nothing.
                async move { stream.read_to_end(&mut Vec::new()).await.map(drop) }
            }
        }));
        tokio::spawn(accept(redis, {
            let state = state.clone();
            let tls = tls.clone();
            move |stream| redis_connection(stream, tls.clone(), ports, "", state.clone())
        }));
        tokio::spawn(accept(node, {
            let state = state.clone();
            move |stream| redis_connection(stream, tls.clone(), ports, "(node)", state.clone())
        }));
        Self {
            address,
            silent: silent_address,
            redis: redis_address,
            node: node_address,
            state,
        }
    }

    /// Sets the response of a run.
    pub(super) fn set_answer(&self, run: u32, answer: Answer) {
        self.state.lock().unwrap().answers.insert(run, answer);
    }

    /// Returns the requests of a run.
    pub(super) fn requests(&self, run: u32) -> Vec<Request> {
        let mut state = self.state.lock().unwrap();
        state.requests.entry(run).or_default().clone()
    }

    /// Takes the times of the connections to the silent port.
    pub(super) fn take_silent(&self) -> Vec<Instant> {
        std::mem::take(&mut self.state.lock().unwrap().silent)
    }

    /// Returns a channel that is closed when a request or a connection arrives.
    pub(super) fn hold(&self) -> mpsc::Receiver<()> {
        let (sender, receiver) = mpsc::channel();
        self.state.lock().unwrap().held = Some(sender);
        receiver
    }

    pub(super) fn release(&self) {
        self.state.lock().unwrap().held = None;
    }

    /// Sets whether a node of Redis replies to scripts.
    pub(super) fn answer_scripts(&self, are_answered: bool) {
        self.state.lock().unwrap().are_scripts_ignored = !are_answered;
    }

    /// Returns true if a command to Redis has this text.
    pub(super) fn redis_has(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.state.lock().unwrap().redis).contains(text)
    }

    /// Takes the commands to Redis as text.
    pub(super) fn take_redis(&self) -> String {
        let commands = std::mem::take(&mut self.state.lock().unwrap().redis);
        String::from_utf8_lossy(&commands).into_owned()
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn accept<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    while let Ok((stream, _)) = listener.accept().await {
        // The paused clock advances while bytes wait in the system.
        stream.set_nodelay(true).unwrap();
        tokio::spawn(serve(stream));
    }
}

/// Serves a connection to Redis, with TLS or without.
async fn redis_connection(
    stream: TcpStream,
    tls: TlsAcceptor,
    ports: [u16; 2],
    name: &'static str,
    state: Arc<Mutex<State>>,
) -> io::Result<()> {
    let mut first = [0];
    stream.peek(&mut first).await?;
    state.lock().unwrap().redis.extend(name.as_bytes());
    if first != [0x16] {
        return redis_commands(stream, ports, state).await;
    }
    let stream = tls.accept(stream).await?;
    let has_certificate = stream.get_ref().1.peer_certificates().is_some();
    let shown = if has_certificate {
        "(certificate)"
    } else {
        "(tls)"
    };
    state.lock().unwrap().redis.extend(shown.as_bytes());
    redis_commands(stream, ports, state).await
}

/// Answers a sentinel's command with the own port, and refers scripts to the other one, as the node of a cluster does.
async fn redis_commands(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    [own, other]: [u16; 2],
    state: Arc<Mutex<State>>,
) -> io::Result<()> {
    let mut buffer = vec![0; 65_536];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        state.lock().unwrap().redis.extend(&buffer[..read]);
        let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
        let commands = format!("\r\n{text}");
        let names = commands
            .split("\r\n*")
            .skip(1)
            .filter_map(|command| command.split("\r\n").nth(2));
        for name in names {
            let reply = match name {
                "HELLO" => "%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n".to_owned(),
                "SENTINEL" => {
                    let port = own.to_string();
                    format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{port}\r\n", port.len())
                }
                "EVAL" | "EVALSHA" | "FCALL" if state.lock().unwrap().are_scripts_ignored => {
                    continue;
                }
                "EVAL" | "EVALSHA" | "FCALL" => format!("-MOVED 1 127.0.0.1:{other}\r\n"),
                _ => "+OK\r\n".to_owned(),
            };
            stream.write_all(reply.as_bytes()).await?;
        }
        stream.flush().await?;
    }
}

/// Serves a connection by its first byte: TLS, `CONNECT`, or HTTP.
async fn connection(
    mut stream: TcpStream,
    tls: TlsAcceptor,
    state: Arc<Mutex<State>>,
) -> io::Result<()> {
    let mut first = [0];
    stream.peek(&mut first).await?;
    let mut connection = Connection {
        peer: stream.peer_addr()?,
        is_tls: false,
        is_proxied: false,
        has_certificate: false,
    };
    if first == *b"C" {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
        connection.is_proxied = true;
        stream.peek(&mut first).await?;
    }
    if first != [0x16] {
        return requests(stream, connection, state).await;
    }
    let stream = tls.accept(stream).await?;
    connection.is_tls = true;
    connection.has_certificate = stream.get_ref().1.peer_certificates().is_some();
    requests(stream, connection, state).await
}

async fn requests(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    connection: Connection,
    state: Arc<Mutex<State>>,
) -> io::Result<()> {
    let mut stream = tokio::io::BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let mut lines = head.lines();
        let mut words = lines.next().unwrap_or_default().split(' ');
        let path = words.nth(1).unwrap_or_default().to_owned();
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut request = Request {
            path,
            headers,
            body: Vec::new(),
            connection: connection.clone(),
            at: Instant::now(),
        };
        let length = request
            .header("content-length")
            .map_or(0, |text| text.parse().unwrap());
        request.body.resize(length, 0);
        stream.read_exact(&mut request.body).await?;
        let Some(response) = respond(&request, &state) else {
            // Until the client closes the connection.
            return stream.read_to_end(&mut Vec::new()).await.map(drop);
        };
        stream.write_all(&response).await?;
        stream.flush().await?;
    }
}

/// Records the request, and returns the response; `None` for silence.
fn respond(request: &Request, state: &Mutex<State>) -> Option<Vec<u8>> {
    let mut segments = request.path.split('/');
    let run: u32 = segments
        .find_map(|segment| segment.parse().ok())
        .unwrap_or(0);
    let mut state = state.lock().unwrap();
    let is_discovery = request.path.contains("/.well-known/")
        && !request.path.contains("oauth-protected-resource");
    if !is_discovery {
        state.held = None;
    }
    state.requests.entry(run).or_default().push(request.clone());
    let answer = state.answers.get(&run).cloned().unwrap_or_default();
    if is_discovery {
        let scheme = if request.connection.is_tls {
            "https"
        } else {
            "http"
        };
        let origin = format!("{scheme}://{}", request.header("host").unwrap_or_default());
        let endpoints = answer.endpoints.as_ref().unwrap_or(&origin);
        let url = |path| format!("{endpoints}/{run}/{path}");
        let metadata = json!({
            "issuer": format!("{origin}/{run}"),
            "token_endpoint": url("discovered"),
            "introspection_endpoint": url("introspect"),
            "revocation_endpoint": url("revoke"),
            // The same document, as a set of keys without a key.
            "jwks_uri": url(".well-known/jwks.json"),
            "keys": [],
        });
        return Some(response(
            200,
            "content-type: application/json\r\n",
            &metadata.to_string().into_bytes(),
        ));
    }
    if answer.is_missing {
        return None;
    }
    let mut headers = format!("content-type: {}\r\n", answer.content_type);
    if answer.is_compressed {
        headers.push_str("content-encoding: gzip\r\n");
    }
    Some(response(answer.status, &headers, &answer.body(run)))
}

fn response(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} \r\n{headers}content-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}
