//! Addresses that sentinels and nodes of a cluster name, by servers with scripted answers.

use std::sync::{Arc, Mutex};

use hallpass_cache::TokenStore as _;
use hallpass_redis::{RedisTokenStore, RedisTokenStoreBuilder};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream},
    net::{TcpListener, TcpStream},
};

use crate::support::*;

/// An address that is not a loopback address, and still reaches a server on this machine.
const OTHER_MACHINE: &str = "0.0.0.0";
const EMPTY: &str = "_\r\n";

/// A server that answers by a script.
struct Server {
    port: u16,
    /// The commands that it received, their words joined by spaces.
    commands: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts a server whose script answers all commands but `HELLO` and `ASKING`. It gets the number of the command,
    /// from 0.
    async fn start(script: impl Fn(usize) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let commands = Arc::new(Mutex::new(Vec::new()));
        let (log, script) = (commands.clone(), Arc::new(script));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, script) = (log.clone(), script.clone());
                tokio::spawn(async move { serve(stream, &log, &*script).await });
            }
        });
        Self { port, commands }
    }

    /// Returns a server with an empty store.
    async fn empty() -> Self {
        Self::start(|_| EMPTY.to_owned()).await
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Returns the number of commands that start with this name.
    fn count(&self, name: &str) -> usize {
        let commands = self.commands.lock().unwrap();
        commands
            .iter()
            .filter(|command| command.starts_with(name))
            .count()
    }
}

/// Answers the commands of one connection until it ends.
async fn serve(
    stream: TcpStream,
    log: &Mutex<Vec<String>>,
    script: &(dyn Fn(usize) -> String + Send + Sync),
) -> Option<()> {
    let mut stream = BufStream::new(stream);
    loop {
        let words = number(&mut stream, '*').await?;
        let mut command = Vec::new();
        for _ in 0..words {
            // A line end follows.
            let mut word = vec![0; number(&mut stream, '$').await? + 2];
            stream.read_exact(&mut word).await.ok()?;
            word.truncate(word.len() - 2);
            command.push(String::from_utf8_lossy(&word).into_owned());
        }
        let command = command.join(" ");
        let answer = if command.starts_with("HELLO") {
            "%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n".to_owned()
        } else if command == "ASKING" {
            "+OK\r\n".to_owned()
        } else {
            let log = log.lock().unwrap();
            let scripted = |known: &&String| !known.starts_with("HELLO") && **known != "ASKING";
            script(log.iter().filter(scripted).count())
        };
        log.lock().unwrap().push(command);
        stream.write_all(answer.as_bytes()).await.ok()?;
        stream.flush().await.ok()?;
    }
}

/// Reads a line with this type and a number.
async fn number(stream: &mut BufStream<TcpStream>, kind: char) -> Option<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    line.trim_end().strip_prefix(kind)?.parse().ok()
}

/// Returns the answer of a sentinel that names this primary.
fn primary(host: &str, port: u16) -> String {
    let port = port.to_string();
    let (host_length, port_length) = (host.len(), port.len());
    format!("*2\r\n${host_length}\r\n{host}\r\n${port_length}\r\n{port}\r\n")
}

fn with_password(seed: &Server) -> RedisTokenStoreBuilder {
    RedisTokenStore::builder(seed.url())
        .password(secret("CANARY-password"))
        .keys(secret(KEY))
}

fn cluster(seed: &Server) -> RedisTokenStore {
    with_password(seed).cluster([""; 0]).build().unwrap()
}

/// Returns a server for each way to name another address: of a primary, of a node, of the next node.
async fn naming(host: &'static str, port: u16) -> [(&'static str, Server); 3] {
    [
        (
            "sentinel",
            Server::start(move |_| primary(host, port)).await,
        ),
        (
            "MOVED",
            Server::start(move |_| format!("-MOVED 1 {host}:{port}\r\n")).await,
        ),
        (
            "ASK",
            Server::start(move |_| format!("-ASK 1 {host}:{port}\r\n")).await,
        ),
    ]
}

fn following(way: &str, seed: &Server) -> RedisTokenStoreBuilder {
    match way {
        "sentinel" => with_password(seed).sentinel("main", [""; 0]),
        _ => with_password(seed).cluster([""; 0]),
    }
}

#[tokio::test]
async fn a_named_address_elsewhere_is_refused_without_tls() {
    let other = Server::empty().await;
    for (way, seed) in naming(OTHER_MACHINE, other.port).await {
        let store = following(way, &seed).build().unwrap();
        let error = store.look_up(&key("one")).await;
        assert_eq!(other.count(""), 0, "{way}: {:?}", other.commands);
        let expected = format!(
            "no connection to {OTHER_MACHINE}:{}, which is not this machine: `redis://` has no TLS; use `rediss://`, \
             or `danger_allow_plain_text` in a trusted network",
            other.port
        );
        assert_eq!(error.unwrap_err().to_string(), expected, "{way}");
    }
}

#[cfg(unix)] // Elsewhere nothing is reached by `OTHER_MACHINE`.
#[tokio::test]
async fn plain_text_to_a_named_address_can_be_allowed() {
    for way in 0..3 {
        let other = Server::empty().await;
        let (way, seed) = &naming(OTHER_MACHINE, other.port).await[way];
        let store = following(way, seed).danger_allow_plain_text();
        let found = store.build().unwrap().look_up(&key("one")).await;
        assert!(found.unwrap().is_none());
        assert_eq!(other.count("HELLO 3 AUTH"), 1, "{way}");
    }
}

#[tokio::test]
async fn a_named_address_on_this_machine_needs_no_tls() {
    for host in ["127.0.0.1", "localhost"] {
        let other = Server::empty().await;
        for (way, seed) in naming(host, other.port).await {
            let store = following(way, &seed).build().unwrap();
            assert!(store.look_up(&key("one")).await.unwrap().is_none(), "{way}");
        }
        assert_eq!(other.count("HELLO 3 AUTH"), 3);
    }
}

#[tokio::test]
async fn a_refused_node_is_not_asked_for_the_slot_again() {
    let seed = Server::start(|number| match number {
        0 => format!("-MOVED 1 {OTHER_MACHINE}:1\r\n"),
        _ => EMPTY.to_owned(),
    })
    .await;
    let store = cluster(&seed);
    assert!(store.look_up(&key("one")).await.unwrap().is_none());
    assert_eq!(seed.count("EVALSHA"), 2);
}

#[tokio::test]
async fn a_redirection_without_a_host_names_the_asked_node() {
    for way in ["MOVED", "ASK"] {
        let other = Server::empty().await;
        let port = other.port;
        let seed = Server::start(move |_| format!("-{way} 1 :{port}\r\n")).await;
        let store = cluster(&seed);
        let found = store.look_up(&key("one")).await;
        assert!(found.unwrap().is_none(), "{way}");
        let counts = ["EVALSHA", "ASKING"].map(|name| (seed.count(name), other.count(name)));
        let asking = usize::from(way == "ASK");
        assert_eq!(counts, [(1, 1), (0, asking)], "{way}");
    }
}

#[tokio::test]
async fn a_slot_that_has_moved_after_ask_is_learned() {
    let last = Server::empty().await;
    let port = last.port;
    let middle = Server::start(move |_| format!("-MOVED 1 :{port}\r\n")).await;
    let port = middle.port;
    let seed = Server::start(move |_| format!("-ASK 1 :{port}\r\n")).await;
    let store = cluster(&seed);
    for _ in 0..2 {
        assert!(store.look_up(&key("one")).await.unwrap().is_none());
    }
    let counts = [&seed, &middle, &last].map(|server| server.count("EVALSHA"));
    assert_eq!(counts, [1, 1, 2]);
}

#[tokio::test]
async fn an_error_after_ask_is_reported_by_its_code() {
    for (reply, expected) in [
        (
            "OOM command not allowed",
            "Redis has reached its memory limit (OOM)",
        ),
        ("NOAUTH CANARY", "Redis requires a password (NOAUTH)"),
        ("STRANGE CANARY", "Redis replied with the error `STRANGE`"),
    ] {
        let other = Server::start(move |_| format!("-{reply}\r\n")).await;
        let port = other.port;
        let seed = Server::start(move |_| format!("-ASK 1 :{port}\r\n")).await;
        let error = cluster(&seed).look_up(&key("one")).await.unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test]
async fn a_named_address_that_is_not_valid_is_reported() {
    for (way, seed) in naming("CANARY name", 1).await {
        let store = following(way, &seed).build().unwrap();
        let error = store.look_up(&key("one")).await.unwrap_err().to_string();
        let expected = match way {
            "sentinel" => "the sentinel named an address of the primary that is not valid",
            _ => {
                "a node named an address that is not valid: check its `cluster-announce-ip` and `cluster-announce-hostname`"
            }
        };
        assert_eq!(error, expected, "{way}");
    }
}
