//! A server that redirects as the path of a request says. It speaks plain HTTP and TLS on each of its two ports.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex},
};

use hallpass::endpoint::MutualTls;
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _},
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{RootCertStore, pki_types::PrivateKeyDer},
};

use super::cell::To;
use crate::{
    support::secret,
    tls_server::{client_verifier, server_config},
};

/// A received request.
#[derive(Clone, Debug)]
pub(super) struct Received {
    /// The absolute URL.
    pub(super) url: String,
    pub(super) method: String,
    /// Names in lower case.
    pub(super) headers: HashMap<String, String>,
    pub(super) body: Vec<u8>,
}

/// The two ports, and the requests of each cell.
pub(super) struct Server {
    ports: [u16; 2],
    requests: Arc<Requests>,
    authority: CertifiedIssuer<'static, KeyPair>,
    /// The client's certificate and key.
    pub(super) identity: String,
    pub(super) mutual_tls: MutualTls,
    _runtime: Runtime,
}

type Requests = Mutex<HashMap<usize, Vec<Received>>>;

impl Server {
    pub(super) fn start() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let issue = |names: &[&str]| {
            let key = KeyPair::generate().unwrap();
            let names = names.iter().map(|name| (*name).to_owned());
            let params = CertificateParams::new(names.collect::<Vec<_>>()).unwrap();
            (params.signed_by(&key, &authority).unwrap(), key)
        };
        let (certificate, key) = issue(&["localhost", "127.0.0.1"]);
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(authority.as_ref().der().clone()).unwrap();
        let verifier = client_verifier(roots).allow_unauthenticated().build();
        let config = server_config()
            .with_client_cert_verifier(verifier.unwrap())
            .with_single_cert(vec![certificate.der().clone()], key);
        let tls = TlsAcceptor::from(Arc::new(config.unwrap()));
        let (client, key) = issue(&["client"]);
        let identity = client.pem() + &key.serialize_pem();

        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listeners = runtime.block_on(async {
            let listen = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
            [listen().await, listen().await]
        });
        let ports = [0, 1].map(|at| listeners[at].local_addr().unwrap().port());
        let requests = Arc::<Requests>::default();
        for listener in listeners {
            let (tls, requests) = (tls.clone(), requests.clone());
            runtime.spawn(async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let (tls, requests) = (tls.clone(), requests.clone());
                    tokio::spawn(async move {
                        // An error is the end of the connection.
                        let _ = accept(stream, &tls, ports, &requests).await;
                    });
                }
            });
        }
        Self {
            ports,
            requests,
            authority,
            mutual_tls: MutualTls::new(secret(&identity)),
            identity,
            _runtime: runtime,
        }
    }

    /// Returns the PEM text of the certificate authority.
    pub(super) fn root(&self) -> String {
        self.authority.pem()
    }

    pub(super) fn origin(&self, over_tls: bool) -> String {
        let scheme = if over_tls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.ports[0])
    }

    /// Returns the URL of a request that is redirected.
    pub(super) fn start_url(
        &self,
        cell: usize,
        over_tls: bool,
        status: u16,
        to: To,
        refused: bool,
    ) -> String {
        let origin = self.origin(over_tls);
        let landing = if refused { "refused" } else { "landed" };
        format!("{origin}/{cell}/{status}/{to:?}/{landing}")
    }

    /// Returns the requests of a cell, and forgets them.
    pub(super) fn take(&self, cell: usize) -> Vec<Received> {
        let mut requests = self.requests.lock().unwrap();
        requests.remove(&cell).unwrap_or_default()
    }
}

async fn accept(
    stream: TcpStream,
    tls: &TlsAcceptor,
    ports: [u16; 2],
    requests: &Requests,
) -> io::Result<()> {
    const TLS_HANDSHAKE: u8 = 0x16;
    stream.set_nodelay(true)?;
    let mut first = [0];
    stream.peek(&mut first).await?;
    if first[0] == TLS_HANDSHAKE {
        serve(tls.accept(stream).await?, "https", ports, requests).await
    } else {
        serve(stream, "http", ports, requests).await
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    scheme: &str,
    ports: [u16; 2],
    requests: &Requests,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(received) = read(&mut stream, scheme).await? {
        let path = received.url.splitn(4, '/').nth(3).unwrap_or_default();
        let segments: Vec<&str> = path.split('/').collect();
        let cell: usize = segments[0].parse().unwrap();
        let answer = {
            let mut requests = requests.lock().unwrap();
            let seen = requests.entry(cell).or_default();
            let answer = respond(&received, &segments, seen, ports);
            seen.push(received);
            answer
        };
        stream.write_all(answer.as_bytes()).await?;
        stream.flush().await?;
    }
    Ok(())
}

/// Returns the response; the first segments of the path are the cell, the status and the destination.
fn respond(
    received: &Received,
    segments: &[&str],
    seen: &[Received],
    [own, other]: [u16; 2],
) -> String {
    let empty = |status: u16, headers: &str| {
        format!("HTTP/1.1 {status} Status\r\ncontent-length: 0\r\n{headers}\r\n")
    };
    let [cell, status, to, landing, ..] = segments else {
        let again = seen.iter().any(|seen| seen.url == received.url);
        if segments[1] == "refused" && !again {
            let bearer = r#"Bearer error="invalid_token""#;
            let dpop = r#"DPoP error="use_dpop_nonce""#;
            let scheme = if received.headers.contains_key("dpop") {
                dpop
            } else {
                bearer
            };
            return empty(
                401,
                &format!("www-authenticate: {scheme}\r\ndpop-nonce: one\r\n"),
            );
        }
        return empty(200, "content-type: application/json\r\n");
    };
    let location = match *to {
        "SameOrigin" => {
            let origin = received
                .url
                .split('/')
                .take(3)
                .collect::<Vec<_>>()
                .join("/");
            format!("{origin}/{cell}/{landing}")
        }
        "Relative" => format!("/{cell}/{landing}"),
        "Port" => {
            received.url[..5].trim_end_matches(':').to_owned()
                + &format!("://127.0.0.1:{other}/{cell}/{landing}")
        }
        "Host" => {
            received.url[..5].trim_end_matches(':').to_owned()
                + &format!("://localhost:{own}/{cell}/{landing}")
        }
        "Https" => format!("https://127.0.0.1:{own}/{cell}/{landing}"),
        "Http" => format!("http://127.0.0.1:{own}/{cell}/{landing}"),
        "Damaged" => format!("http://[127.0.0.1:{own}/{cell}/{landing}"),
        _ => return empty(status.parse().unwrap(), ""),
    };
    empty(
        status.parse().unwrap(),
        &format!("location: {location}\r\n"),
    )
}

/// Reads one request; returns `None` at the end of the connection.
async fn read(
    stream: &mut (impl AsyncBufRead + Unpin),
    scheme: &str,
) -> io::Result<Option<Received>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split_ascii_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let mut body = Vec::new();
    if let Some(length) = headers.get("content-length") {
        body.resize(length.parse().unwrap(), 0);
        stream.read_exact(&mut body).await?;
    } else if headers.contains_key("transfer-encoding") {
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            let length = usize::from_str_radix(line.trim(), 16).unwrap();
            let mut chunk = vec![0; length + 2];
            stream.read_exact(&mut chunk).await?;
            if length == 0 {
                break;
            }
            body.extend_from_slice(&chunk[..length]);
        }
    }
    let url = format!("{scheme}://{}{path}", headers["host"]);
    Ok(Some(Received {
        url,
        method,
        headers,
        body,
    }))
}
