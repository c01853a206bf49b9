//! A server that sends arbitrary bytes: for responses that no well-behaved HTTP library would send.
//!
//! ```
//! use hallpass_testkit::raw::{self, RawServer, Reply};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! // The first request is answered in part, then the connection is reset; later ones get a whole answer.
//! let server = RawServer::start([
//!     Reply::bytes("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{").then_reset(),
//!     raw::json(200, "{}"),
//! ])
//! .await;
//! assert!(reqwest::get(server.url("/")).await.unwrap().bytes().await.is_err());
//! assert_eq!(reqwest::get(server.url("/")).await.unwrap().status(), 200);
//! assert_eq!(server.request_count(), 2);
//! # }
//! ```

use std::{
    fmt::Write as _,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// The reply to one request.
#[derive(Clone, Debug)]
#[must_use]
pub struct Reply {
    bytes: Vec<u8>,
    delay: Duration,
    then: NextAction,
    recorded: bool,
}

#[derive(Clone, Debug)]
enum NextAction {
    KeepAlive,
    Close,
    Reset,
    Stall,
    Flood(Vec<u8>),
    Drip(Vec<u8>, Duration),
}

impl Reply {
    /// Sends these bytes, then reads the next request on the same connection.
    pub fn bytes(bytes: impl AsRef<[u8]>) -> Self {
        Self {
            bytes: bytes.as_ref().to_vec(),
            delay: Duration::ZERO,
            then: NextAction::KeepAlive,
            recorded: true,
        }
    }

    /// Sends nothing; combine it with one of the `then_` methods.
    pub fn nothing() -> Self {
        Self::bytes("")
    }

    /// Waits before sending the bytes.
    pub fn delayed(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Closes the connection in an orderly way after the bytes.
    pub fn then_close(self) -> Self {
        self.then(NextAction::Close)
    }

    /// Resets the connection after the bytes.
    pub fn then_reset(self) -> Self {
        self.then(NextAction::Reset)
    }

    /// Sends nothing more after the bytes, and keeps the connection until the peer closes it.
    pub fn then_stall(self) -> Self {
        self.then(NextAction::Stall)
    }

    /// Sends `filler` repeatedly after the bytes, as fast as the peer reads, until the peer closes the connection.
    pub fn then_flood(self, filler: impl AsRef<[u8]>) -> Self {
        self.then(NextAction::Flood(filler.as_ref().to_vec()))
    }

    /// Sends `filler` repeatedly after the bytes, once per `pause`, until the peer closes the connection.
    pub fn then_drip(self, filler: impl AsRef<[u8]>, pause: Duration) -> Self {
        self.then(NextAction::Drip(filler.as_ref().to_vec(), pause))
    }

    /// Does not record the request: for benchmarks, which make many.
    pub fn unrecorded(mut self) -> Self {
        self.recorded = false;
        self
    }

    fn then(mut self, then: NextAction) -> Self {
        self.then = then;
        self
    }
}

/// Creates a complete HTTP/1.1 response with the right `content-length`.
pub fn http(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Reply {
    let body = body.as_ref();
    let mut head = format!(
        "HTTP/1.1 {status} Status\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        // Writing to a String cannot fail.
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head.push_str("\r\n");
    Reply::bytes([head.as_bytes(), body].concat())
}

/// Creates a complete HTTP/1.1 response with JSON.
pub fn json(status: u16, body: impl AsRef<[u8]>) -> Reply {
    http(status, &[("content-type", "application/json")], body)
}

/// Returns a loopback address where nothing listens.
///
/// # Errors
///
/// If no port is free.
pub fn refused_url() -> io::Result<String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(format!("http://{}/", listener.local_addr()?))
}

/// A server on loopback that answers the n-th request with the n-th [`Reply`], on any connection; the last one
/// repeats. Dropping it stops the server.
#[derive(Debug)]
pub struct RawServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct State {
    script: Vec<Reply>,
    requests: Vec<Vec<u8>>,
    answered: usize,
    peers: Vec<SocketAddr>,
    flooded: usize,
}

impl RawServer {
    /// Starts a server with the same reply to every request.
    ///
    /// # Panics
    ///
    /// If no port is free.
    pub async fn always(reply: Reply) -> Self {
        Self::start([reply]).await
    }

    /// Starts a server on a free port.
    ///
    /// # Panics
    ///
    /// If no port is free, or the script is empty.
    pub async fn start(script: impl IntoIterator<Item = Reply>) -> Self {
        Self::start_with(|_| script.into_iter().collect()).await
    }

    /// Starts a server with a script that depends on its address: `script` takes the base URL, without a trailing
    /// slash.
    ///
    /// # Panics
    ///
    /// If no port is free, or the script is empty.
    pub async fn start_with(script: impl FnOnce(&str) -> Vec<Reply>) -> Self {
        // A test machine without a free port cannot run the test.
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let script = script(&format!("http://{address}"));
        assert!(!script.is_empty(), "a server needs a reply to give");
        let state = Arc::new(Mutex::new(State {
            script,
            requests: Vec::new(),
            answered: 0,
            peers: Vec::new(),
            flooded: 0,
        }));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, state.clone()));
        Self {
            address,
            state,
            _tasks: tasks,
        }
    }

    /// Returns a URL of this server; `path` starts with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Returns the address that the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns each request as received: head and body.
    pub fn requests(&self) -> Vec<Vec<u8>> {
        lock(&self.state).requests.clone()
    }

    /// Returns the number of requests.
    pub fn request_count(&self) -> usize {
        lock(&self.state).answered
    }

    /// Returns the number of connections.
    pub fn connection_count(&self) -> usize {
        self.peers().len()
    }

    /// Returns the peer address of each connection.
    pub fn peers(&self) -> Vec<SocketAddr> {
        lock(&self.state).peers.clone()
    }

    /// Returns the total number of filler bytes sent.
    pub fn flooded_bytes(&self) -> usize {
        lock(&self.state).flooded
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, peer)) = listener.accept().await {
        lock(&state).peers.push(peer);
        let state = state.clone();
        connections.spawn(async move {
            // An error means that the peer has closed the connection.
            let _ = serve(stream, &state).await;
        });
    }
}

async fn serve(mut stream: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut unread = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut unread).await? {
        let reply = {
            let mut state = lock(state);
            let at = state.answered.min(state.script.len() - 1);
            state.answered += 1;
            let reply = state.script[at].clone();
            if reply.recorded {
                state.requests.push(request);
            }
            reply
        };
        if !reply.delay.is_zero() {
            tokio::time::sleep(reply.delay).await;
        }
        stream.write_all(&reply.bytes).await?;
        match reply.then {
            NextAction::KeepAlive => {}
            NextAction::Close => return stream.shutdown().await,
            NextAction::Reset => return stream.set_zero_linger(),
            NextAction::Stall => return closed(&mut stream).await,
            NextAction::Flood(filler) => loop {
                stream.write_all(&filler).await?;
                lock(state).flooded += filler.len();
            },
            NextAction::Drip(filler, pause) => loop {
                tokio::time::sleep(pause).await;
                stream.write_all(&filler).await?;
                lock(state).flooded += filler.len();
            },
        }
    }
    Ok(())
}

/// Waits until the peer closes the connection.
async fn closed(stream: &mut TcpStream) -> io::Result<()> {
    let mut ignored = [0; 1_024];
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}

/// Reads one request with its whole body; returns `None` if the connection was closed in an orderly way.
async fn read_request(stream: &mut TcpStream, unread: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    loop {
        if let Some(length) = request_length(unread) {
            let rest = unread.split_off(length);
            return Ok(Some(std::mem::replace(unread, rest)));
        }
        if stream.read_buf(unread).await? == 0 {
            return Ok(None);
        }
    }
}

/// Returns the length of the request at the start of these bytes, once it is complete.
fn request_length(bytes: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let length = bytes[..head].split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(NAME.len())?;
        let value = std::str::from_utf8(value).ok()?;
        name.eq_ignore_ascii_case(NAME)
            .then(|| value.trim().parse::<usize>().ok())?
    });
    let whole = head + length.unwrap_or(0);
    (bytes.len() >= whole).then_some(whole)
}
