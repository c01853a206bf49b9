//! A small cargo registry on loopback: an index, downloads, and publishing that can be interrupted.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub(crate) struct Registry {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

/// A version of a crate in the registry.
#[derive(Clone)]
pub(crate) struct Published {
    pub(crate) name: String,
    pub(crate) version: String,
    /// The bytes of the `.crate` file.
    pub(crate) package: Vec<u8>,
    /// The line of the index.
    line: String,
}

#[derive(Default)]
struct State {
    /// In the order of publishing.
    published: Vec<Published>,
    refused: Option<String>,
}

impl Registry {
    /// Starts a registry on a free port; it ends with the process.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::default()));
        let served = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // An error means that the client has disconnected.
                let _ = serve(stream, address, &served);
            }
        });
        Ok(Self { address, state })
    }

    /// Returns the address of the index.
    pub(crate) fn index(&self) -> String {
        format!("sparse+http://{}/index/", self.address)
    }

    /// Refuses this crate from now on, or accepts every crate again.
    #[cfg(test)]
    pub(crate) fn refuse(&self, name: Option<&str>) {
        lock(&self.state).refused = name.map(str::to_owned);
    }

    /// Returns the published crates in order.
    pub(crate) fn published(&self) -> Vec<Published> {
        lock(&self.state).published.clone()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
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
        publish(&body, &mut lock(state)).unwrap_or_else(|error| (400, error.to_string().into()))
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
        let config = json!({ "dl": format!("{url}/dl/{{crate}}/{{version}}"), "api": url });
        return (200, config.to_string().into());
    }
    let found: Vec<u8> = if let Some(wanted) = path.strip_prefix("/dl/") {
        let is_wanted = |one: &&Published| wanted == format!("{}/{}", one.name, one.version);
        let found = state.published.iter().find(is_wanted);
        found.map(|one| one.package.clone()).unwrap_or_default()
    } else {
        let name = path.rsplit('/').next().unwrap_or_default();
        let versions = state.published.iter().filter(|one| one.name == name);
        versions.flat_map(|one| one.line.bytes()).collect()
    };
    (if found.is_empty() { 404 } else { 200 }, found)
}

/// Handles a publish request: a description and a package, each after its length.
fn publish(body: &[u8], state: &mut State) -> anyhow::Result<(u16, Vec<u8>)> {
    let (description, rest) = part(body).context("no description")?;
    let (package, _) = part(rest).context("no package")?;
    let mut described: Value = serde_json::from_slice(description)?;
    let name = described["name"].as_str().context("no name")?.to_owned();
    let version = described["vers"].as_str().context("no version")?.to_owned();
    if state.refused.as_ref() == Some(&name) {
        return Ok((503, Vec::new()));
    }
    let mut needs = described["deps"].take();
    for dependency in needs.as_array_mut().context("no dependencies")? {
        dependency["req"] = dependency["version_req"].take();
        // A renamed dependency has its name in the code as `name` in the index, and its own as `package`.
        if let Some(renamed) = dependency["explicit_name_in_toml"].as_str() {
            let renamed = renamed.to_owned();
            dependency["package"] = dependency["name"].take();
            dependency["name"] = renamed.into();
        }
    }
    let checksum = format!("{:x}", Sha256::digest(package));
    // The second version of the format, which has features with `dep:` and `?`.
    let line = json!({
        "name": name, "vers": version, "deps": needs, "cksum": checksum, "features": {},
        "features2": described["features"], "v": 2, "yanked": false, "rust_version": described["rust_version"],
    });
    state.published.push(Published {
        name,
        version,
        package: package.to_vec(),
        line: format!("{line}\n"),
    });
    Ok((200, json!({ "warnings": {} }).to_string().into()))
}

/// Splits a body after the part that its first four bytes measure.
fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_le_bytes(*length).try_into().ok()?)
}
