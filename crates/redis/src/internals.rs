//! For this repository's fuzz targets, without stability guarantees.

use redis::{RedisError, Value};

use crate::{
    RedisTokenStore,
    address::{self, Address},
    call_error::{CallError, Recovery},
    envelope::{self, EntryDefect},
    store::{digits, split_fence},
};

/// The address of a server.
#[derive(Debug, PartialEq, Eq)]
pub struct Server {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether TLS protects the connection.
    pub tls: bool,
    /// Whether a connection is refused unless plain text is allowed.
    pub is_exposed: bool,
}

impl From<&Address> for Server {
    fn from(address: &Address) -> Self {
        Self {
            host: address.host.clone(),
            port: address.port,
            tls: address.tls,
            is_exposed: address.is_exposed(),
        }
    }
}

/// Returns the servers that the store's settings name.
pub fn servers(store: &RedisTokenStore) -> Vec<Server> {
    store.nodes().seeds().iter().map(Server::from).collect()
}

/// Returns the server that a redirection names, without TLS. The code is `MOVED` or `ASK`; `asked` is the host of the
/// node that sent it, and `node` its text after the slot.
pub fn redirection(code: &str, asked: &str, node: &str) -> Option<Server> {
    let reply = redis::parse_redis_value(format!("-{code} 1 {node}\r\n").as_bytes());
    let Ok(Value::ServerError(error)) = reply else {
        return None;
    };
    match CallError::from(RedisError::from(error)).recovery {
        Recovery::Moved(host, port) | Recovery::Ask(host, port) => {
            Some(Server::from(&plain(asked, 0).named(&host, port)))
        }
        _ => None,
    }
}

/// Returns the primary that a sentinel names, without TLS.
pub fn primary(host: &str, port: &str) -> Option<Server> {
    let (host, port) = address::parse_primary(host, port)?;
    Some(Server::from(&plain(&host, port)))
}

fn plain(host: &str, port: u16) -> Address {
    Address {
        host: host.to_owned(),
        port,
        tls: false,
    }
}

/// The protection of entries: with keys, or in clear.
pub struct Entries(Option<envelope::Keys>);

impl std::fmt::Debug for Entries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Entries").field(&self.0.is_some()).finish()
    }
}

impl Entries {
    /// Encrypts with these keys.
    ///
    /// # Errors
    ///
    /// A text that says why they are not keys.
    pub fn encrypted(keys: &str) -> Result<Self, &'static str> {
        Ok(Self(Some(envelope::Keys::parse(keys)?)))
    }

    /// Does not encrypt.
    pub fn clear() -> Self {
        Self(None)
    }

    /// Returns an entry in its form in Redis; `None` if the system has no random bytes.
    pub fn seal(&self, name: &str, fence: u64, plain: &[u8]) -> Option<Vec<u8>> {
        let mut value = digits(fence).into_bytes();
        value.extend(match &self.0 {
            Some(keys) => keys.seal(name, plain)?,
            None => envelope::clear(plain),
        });
        Some(value)
    }

    /// Returns the fence and the content of an entry in its form in Redis.
    ///
    /// # Errors
    ///
    /// A text that says why it cannot be used.
    pub fn open(&self, name: &str, value: &[u8]) -> Result<(u64, Vec<u8>), String> {
        let split = split_fence(value).ok_or(EntryDefect::UnknownFormat);
        let opened = split.and_then(|(fence, sealed)| {
            let plain = match &self.0 {
                Some(keys) => keys.open(name, sealed)?,
                None => envelope::open_clear(sealed)?,
            };
            Ok((fence, plain.to_vec()))
        });
        opened.map_err(|defect| defect.to_string())
    }
}
