//! The settings of an HTTP transport, as servers and proxies on loopback see them. Each has its effect on requests to
//! loopback, which are sent directly, and on those through a proxy; with a client certificate and without one.
//!
//! The table runs in a process of its own, whose variables name the system's proxy and certificate authorities.

use std::{
    env, fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::{AsFd as _, OwnedFd},
    sync::{Arc, Mutex},
    time::Duration,
};

use hallpass::{
    AccessToken, TokenError,
    endpoint::{ClientCredentials, HttpTransport, HttpTransportBuilder, MutualTls, Retry},
};
use hallpass_testkit::leak;
use rcgen::{CertificateParams, KeyPair};
use serde_json::json;
use tokio::{
    io::{self, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::spawn_blocking,
    time::{self, Instant},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::aws_lc_rs::default_provider,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

use super::{
    pairs::{Exclusions, PairCounts, Setting, SettingSelection, check},
    server::{Answer, PROXIED_HOST, Request, Server},
};
use crate::{
    shared::child::run_alone,
    support::{ID, builder, fetch, secret},
};

const TEST: &str = "builders::transport::every_two_settings_of_a_transport_work_or_are_refused";
/// Its file has the certificate and the key of a server too.
const ROOTS: &str = "SSL_CERT_FILE";
const PROXY: &str = "HTTPS_PROXY";
const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

// The path prefixes of a server, by their answers.
const SMALL: u32 = 1;
const LARGE: u32 = 2;
const COMPRESSED: u32 = 3;
const MISSING: u32 = 4;

const PROXIES: [&str; 3] = ["proxy", "proxy_credentials", "system_proxy"];
const EXCLUDED: Exclusions = &[("system_proxy", &["proxy", "proxy_credentials"])];

/// The servers and proxies of all runs.
struct World {
    /// A server whose certificate is trusted by the system.
    system: Server,
    /// A server with another certificate.
    private: Server,
    /// That certificate.
    root: String,
    /// The certificate of the proxies.
    proxy_root: String,
    proxy: Proxy,
    system_proxy: Proxy,
    /// The certificate of the client, which both servers accept.
    certificate: MutualTls,
}

/// A proxy that connects to the port on loopback, for any host. Its port speaks HTTP, and TLS.
struct Proxy {
    address: SocketAddr,
    /// The clients, and the heads of their requests.
    requests: Arc<Mutex<Vec<(IpAddr, String)>>>,
}

impl Proxy {
    fn start(listener: TcpListener, tls: TlsAcceptor) -> Self {
        let address = listener.local_addr().unwrap();
        let requests = Arc::<Mutex<Vec<_>>>::default();
        let seen = requests.clone();
        tokio::spawn(async move {
            while let Ok((client, peer)) = listener.accept().await {
                tokio::spawn(Self::serve(client, peer.ip(), tls.clone(), seen.clone()));
            }
        });
        Self { address, requests }
    }

    async fn serve(
        client: TcpStream,
        peer: IpAddr,
        tls: TlsAcceptor,
        seen: Arc<Mutex<Vec<(IpAddr, String)>>>,
    ) -> io::Result<()> {
        client.set_nodelay(true)?;
        let mut first = [0];
        client.peek(&mut first).await?;
        if first == [0x16] {
            return Self::connect(tls.accept(client).await?, peer, seen).await;
        }
        Self::connect(client, peer, seen).await
    }

    async fn connect(
        mut client: impl AsyncRead + AsyncWrite + Unpin,
        peer: IpAddr,
        seen: Arc<Mutex<Vec<(IpAddr, String)>>>,
    ) -> io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await?);
        }
        let head = String::from_utf8(head).unwrap();
        let target = head.split(' ').nth(1).unwrap();
        let port: u16 = target.rsplit(':').next().unwrap().parse().unwrap();
        seen.lock().unwrap().push((peer, head));
        let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        server.set_nodelay(true)?;
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
        client.flush().await?;
        copy_bidirectional(&mut client, &mut server).await?;
        Ok(())
    }

    fn take(&self) -> Vec<(IpAddr, String)> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }
}

type FetchResult = Result<AccessToken, TokenError>;

/// The observations of the requests to one host, with a client certificate or without one.
struct Route {
    /// The first request and the second one.
    requests: Vec<Request>,
    /// The address of the client, for the server or the proxy.
    source: IpAddr,
    large: FetchResult,
    compressed: FetchResult,
    private: FetchResult,
    system: FetchResult,
    /// The duration of a call of a server that does not respond to the TLS handshake.
    connect_seconds: u64,
    /// The duration of a call of a server that does not respond to the request.
    response_seconds: u64,
    /// The requests to the proxies.
    proxy: Vec<(IpAddr, String)>,
    system_proxy: Vec<(IpAddr, String)>,
}

/// The observations of a transport.
#[derive(Default)]
struct Observations {
    direct: Vec<Route>,
    /// With a proxy.
    proxied: Vec<Route>,
}

impl Observations {
    fn all(&self, seen: impl Fn(&Route) -> bool) -> bool {
        self.direct.iter().chain(&self.proxied).all(seen)
    }

    fn is_proxied(&self, seen: impl Fn(&Route) -> bool) -> bool {
        let is_direct = |route: &Route| route.proxy.is_empty() && route.system_proxy.is_empty();
        self.direct.iter().all(is_direct)
            && !self.proxied.is_empty()
            && self.proxied.iter().all(seen)
    }
}

fn is_refused(fetched: &FetchResult, reason: &str) -> bool {
    fetched
        .as_ref()
        .is_err_and(|error| error.to_string().contains(reason))
}

/// Returns true if the requests to a proxy have the user name and the password.
fn are_authorized(requests: &[(IpAddr, String)]) -> bool {
    // `user:CANARY` in Base64.
    let has_them = |head: &str| head.contains(": Basic dXNlcjpDQU5BUlk=\r\n");
    !requests.is_empty() && requests.iter().all(|(_, head)| has_them(head))
}

fn rows() -> Vec<Setting<HttpTransportBuilder, World, Observations>> {
    let row = Setting::<HttpTransportBuilder, World, Observations>::new;
    vec![
        row(
            "add_root_certificates_pem",
            |one, world| one.add_root_certificates_pem(world.root.clone()),
            |seen| seen.all(|route| route.private.is_ok()),
        ),
        row(
            "compressed_responses",
            |one, _| one.compressed_responses(),
            |seen| seen.all(|route| route.compressed.is_ok()),
        ),
        row(
            "connect_timeout",
            |one, _| one.connect_timeout(Duration::from_secs(3)),
            |seen| seen.all(|route| route.connect_seconds == 3),
        ),
        row(
            "local_address",
            |one, _| one.local_address(SOURCE.into()),
            |seen| seen.all(|route| route.source == SOURCE),
        ),
        row(
            "max_body_bytes",
            |one, _| one.max_body_bytes(2_000),
            |seen| seen.all(|route| is_refused(&route.large, "larger than")),
        ),
        row(
            "only_added_root_certificates",
            |one, _| one.only_added_root_certificates(),
            |seen| {
                seen.all(|route| is_refused(&route.system, "none of the certificate authorities"))
            },
        ),
        row(
            "pool_idle_timeout",
            |one, _| one.pool_idle_timeout(Duration::ZERO),
            |seen| {
                let peer = |request: &Request| request.connection.peer;
                seen.all(|route| peer(&route.requests[0]) != peer(&route.requests[1]))
            },
        ),
        row(
            "proxy",
            |one, world| one.proxy(format!("http://{}", world.proxy.address)),
            |seen| seen.is_proxied(|route| !route.proxy.is_empty()),
        ),
        row(
            "proxy_credentials",
            |one, _| one.proxy_credentials("user", secret("CANARY")),
            |seen| seen.is_proxied(|route| are_authorized(&route.proxy)),
        ),
        row(
            "system_proxy",
            |one, _| one.system_proxy(),
            |seen| seen.is_proxied(|route| are_authorized(&route.system_proxy)),
        ),
        row(
            "timeout",
            |one, _| one.timeout(Duration::from_secs(4)),
            |seen| seen.all(|route| route.response_seconds == 4),
        ),
        row(
            "user_agent",
            |one, _| one.user_agent("orders/1.0"),
            |seen| {
                let has_it = |request: &Request| request.header("user-agent") == Some("orders/1.0");
                seen.all(|route| route.requests.iter().all(has_it))
            },
        ),
    ]
}

/// Returns a builder with these settings, and with those without which they have no effect.
fn settings(
    selection: &SettingSelection<'_, HttpTransportBuilder, World, Observations>,
    world: &World,
) -> HttpTransportBuilder {
    let mut builder = HttpTransport::builder();
    if selection.has("only_added_root_certificates") && !selection.has("add_root_certificates_pem")
    {
        builder = builder.add_root_certificates_pem(world.root.clone());
    }
    if selection.has("proxy_credentials")
        && !selection.has("proxy")
        && !selection.has("system_proxy")
    {
        builder = builder
            .add_root_certificates_pem(world.proxy_root.clone())
            .proxy(format!("https://{}", world.proxy.address));
    }
    selection.set(builder, world)
}

/// A client for the requests to one host.
struct Client<'a> {
    transport: &'a HttpTransport,
    host: &'static str,
    certificate: Option<&'a MutualTls>,
}

impl Client<'_> {
    async fn request(&self, address: SocketAddr, path_prefix: u32) -> FetchResult {
        let url = format!("https://{}:{}/{path_prefix}", self.host, address.port());
        let builder = match self.certificate {
            Some(certificate) => {
                ClientCredentials::builder(&url, ID, certificate.clone()).retry(Retry::never())
            }
            None => builder(&url),
        };
        fetch(builder.transport(self.transport.clone())).await
    }
}

impl World {
    async fn start() -> Self {
        // The process inherits the listener of the system's proxy.
        let listener = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
        let listener = std::net::TcpListener::from(listener);
        listener.set_nonblocking(true).unwrap();
        let system = fs::read_to_string(env::var(ROOTS).unwrap()).unwrap();
        let [root, proxy_root, client] = ["private", "proxy", "client"].map(identity);
        let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (certificate, key) = parsed(&proxy_root);
        let tls = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let tls = TlsAcceptor::from(Arc::new(tls));
        Self {
            system: server(&system, &client).await,
            private: server(&root, &client).await,
            root,
            proxy_root,
            proxy: Proxy::start(proxy, tls.clone()),
            system_proxy: Proxy::start(TcpListener::from_std(listener).unwrap(), tls),
            certificate: MutualTls::new(secret(&client)),
        }
    }

    /// Sends requests to every server, and records what servers and proxies receive; `trusted` is the server whose
    /// certificate the transport accepts.
    ///
    /// Returns the error of the first one as text, if it fails.
    async fn observe(&self, client: &Client<'_>, trusted: &Server) -> Result<Route, String> {
        let fetch_trusted = |path_prefix| client.request(trusted.address, path_prefix);
        let before = trusted.requests(SMALL).len();
        for _ in 0..2 {
            fetch_trusted(SMALL)
                .await
                .map_err(|error| leak::error_chain(&error))?;
        }
        let requests = trusted.requests(SMALL).split_off(before);
        for request in &requests {
            let is_certified = request.connection.has_certificate;
            assert_eq!(is_certified, client.certificate.is_some());
        }
        let failure_seconds = async |address| {
            let reached = trusted.hold();
            // Tokio's paused clock does not advance while a blocking task runs. This task ends when the server has
            // received the connection or the request.
            let reached = spawn_blocking(move || reached.recv());
            time::pause();
            let started = Instant::now();
            client.request(address, MISSING).await.unwrap_err();
            let elapsed = started.elapsed().as_secs();
            time::resume();
            trusted.release();
            reached.await.unwrap().unwrap_err();
            elapsed
        };
        let large = fetch_trusted(LARGE).await;
        let compressed = fetch_trusted(COMPRESSED).await;
        let private = client.request(self.private.address, SMALL).await;
        let system = client.request(self.system.address, SMALL).await;
        let connect_seconds = failure_seconds(trusted.silent).await;
        let response_seconds = failure_seconds(trusted.address).await;
        let [proxy, system_proxy] = [&self.proxy, &self.system_proxy].map(Proxy::take);
        let source = match (&proxy[..], &system_proxy[..]) {
            ([(source, _), ..], _) | (_, [(source, _), ..]) => *source,
            _ => requests[0].connection.peer.ip(),
        };
        Ok(Route {
            requests,
            source,
            large,
            compressed,
            private,
            system,
            connect_seconds,
            response_seconds,
            proxy,
            system_proxy,
        })
    }
}

/// Returns a self-signed certificate and its key, as PEM.
fn identity(name: &str) -> String {
    let hosts = [PROXIED_HOST, "127.0.0.1"].map(str::to_owned);
    let mut params = CertificateParams::new(hosts).unwrap();
    let names = &mut params.distinguished_name;
    names.push(rcgen::DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().pem() + &key.serialize_pem()
}

fn parsed(identity: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let pem = identity.as_bytes();
    let certificate = CertificateDer::from_pem_slice(pem).unwrap();
    (certificate, PrivateKeyDer::from_pem_slice(pem).unwrap())
}

async fn server(identity: &str, client: &str) -> Server {
    let (certificate, key) = parsed(identity);
    let mut clients = RootCertStore::empty();
    clients.add(parsed(client).0).unwrap();
    let server = Server::start(certificate, key, clients).await;
    let [mut large, mut compressed, mut missing] = [(); 3].map(|()| Answer::default());
    large.members = vec![("padding", json!("x".repeat(2_000)))];
    compressed.is_compressed = true;
    missing.is_missing = true;
    for (path_prefix, answer) in [(LARGE, large), (COMPRESSED, compressed), (MISSING, missing)] {
        server.set_answer(path_prefix, answer);
    }
    server
}

async fn run_table() {
    let rows = rows();
    let world = World::start().await;
    // The variable alone has no effect.
    let transport = HttpTransport::builder().build().unwrap();
    let client = Client {
        transport: &transport,
        host: PROXIED_HOST,
        certificate: None,
    };
    let unknown = client.request(world.system.address, SMALL).await;
    let unknown = unknown.unwrap_err().to_string();
    assert!(unknown.contains("could not be resolved"), "{unknown}");
    assert_eq!(world.system_proxy.take(), []);

    let run = async |selection: &SettingSelection<'_, _, _, _>| {
        let transport = settings(selection, &world).build();
        let transport = transport.map_err(|error| leak::error_chain(&error))?;
        let trusted = if selection.has("only_added_root_certificates") {
            &world.private
        } else {
            &world.system
        };
        let has_proxy = PROXIES.iter().any(|name| selection.has(name));
        let mut seen = Observations::default();
        for certificate in [None, Some(&world.certificate)] {
            // An effect that is missing without a certificate is missing.
            if certificate.is_some() && selection.is_control() {
                break;
            }
            let mut client = Client {
                transport: &transport,
                host: "127.0.0.1",
                certificate,
            };
            seen.direct.push(world.observe(&client, trusted).await?);
            if has_proxy {
                client.host = PROXIED_HOST;
                seen.proxied.push(world.observe(&client, trusted).await?);
            }
        }
        Ok(seen)
    };
    assert_eq!(
        check(("endpoint", "HttpTransportBuilder"), &rows, EXCLUDED, run).await,
        PairCounts {
            built: 144,
            refused: 4
        }
    );
}

#[tokio::test]
async fn every_two_settings_of_a_transport_work_or_are_refused() {
    const CHILD: &str = "TRANSPORT_TABLE";
    if env::var_os(CHILD).is_some() {
        return run_table().await;
    }
    let roots = tempfile::NamedTempFile::new().unwrap();
    fs::write(roots.path(), identity("system")).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    run_alone(TEST, |child| {
        for name in ["SSL_CERT_DIR", "ALL_PROXY", "NO_PROXY"] {
            child.env_remove(name).env_remove(name.to_lowercase());
        }
        child
            .env(CHILD, "1")
            .env(ROOTS, roots.path())
            .env_remove(PROXY.to_lowercase())
            .env(PROXY, format!("http://user:CANARY@{address}"))
            .stdin(OwnedFd::from(listener))
    });
}
