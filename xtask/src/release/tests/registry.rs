//! A minimal cargo registry on loopback: an index, downloads, and publishing that can be interrupted.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard},
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub(super) struct Registry {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// The index lines by name, and the packages.
    crates: BTreeMap<String, (String, Vec<u8>)>,
    /// The published crates in order.
    published: Vec<String>,
    refused: Option<String>,
}

impl Registry {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let served = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // An error means that the client has disconnected.
                let _ = serve(stream, address, &served);
            }
        });
        Self { address, state }
    }

    pub(super) fn index(&self) -> String {
        format!("sparse+http://{}/index/", self.address)
    }

    /// Refuses this crate from now on, or accepts every crate again.
    pub(super) fn refuse(&self, name: Option<&str>) {
        lock(&self.state).refused = name.map(str::to_owned);
    }

    pub(super) fn published(&self) -> Vec<String> {
        lock(&self.state).published.clone()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap()
}

fn serve(stream: TcpStream, address: SocketAddr, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let publishes = line.starts_with("PUT");
    let (mut length, mut waits) = (0, false);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        waits |= header == "expect: 100-continue";
    }
    if waits {
        reader
            .get_mut()
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (status, answer) = if publishes {
        publish(&body, &mut lock(state))
    } else {
        look_up(&path, address, &lock(state))
    };
    let head = format!(
        "HTTP/1.1 {status} Status\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        answer.len()
    );
    reader
        .get_mut()
        .write_all(&[head.as_bytes(), &answer].concat())
}

fn look_up(path: &str, address: SocketAddr, state: &State) -> (u16, Vec<u8>) {
    if path == "/index/config.json" {
        let url = format!("http://{address}");
        let config = json!({ "dl": format!("{url}/dl/{{crate}}"), "api": url });
        return (200, config.to_string().into());
    }
    let name = path.rsplit('/').next().unwrap_or_default();
    match state.crates.get(name) {
        None => (404, Vec::new()),
        Some((_, package)) if path.starts_with("/dl/") => (200, package.clone()),
        Some((line, _)) => (200, line.clone().into()),
    }
}

/// Handles a publish request: a description and a package, each after its length.
fn publish(body: &[u8], state: &mut State) -> (u16, Vec<u8>) {
    let part = |bytes: &[u8]| {
        let length = u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
        bytes[4..4 + length].to_vec()
    };
    let description = part(body);
    let package = part(&body[4 + description.len()..]);
    let described: Value = serde_json::from_slice(&description).unwrap();
    let name = described["name"].as_str().unwrap().to_owned();
    if state.refused.as_ref() == Some(&name) {
        return (503, Vec::new());
    }
    let needs: Vec<Value> = described["deps"]
        .as_array()
        .unwrap()
        .iter()
        .cloned()
        .map(|mut dependency| {
            dependency["req"] = dependency["version_req"].take();
            dependency
        })
        .collect();
    let checksum = Sha256::digest(&package);
    let checksum = format!("{checksum:x}");
    let line = json!({
        "name": name, "vers": described["vers"], "deps": needs, "cksum": checksum,
        "features": described["features"], "yanked": false,
    });
    state
        .crates
        .insert(name.clone(), (format!("{line}\n"), package));
    state.published.push(name);
    (200, json!({ "warnings": {} }).to_string().into())
}
