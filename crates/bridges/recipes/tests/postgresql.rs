//! PostgreSQL connections, against a server that checks the password.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use hallpass_core::{ErrorKind, TokenError, TokenRequest};
use hallpass_testkit::{FakeTokens, StaticSource, leak};
use recipes::postgresql::connect;
use tokio::{
    io::{self, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_postgres::{Config, NoTls};

const DEFAULT: TokenRequest = TokenRequest::new();
const CANARY: &str = "c4n4ry-0f-the-t0ken";

/// Starts a server that refuses some passwords with this code, or takes none without one; returns how to connect, and the passwords of the connections.
async fn start(
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
            let _ = serve(stream, refused, code, &seen).await;
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
    refused: &[&str],
    code: &str,
    seen: &Mutex<Vec<String>>,
) -> io::Result<()> {
    body(&mut stream).await?; // StartupMessage, which has no type.
    if code.is_empty() {
        // AuthenticationSASL.
        return send(&mut stream, b'R', b"\0\0\0\x0aOAUTHBEARER\0\0").await;
    }
    send(&mut stream, b'R', &3_u32.to_be_bytes()).await?; // AuthenticationCleartextPassword.
    assert_eq!(stream.read_u8().await?, b'p');
    let password = String::from_utf8(body(&mut stream).await?).unwrap();
    let password = password.trim_end_matches('\0');
    seen.lock().unwrap().push(password.to_owned());
    if refused.iter().any(|refused| password.contains(refused)) {
        let message = "Mthe password is not valid";
        let fields = format!("SFATAL\0VFATAL\0C{code}\0{message}\0\0");
        return send(&mut stream, b'E', fields.as_bytes()).await;
    }
    send(&mut stream, b'R', &0_u32.to_be_bytes()).await?; // AuthenticationOk.
    send(&mut stream, b'Z', b"I").await?; // ReadyForQuery.
    // Until the client ends the connection.
    stream.read_to_end(&mut Vec::new()).await.map(drop)
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    for code in ["28P01", "28000"] {
        let (config, passwords) = start(&["fake-1"], code).await;
        let tokens = FakeTokens::valid();
        for _ in 0..2 {
            let connected = connect(&config, NoTls, &tokens, &DEFAULT).await;
            drop(connected.unwrap());
        }
        assert_eq!(*passwords.lock().unwrap(), ["fake-1", "fake-2", "fake-2"]);
        assert_eq!(tokens.calls(), 2);
    }
}

#[tokio::test]
async fn a_second_refusal_is_an_error() {
    let (config, passwords) = start(&["fake-"], "28P01").await;
    let tokens = FakeTokens::valid();
    let error = connect(&config, NoTls, &tokens, &DEFAULT)
        .await
        .map(drop)
        .unwrap_err();
    let error = error.downcast_ref::<tokio_postgres::Error>().unwrap();
    assert_eq!(error.code().unwrap().code(), "28P01");
    assert_eq!(*passwords.lock().unwrap(), ["fake-1", "fake-2"]);
}

#[tokio::test]
async fn another_error_drops_no_token() {
    let (config, passwords) = start(&["fake-"], "3D000").await;
    let tokens = FakeTokens::valid();
    for _ in 0..2 {
        let error = connect(&config, NoTls, &tokens, &DEFAULT)
            .await
            .map(drop)
            .unwrap_err();
        assert!(error.is::<tokio_postgres::Error>());
    }
    assert_eq!(*passwords.lock().unwrap(), ["fake-1", "fake-1"]);
    assert_eq!(tokens.calls(), 1);
}

#[tokio::test]
async fn without_a_token_there_is_no_connection() {
    let (config, passwords) = start(&[], "28P01").await;
    let tokens = FakeTokens::failing(ErrorKind::Unavailable);
    let error = connect(&config, NoTls, &tokens, &DEFAULT)
        .await
        .map(drop)
        .unwrap_err();
    assert!(error.downcast_ref::<TokenError>().unwrap().is_transient());
    assert!(passwords.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_server_that_takes_tokens_only_is_not_supported() {
    let (config, passwords) = start(&[], "").await;
    let tokens = FakeTokens::valid();
    let connected = connect(&config, NoTls, &tokens, &DEFAULT).await;
    let shown = leak::error_chain(&*connected.map(drop).unwrap_err());
    assert!(shown.contains("unsupported SASL mechanism"), "{shown}");
    assert!(passwords.lock().unwrap().is_empty());
    assert_eq!(tokens.calls(), 1);
}

#[tokio::test]
async fn errors_show_no_token() {
    let (config, passwords) = start(&[CANARY], "28P01").await;
    let tokens = StaticSource::new(CANARY);
    let error = connect(&config, NoTls, &tokens, &DEFAULT)
        .await
        .map(drop)
        .unwrap_err();
    leak::assert_clean(&leak::error_chain(&*error), CANARY);
    let mut config = config;
    leak::assert_clean(&format!("{:?}", config.password(CANARY)), CANARY);
    // The same token is not sent again.
    assert_eq!(*passwords.lock().unwrap(), [CANARY]);
    assert!(leak::find(&passwords.lock().unwrap()[0], CANARY).is_some());
}
