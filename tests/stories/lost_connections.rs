//! Connections that break before a response: which requests are sent again at once, by the count at the server.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hallpass::{
    TokenRequest, TokenSource,
    endpoint::{
        Anonymous, ClientCredentials, ClientSecretBasic, JwtBearer, RefreshToken, Retry,
        SecretAssertion, SecurityToken, TokenExchange, TokenTypeUri,
    },
    secrets::MemorySecret,
};
use hallpass_testkit::raw::{self, RawServer, Reply};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    support::{ID, builder, secret},
    tls::Authority,
};

const GOOD: &str = r#"{"access_token":"t","token_type":"Bearer","expires_in":3600,"issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}"#;

/// A retry policy whose back-off never fits into the deadline: all that is sent again is sent at once.
fn at_once_only() -> Retry {
    Retry::new().min_delay(Duration::from_secs(3_600))
}

/// Replies to a request that was sent on a pooled connection. The HTTP library reports the same error for all of them.
fn lost() -> [Reply; 3] {
    let part = "HTTP/1.1 200 OK\r\ncontent-ty";
    [
        Reply::nothing().then_close(),
        Reply::bytes(part).then_close(),
        Reply::bytes("HTTP/1.1 100 Continue\r\n\r\n").then_close(),
    ]
}

/// Sends two requests; the second one is lost on the connection of the first. Returns the number of requests.
async fn requests_with(lost: Reply, source: impl Fn(&str) -> Box<dyn TokenSource>) -> usize {
    let server = RawServer::start([raw::json(200, GOOD), lost, raw::json(200, GOOD)]).await;
    let source = source(&server.url("/"));
    let request = TokenRequest::default();
    source.token(&request).await.unwrap();
    let second = source.token(&request).await;
    let count = server.request_count();
    assert_eq!(second.is_ok(), count == 3, "{second:?}");
    if let Err(error) = second {
        assert!(error.to_string().contains("before a response arrived"));
        assert_eq!(server.connection_count(), 1);
    }
    count
}

// covers: F-48
#[tokio::test]
async fn an_input_that_may_be_valid_once_is_not_sent_again_at_once() {
    let basic = || ClientSecretBasic::new(secret("s3cr3t"));
    let input = || MemorySecret::new(secret("e30.e30.c2ln"));
    for lost in lost() {
        let refresh_token = |url: &str| {
            let builder = RefreshToken::builder(url, ID, basic(), input());
            let builder = builder.danger_allow_http_on_loopback();
            Box::new(builder.retry(at_once_only()).build().unwrap()) as Box<dyn TokenSource>
        };
        assert_eq!(requests_with(lost.clone(), refresh_token).await, 2);
        let jwt_bearer = |url: &str| {
            let assertion = SecretAssertion::new(input());
            let builder = JwtBearer::builder(url, ID, Anonymous::new(), assertion);
            let builder = builder.danger_allow_http_on_loopback();
            Box::new(builder.retry(at_once_only()).build().unwrap()) as Box<dyn TokenSource>
        };
        assert_eq!(requests_with(lost.clone(), jwt_bearer).await, 2);
        let exchange = |url: &str| {
            let subject = SecurityToken::from_secret(input(), TokenTypeUri::JWT);
            let builder = TokenExchange::builder(url, ID, basic(), subject);
            let builder = builder.danger_allow_http_on_loopback();
            Box::new(builder.retry(at_once_only()).build().unwrap()) as Box<dyn TokenSource>
        };
        assert_eq!(requests_with(lost, exchange).await, 2);
    }
}

// covers: F-48
#[tokio::test]
async fn an_idempotent_request_on_a_pooled_connection_is_sent_again() {
    for lost in lost() {
        let client_credentials = |url: &str| {
            let builder = builder(url).retry(at_once_only());
            Box::new(builder.build().unwrap()) as Box<dyn TokenSource>
        };
        assert_eq!(requests_with(lost, client_credentials).await, 3);
    }
}

// covers: F-48, F-58
#[tokio::test]
async fn in_http_2_only_an_unprocessed_request_is_sent_again() {
    let authority = Authority::new("ours");
    // The last stream that GOAWAY names as processed; the second request is stream 3.
    for (last_stream, requests) in [(Some(1), 3), (Some(3), 2), (None, 2)] {
        let server = Http2::start(authority.server("localhost", 2999), last_stream).await;
        let url = format!("https://localhost:{}/token", server.address.port());
        let transport = authority.transport().build().unwrap();
        let source: ClientCredentials = builder(&url)
            .transport(transport)
            .retry(at_once_only())
            .build()
            .unwrap();
        let request = TokenRequest::default();
        source.token(&request).await.unwrap();
        let second = source.token(&request).await;
        assert_eq!(server.requests(), requests, "{last_stream:?}: {second:?}");
        assert_eq!(second.is_ok(), requests == 3, "{last_stream:?}");
    }
}

/// An HTTP/2 server that closes the connection at the second request, and answers all others.
struct Http2 {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Http2 {
    /// `last_stream`: the last stream that it reports as processed when it closes the connection; `None` for no report.
    async fn start(acceptor: TlsAcceptor, last_stream: Option<u32>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let count = requests.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let stream = acceptor.accept(stream).await.unwrap();
                let count = count.clone();
                connections.spawn(async move {
                    // An error is the end of the connection.
                    let _ = speak(stream, &count, last_stream).await;
                });
            }
        });
        Self {
            address,
            requests,
            _tasks: tasks,
        }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

// Frame types and flags of RFC 9113 section 6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

async fn speak<T>(
    mut stream: T,
    requests: &AtomicUsize,
    last_stream: Option<u32>,
) -> std::io::Result<()>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    stream.read_exact(&mut [0; 24]).await?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let length = u32::from_be_bytes([0, a, b, c]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await?;
        if kind == SETTINGS && flags & ACK == 0 {
            stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await?;
        }
        if !matches!(kind, DATA | HEADERS) || flags & END_STREAM == 0 {
            continue;
        }
        if requests.fetch_add(1, Ordering::SeqCst) == 1 {
            if let Some(last) = last_stream {
                let no_error = [last.to_be_bytes(), [0; 4]].concat();
                stream.write_all(&frame(GOAWAY, 0, 0, &no_error)).await?;
            }
            return stream.shutdown().await;
        }
        // `:status: 200` and `content-type`, by their numbers in the static table of RFC 7541.
        let fields = [&[0x88, 0x0f, 0x10, 16][..], b"application/json"].concat();
        let id = u32::from_be_bytes(id);
        let answer = [
            frame(HEADERS, END_HEADERS, id, &fields),
            frame(DATA, END_STREAM, id, GOOD.as_bytes()),
        ];
        stream.write_all(&answer.concat()).await?;
    }
}
