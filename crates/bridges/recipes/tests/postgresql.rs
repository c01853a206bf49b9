//! PostgreSQL connections, against a server that checks the password.

#![allow(clippy::unwrap_used)]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use hallpass_core::{
    AccessToken, Clock as _, ErrorKind, SystemClock, TokenError, TokenRequest, TokenSource,
    TokenType,
};
use hallpass_testkit::{FakeTokens, StaticSource, leak};
use recipes::postgresql::{BoxError, connect, connect_oauth};
use tokio::{
    io::{self, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_postgres::{Config, NoTls, config::SslMode};

const DEFAULT: TokenRequest = TokenRequest::new();
const CANARY: &str = "c4n4ry-0f-the-t0ken";

/// The way in which a server gets a token.
#[derive(Clone, Copy, Debug)]
enum Method {
    Password,
    OAuth,
}

/// Starts a server that refuses some passwords or tokens with this code; returns how to connect, and the passwords of the connections.
async fn start(
    method: Method,
    refused: &'static [&'static str],
    code: &'static str,
) -> (Config, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = Config::new();
    let port = listener.local_addr().unwrap().port();
    config
        .host("127.0.0.1")
        .port(port)
        .user("orders")
        .dbname("shop");
    let passwords = Arc::default();
    let seen = Arc::clone(&passwords);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // An early end of the connection is the client's.
            let _ = serve(stream, method, refused, code, &seen).await;
        }
    });
    (config, passwords)
}

/// Reads the rest of a message, after its type.
async fn body(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u32().await?;
    let mut body = vec![0; length as usize - 4];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

async fn send(stream: &mut TcpStream, kind: u8, body: &[u8]) -> io::Result<()> {
    stream.write_u8(kind).await?;
    let length = u32::try_from(body.len() + 4).unwrap();
    stream.write_u32(length).await?;
    stream.write_all(body).await
}

async fn serve(
    mut stream: TcpStream,
    method: Method,
    refused: &[&str],
    code: &str,
    seen: &Mutex<Vec<String>>,
) -> io::Result<()> {
    body(&mut stream).await?; // StartupMessage, which has no type.
    let (authentication, prefix, suffix): (&[u8], &[u8], &str) = match method {
        Method::Password => (b"\0\0\0\x03", b"", "\0"), // AuthenticationCleartextPassword.
        Method::OAuth => (
            b"\0\0\0\x0aOAUTHBEARER\0\0", // AuthenticationSASL.
            b"OAUTHBEARER\0\0\0\0",
            "\x01\x01",
        ),
    };
    send(&mut stream, b'R', authentication).await?;
    assert_eq!(stream.read_u8().await?, b'p');
    let response = body(&mut stream).await?;
    let mut response = response.strip_prefix(prefix).unwrap();
    if let Method::OAuth = method {
        assert_eq!(usize::from(response[0]), response.len() - 1);
        response = response[1..].strip_prefix(b"n,,\x01auth=Bearer ").unwrap();
    }
    let password = std::str::from_utf8(response).unwrap();
    let password = password.strip_suffix(suffix).unwrap();
    seen.lock().unwrap().push(password.to_owned());
    if refused.iter().any(|refused| password.contains(refused)) {
        if let Method::OAuth = method {
            // AuthenticationSASLContinue, with the reason.
            send(
                &mut stream,
                b'R',
                b"\0\0\0\x0b{\"status\":\"invalid_token\"}",
            )
            .await?;
            assert_eq!(stream.read_u8().await?, b'p');
            assert_eq!(body(&mut stream).await?, b"\x01");
        }
        let message = "Mthe password is not valid";
        let fields = format!("SFATAL\0VFATAL\0C{code}\0{message}\0\0");
        return send(&mut stream, b'E', fields.as_bytes()).await;
    }
    send(&mut stream, b'R', &0_u32.to_be_bytes()).await?; // AuthenticationOk.
    send(&mut stream, b'Z', b"I").await?; // ReadyForQuery.
    // Until the client ends the connection.
    while stream.read_u8().await? == b'Q' {
        body(&mut stream).await?;
        send(&mut stream, b'I', b"").await?; // EmptyQueryResponse.
        send(&mut stream, b'Z', b"I").await?;
    }
    Ok(())
}

/// Connects with this method, and ends the connection.
async fn try_connect(
    method: Method,
    config: &Config,
    tokens: &dyn TokenSource,
) -> Result<(), BoxError> {
    match method {
        Method::Password => connect(config, NoTls, tokens, &DEFAULT).await.map(drop),
        Method::OAuth => {
            let port = config.get_ports()[0];
            let open = || TcpStream::connect(("127.0.0.1", port));
            let connected = connect_oauth(config, open, tokens, &DEFAULT).await;
            connected.map(drop)
        }
    }
}

const METHODS: [Method; 2] = [Method::Password, Method::OAuth];

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    for method in METHODS {
        for code in ["28P01", "28000"] {
            let (config, seen) = start(method, &["fake-1"], code).await;
            let tokens = FakeTokens::valid();
            for _ in 0..2 {
                let (config, tokens) = (config.clone(), tokens.clone());
                // In a task, so that the future must be `Send`.
                let task = async move { try_connect(method, &config, &tokens).await };
                tokio::spawn(task).await.unwrap().unwrap();
            }
            assert_eq!(*seen.lock().unwrap(), ["fake-1", "fake-2", "fake-2"]);
            assert_eq!(tokens.calls(), 2);
        }
    }
}

#[tokio::test]
async fn a_second_refusal_is_an_error() {
    for method in METHODS {
        let (config, seen) = start(method, &["fake-"], "28P01").await;
        let tokens = FakeTokens::valid();
        let error = try_connect(method, &config, &tokens).await.unwrap_err();
        let error = error.downcast_ref::<tokio_postgres::Error>().unwrap();
        assert_eq!(error.code().unwrap().code(), "28P01");
        assert_eq!(*seen.lock().unwrap(), ["fake-1", "fake-2"]);
    }
}

#[tokio::test]
async fn another_error_drops_no_token() {
    for method in METHODS {
        let (config, seen) = start(method, &["fake-"], "3D000").await;
        let tokens = FakeTokens::valid();
        for _ in 0..2 {
            let error = try_connect(method, &config, &tokens).await.unwrap_err();
            assert!(error.is::<tokio_postgres::Error>());
        }
        assert_eq!(*seen.lock().unwrap(), ["fake-1", "fake-1"]);
        assert_eq!(tokens.calls(), 1);
    }
}

#[tokio::test]
async fn without_a_token_there_is_no_connection() {
    for method in METHODS {
        let (config, seen) = start(method, &[], "28P01").await;
        let tokens = FakeTokens::failing(ErrorKind::Unavailable);
        let error = try_connect(method, &config, &tokens).await.unwrap_err();
        assert!(error.downcast_ref::<TokenError>().unwrap().is_transient());
        assert!(seen.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_token_is_sent_only_by_the_method_of_the_function() {
    let cases = [
        (
            Method::OAuth,
            Method::Password,
            "unsupported SASL mechanism",
        ),
        (Method::Password, Method::OAuth, "password missing"),
    ];
    for (server, client, expected) in cases {
        let (config, seen) = start(server, &[], "").await;
        let tokens = FakeTokens::valid();
        let error = try_connect(client, &config, &tokens).await.unwrap_err();
        let shown = leak::error_chain(&*error);
        assert!(shown.contains(expected), "{shown}");
        assert!(seen.lock().unwrap().is_empty());
        assert_eq!(tokens.calls(), 1);
    }
}

#[tokio::test]
async fn errors_show_no_token() {
    for method in METHODS {
        let (config, seen) = start(method, &[CANARY], "28P01").await;
        let tokens = StaticSource::new(CANARY);
        let error = try_connect(method, &config, &tokens).await.unwrap_err();
        leak::assert_clean(&leak::error_chain(&*error), CANARY);
        let mut config = config;
        leak::assert_clean(&format!("{:?}", config.password(CANARY)), CANARY);
        // The same token is not sent again.
        assert_eq!(*seen.lock().unwrap(), [CANARY]);
        assert!(leak::find(&seen.lock().unwrap()[0], CANARY).is_some());
    }
}

#[tokio::test]
async fn queries_pass_after_the_token() {
    let (config, _) = start(Method::OAuth, &[], "28P01").await;
    let port = config.get_ports()[0];
    let open = || TcpStream::connect(("127.0.0.1", port));
    let tokens = FakeTokens::valid();
    let connected = connect_oauth(&config, open, &tokens, &DEFAULT).await;
    let (client, connection) = connected.unwrap();
    tokio::spawn(connection);
    client.simple_query("").await.unwrap();
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_key_is_not_sent() {
    for method in METHODS {
        let (config, seen) = start(method, &[], "28P01").await;
        let error = try_connect(method, &config, &bound_token()).await;
        let error = error.unwrap_err();
        let error = error.downcast_ref::<TokenError>().unwrap();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(seen.lock().unwrap().is_empty());
    }
}

fn bound_token() -> StaticSource {
    let (now, lifetime) = (SystemClock.moment(), Duration::from_secs(60));
    StaticSource::new(AccessToken::new(TokenType::Dpop, CANARY, now, lifetime).unwrap())
}

#[tokio::test]
async fn a_stream_that_is_encrypted_needs_no_other_encryption() {
    let (mut config, seen) = start(Method::OAuth, &[], "28P01").await;
    config.ssl_mode(SslMode::Require);
    let tokens = FakeTokens::valid();
    try_connect(Method::OAuth, &config, &tokens).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), ["fake-1"]);
}

#[tokio::test]
async fn a_dropped_call_ends_the_connection() {
    let tokens = FakeTokens::valid();
    let mut config = Config::new();
    config.user("orders");
    let (request, (ours, mut theirs)) = (DEFAULT, io::duplex(1_024));
    let stream = Mutex::new(Some(ours));
    let open = || std::future::ready(Ok(stream.lock().unwrap().take().unwrap()));
    tokio::select! {
        length = theirs.read_u32() => assert!(length.unwrap() > 4),
        connected = connect_oauth(&config, open, &tokens, &request) => {
            panic!("{:?}", connected.map(drop));
        }
    }
    // The server never answered.
    let mut rest = Vec::new();
    let end = theirs.read_to_end(&mut rest);
    tokio::time::timeout(Duration::from_secs(10), end)
        .await
        .unwrap()
        .unwrap();
}
