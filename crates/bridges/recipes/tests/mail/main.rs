//! SMTP and IMAP, against servers that check the token of each login.

#![allow(clippy::unwrap_used)]

mod imap;
mod smtp;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hallpass_core::{AccessToken, Clock as _, SystemClock, TokenType};
use hallpass_testkit::StaticSource;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

const CANARY: &str = "c4n4ry-0f-the-t0ken";

/// The lines that a server got, with the text of each base64 response.
type Lines = Arc<Mutex<Vec<String>>>;

/// A connection of a server, by lines.
struct Peer {
    stream: BufReader<TcpStream>,
    lines: Lines,
}

impl Peer {
    fn new(stream: TcpStream, lines: &Lines) -> Self {
        Self {
            stream: BufReader::new(stream),
            lines: lines.clone(),
        }
    }

    async fn send(&mut self, line: &str) {
        let line = format!("{line}\r\n");
        self.stream.write_all(line.as_bytes()).await.unwrap();
    }

    /// Returns the next line; an empty one at the end of the connection.
    async fn line(&mut self) -> String {
        let mut line = String::new();
        let _ = self.stream.read_line(&mut line).await;
        line.trim_end().to_owned()
    }

    /// Records a line.
    fn record(&self, line: &str) {
        self.lines.lock().unwrap().push(line.to_owned());
    }
}

/// Returns the text of a base64 response, with `|` for each separator of its fields.
fn decoded(response: &str) -> String {
    let text = BASE64_STANDARD.decode(response).unwrap();
    String::from_utf8(text).unwrap().replace('\x01', "|")
}

/// The explanation of a refusal, as servers send it.
fn explanation() -> String {
    BASE64_STANDARD.encode(r#"{"status":"invalid_token"}"#)
}

fn lines(lines: &Lines) -> Vec<String> {
    lines.lock().unwrap().clone()
}

/// Creates a source of a token that is bound to a key.
fn bound_token() -> StaticSource {
    let (now, lifetime) = (SystemClock.moment(), Duration::from_secs(60));
    StaticSource::new(AccessToken::new(TokenType::Dpop, CANARY, now, lifetime).unwrap())
}
