//! Websockets, against a server that checks the token of each handshake.

#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _};
use hallpass_cache::CachedTokenSource;
use hallpass_core::{
    AccessToken, Clock as _, ErrorKind, TokenError, TokenRequest, TokenSource, async_trait,
    authorize::Authorizer,
};
use hallpass_testkit::{FakeTokens, StaticSource, TokioClock, leak};
use recipes::websockets::{Connection, receive};
use tokio::net::TcpListener;
use tokio_tungstenite::{
    accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
    },
};

const HOUR: Duration = Duration::from_secs(3_600);

/// A server that refuses some tokens, sends one message on each connection, and ends the second one.
struct Server {
    url: String,
    tokens: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(refused: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/orders", listener.local_addr().unwrap());
        let tokens = Arc::default();
        tokio::spawn(serve(listener, refused, Arc::clone(&tokens)));
        Self { url, tokens }
    }

    /// Returns the token of each handshake so far.
    fn tokens(&self) -> Vec<String> {
        self.tokens.lock().unwrap().clone()
    }

    fn authorizer(&self, tokens: impl TokenSource + 'static) -> Authorizer {
        Authorizer::builder(tokens)
            .allow_origin(&self.url.replacen("ws", "http", 1).replace("/orders", ""))
            .danger_allow_http_on_loopback()
            .clock(TokioClock::new())
            .build()
            .unwrap()
    }
}

async fn serve(
    listener: TcpListener,
    refused: &'static [&'static str],
    tokens: Arc<Mutex<Vec<String>>>,
) {
    let mut connections = Vec::new();
    while let Ok((stream, _)) = listener.accept().await {
        #[allow(clippy::result_large_err)] // It is tungstenite's.
        let check = |request: &Request, response: Response| {
            let sent = request.headers()["authorization"].to_str().unwrap();
            let token = sent.strip_prefix("Bearer ").unwrap();
            tokens.lock().unwrap().push(token.to_owned());
            if refused.contains(&token) {
                let response = Response::builder().status(401);
                let response =
                    response.header("www-authenticate", "Bearer error=\"invalid_token\"");
                return Err(response.body(None).unwrap() as ErrorResponse);
            }
            Ok(response)
        };
        if let Ok(mut socket) = accept_hdr_async(stream, check).await {
            let number = connections.len();
            socket
                .send(Message::text(format!("order {number}")))
                .await
                .unwrap();
            if number == 1 {
                socket.close(None).await.unwrap();
                while socket.next().await.is_some() {}
            } else {
                connections.push(socket);
            }
        }
    }
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let server = Server::start(&["fake-1"]).await;
    let tokens = FakeTokens::valid();
    let authorizer = server.authorizer(tokens.clone());
    Connection::open(&authorizer, &server.url).await.unwrap();
    assert_eq!(server.tokens(), ["fake-1", "fake-2"]);
    Connection::open(&authorizer, &server.url).await.unwrap();
    assert_eq!(server.tokens(), ["fake-1", "fake-2", "fake-2"]);
    assert_eq!(tokens.calls(), 2);
}

#[tokio::test]
async fn a_second_refusal_is_an_error() {
    let server = Server::start(&["fake-1", "fake-2"]).await;
    let tokens = FakeTokens::valid();
    let authorizer = server.authorizer(tokens.clone());
    let error = Connection::open(&authorizer, &server.url)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "HTTP error: 401 Unauthorized");
    assert_eq!(server.tokens(), ["fake-1", "fake-2"]);
    assert_eq!(tokens.calls(), 2);
}

#[tokio::test]
async fn without_a_token_or_to_another_origin_nothing_is_sent() {
    let server = Server::start(&[]).await;
    let authorizer = server.authorizer(FakeTokens::failing(ErrorKind::Unavailable));
    let error = Connection::open(&authorizer, &server.url)
        .await
        .unwrap_err();
    assert!(error.downcast_ref::<TokenError>().unwrap().is_transient());
    let authorizer = server.authorizer(FakeTokens::valid());
    for url in ["ws://other.example/orders", "wss://other.example/orders"] {
        let error = Connection::open(&authorizer, url).await.unwrap_err();
        let error = error.downcast_ref::<TokenError>().unwrap();
        assert_eq!(error.kind(), ErrorKind::Configuration);
    }
    assert!(server.tokens().is_empty());
}

/// A source of tokens with this lifetime.
struct Numbered(TokioClock, Duration, AtomicUsize);

impl Numbered {
    fn new(lifetime: Duration) -> Self {
        Self(TokioClock::new(), lifetime, AtomicUsize::new(0))
    }
}

#[async_trait]
impl TokenSource for Numbered {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        let number = self.2.fetch_add(1, Ordering::SeqCst) + 1;
        let text = format!("token-{number}");
        Ok(AccessToken::bearer(&text, self.0.moment(), self.1)?)
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_replaced_before_its_token_expires() {
    let server = Server::start(&[]).await;
    let clock = TokioClock::new();
    let tokens = CachedTokenSource::builder(Numbered::new(HOUR)).clock(clock.clone());
    let authorizer = server.authorizer(tokens.build());
    let start = clock.now();
    let received = Arc::new(Mutex::new(Vec::new()));
    let (url, record) = (server.url.clone(), received.clone());
    // In a task, so that the future must be `Send`.
    let task = async move {
        receive(&authorizer, &url, |message| {
            if message.is_text() {
                let text = message.into_text().unwrap().to_string();
                record.lock().unwrap().push(text);
            }
        })
        .await
    };
    tokio::spawn(task).await.unwrap().unwrap();
    assert_eq!(*received.lock().unwrap(), ["order 0", "order 1"]);
    assert_eq!(server.tokens(), ["token-1", "token-2"]);
    let elapsed = clock.now().saturating_since(start);
    assert!(HOUR / 2 < elapsed && elapsed < HOUR, "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_token_expires_at_once_lasts_a_second() {
    let server = Server::start(&[]).await;
    let authorizer = server.authorizer(Numbered::new(Duration::ZERO));
    let clock = TokioClock::new();
    let start = clock.now();
    receive(&authorizer, &server.url, |_| ()).await.unwrap();
    assert_eq!(server.tokens(), ["token-1", "token-2"]);
    let elapsed = clock.now().saturating_since(start);
    assert!(elapsed >= Duration::from_secs(1), "{elapsed:?}");
}

#[tokio::test]
async fn debug_output_and_errors_show_no_token() {
    const CANARY: &str = "c4n4ry-0f-the-t0ken";
    for refused in [&[][..], &[CANARY]] {
        let server = Server::start(refused).await;
        let authorizer = server.authorizer(StaticSource::new(CANARY));
        let connection = Connection::open(&authorizer, &server.url).await;
        assert_eq!(connection.is_ok(), refused.is_empty());
        let shown = match connection {
            Ok(connection) => format!("{connection:?}"),
            Err(error) => leak::error_chain(&*error),
        };
        leak::assert_clean(&shown, CANARY);
        // The server has seen it.
        assert!(leak::find(&format!("{shown}{:?}", server.tokens()), CANARY).is_some());
    }
}
