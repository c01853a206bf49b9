//! A broker with the requests that a client sends until it is connected: enough to check its tokens.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use rdkafka::ClientConfig;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{broadcast, watch},
};

/// An authentication of a client: the first one of its connection, or a later one (KIP-368).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authentication {
    /// The number of its connection, from 1.
    pub(crate) connection: usize,
    pub(crate) token: String,
    pub(crate) accepted: bool,
}

/// A broker that listens on loopback.
#[derive(Clone)]
pub(crate) struct Broker(Arc<Inner>);

struct Inner {
    address: SocketAddr,
    refused: Mutex<Vec<String>>,
    session_lifetime: Mutex<Duration>,
    authentications: watch::Sender<Vec<Authentication>>,
    /// The number of metadata requests so far.
    requests: watch::Sender<usize>,
    disconnect: broadcast::Sender<()>,
}

impl Broker {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let broker = Self(Arc::new(Inner {
            address: listener.local_addr().unwrap(),
            refused: Mutex::default(),
            session_lifetime: Mutex::default(),
            authentications: watch::Sender::default(),
            requests: watch::Sender::default(),
            disconnect: broadcast::Sender::new(1),
        }));
        let server = broker.clone();
        tokio::spawn(async move {
            for connection in 1.. {
                let (stream, _) = listener.accept().await.unwrap();
                let server = server.clone();
                tokio::spawn(async move { server.serve(stream, connection).await });
            }
        });
        broker
    }

    /// Returns the configuration of a client of this broker.
    pub(crate) fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.0.address.to_string())
            .set("security.protocol", "sasl_plaintext")
            .set("sasl.mechanisms", "OAUTHBEARER")
            .set("reconnect.backoff.ms", "10")
            .set("reconnect.backoff.max.ms", "100");
        config
    }

    /// Refuses this token from now on.
    pub(crate) fn refuse(&self, token: &str) {
        self.0.refused.lock().unwrap().push(token.to_owned());
    }

    /// Sets the time after which a client must authenticate again.
    pub(crate) fn set_session_lifetime(&self, lifetime: Duration) {
        *self.0.session_lifetime.lock().unwrap() = lifetime;
    }

    /// Closes all connections.
    pub(crate) fn disconnect(&self) {
        self.0.disconnect.send(()).unwrap();
    }

    pub(crate) fn authentications(&self) -> Vec<Authentication> {
        self.0.authentications.borrow().clone()
    }

    /// Waits until the authentications so far satisfy this condition, and returns them.
    pub(crate) async fn until(
        &self,
        condition: impl Fn(&[Authentication]) -> bool,
    ) -> Vec<Authentication> {
        let mut authentications = self.0.authentications.subscribe();
        let reached = authentications.wait_for(|all| condition(all));
        super::within(reached).await.unwrap().clone()
    }

    /// Waits until a client has sent this number of metadata requests, for which it must be connected.
    pub(crate) async fn requested(&self, count: usize) {
        let mut requests = self.0.requests.subscribe();
        super::within(requests.wait_for(|requests| *requests >= count))
            .await
            .unwrap();
    }

    async fn serve(&self, mut stream: TcpStream, connection: usize) {
        let mut disconnect = self.0.disconnect.subscribe();
        let mut session = Session::default();
        loop {
            let request = tokio::select! {
                request = read(&mut stream) => request,
                _ = disconnect.recv() => return,
            };
            let Some(request) = request else { return };
            let mut request = Reader(&request);
            let (key, version) = (request.i16(), request.i16());
            let id = request.bytes(4).to_owned();
            let client = request.i16();
            request.bytes(usize::try_from(client).unwrap());
            let response = match key {
                3 => {
                    assert!(session.is_authenticated);
                    self.0.requests.send_modify(|requests| *requests += 1);
                    metadata()
                }
                17 => handshake(request.string()),
                18 => api_versions(version),
                36 => {
                    let length = request.i32();
                    let message = request.bytes(usize::try_from(length).unwrap());
                    self.authenticate(&mut session, connection, message)
                }
                _ => panic!("a request with key {key}"),
            };
            let length = u32::try_from(id.len() + response.len()).unwrap();
            let response = [&length.to_be_bytes()[..], &id, &response].concat();
            if stream.write_all(&response).await.is_err() {
                return;
            }
        }
    }

    /// Answers a message of RFC 7628, section 3: a token, or the client's answer to a refusal.
    fn authenticate(&self, session: &mut Session, connection: usize, message: &[u8]) -> Vec<u8> {
        if session.is_refused && message == b"\x01" {
            return authenticated(58, Some("{\"status\":\"invalid_token\"}"), b"", 0);
        }
        let message = std::str::from_utf8(message).unwrap();
        let token = message
            .strip_prefix("n,,\x01auth=Bearer ")
            .and_then(|message| message.strip_suffix("\x01\x01"))
            .unwrap();
        let accepted = !self.0.refused.lock().unwrap().iter().any(|t| t == token);
        (session.is_authenticated, session.is_refused) = (accepted, !accepted);
        let authentication = Authentication {
            connection,
            token: token.to_owned(),
            accepted,
        };
        self.0
            .authentications
            .send_modify(|all| all.push(authentication));
        if accepted {
            let lifetime = self.0.session_lifetime.lock().unwrap().as_millis();
            authenticated(0, None, b"", i64::try_from(lifetime).unwrap())
        } else {
            authenticated(0, None, b"{\"status\":\"invalid_token\"}", 0)
        }
    }
}

#[derive(Default)]
struct Session {
    is_authenticated: bool,
    is_refused: bool,
}

/// Reads a request without its length; `None` at the end of the connection.
async fn read(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let length = stream.read_u32().await.ok()?;
    let mut request = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut request).await.ok()?;
    Some(request)
}

/// Names no broker and no topic: a client then has one connection, to the broker of its configuration.
fn metadata() -> Vec<u8> {
    const THROTTLE_TIME: i32 = 0;
    const BROKERS: i32 = 0;
    const CONTROLLER: i32 = 1;
    const TOPICS: i32 = 0;
    [
        &THROTTLE_TIME.to_be_bytes()[..],
        &BROKERS.to_be_bytes(),
        &string(Some("cluster")),
        &CONTROLLER.to_be_bytes(),
        &TOPICS.to_be_bytes(),
    ]
    .concat()
}

/// Answers with the keys and the versions of the requests above.
fn api_versions(version: i16) -> Vec<u8> {
    const KEYS: [[i16; 3]; 4] = [[3, 4, 4], [17, 0, 1], [18, 0, 3], [36, 0, 1]];
    let mut response = 0_i16.to_be_bytes().to_vec();
    let is_flexible = version >= 3;
    if is_flexible {
        response.push(5); // The number of keys, and one.
    } else {
        response.extend(4_i32.to_be_bytes());
    }
    for key in KEYS {
        response.extend(key.iter().flat_map(|number| number.to_be_bytes()));
        response.extend(is_flexible.then_some(0));
    }
    if version >= 1 {
        response.extend(0_i32.to_be_bytes());
    }
    response.extend(is_flexible.then_some(0));
    response
}

fn handshake(mechanism: &str) -> Vec<u8> {
    assert_eq!(mechanism, "OAUTHBEARER");
    let count = 1_i32.to_be_bytes();
    [&0_i16.to_be_bytes()[..], &count, &string(Some(mechanism))].concat()
}

/// Returns a response of version 1.
fn authenticated(code: i16, error: Option<&str>, message: &[u8], lifetime: i64) -> Vec<u8> {
    let length = i32::try_from(message.len()).unwrap();
    [
        &code.to_be_bytes()[..],
        &string(error),
        &length.to_be_bytes(),
        message,
        &lifetime.to_be_bytes(),
    ]
    .concat()
}

fn string(text: Option<&str>) -> Vec<u8> {
    let Some(text) = text else {
        return (-1_i16).to_be_bytes().to_vec();
    };
    let length = i16::try_from(text.len()).unwrap();
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }

    fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.bytes(2).try_into().unwrap())
    }

    fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.bytes(4).try_into().unwrap())
    }

    fn string(&mut self) -> &'a str {
        let length = self.i16();
        std::str::from_utf8(self.bytes(usize::try_from(length).unwrap())).unwrap()
    }
}
