//! Failures of Redis, in words of our own.

use std::sync::Arc;

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// A failure of a call. Its text holds nothing that the server sent: an error reply may repeat a command's arguments, a
/// password among them.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    text: Arc<str>,
    pub(crate) kind: FaultKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// The connection can no longer be used.
    Connection,
    /// This server cannot accept writes: another one may have become the primary.
    NotPrimary,
    /// Username and password were rejected.
    Credentials,
    /// The script is not loaded.
    NoScript,
    /// The key's slot is on this node of a cluster.
    Moved(String, u16),
    /// The key is on its way to this node of a cluster.
    Ask(String, u16),
    /// The cluster is changing: another attempt may succeed.
    TryAgain,
    Other,
}

impl Fault {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self::of(FaultKind::Other, text)
    }

    pub(crate) fn connection(text: impl Into<String>) -> Self {
        Self::of(FaultKind::Connection, text)
    }

    fn of(kind: FaultKind, text: impl Into<String>) -> Self {
        let text: String = text.into();
        Self {
            text: text.into(),
            kind,
        }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

impl From<RedisError> for Fault {
    fn from(error: RedisError) -> Self {
        if error.is_timeout() {
            return Self::connection("Redis did not answer in time");
        }
        match error.kind() {
            ErrorKind::Io => return Self::connection("the connection to Redis was lost"),
            ErrorKind::Parse => {
                return Self::connection("the server does not speak Redis's protocol");
            }
            ErrorKind::RESP3NotSupported => {
                return Self::connection("the server is older than Redis 6");
            }
            _ => {}
        }
        if error.is_unrecoverable_error() && error.code().is_none() {
            return Self::connection("the connection to Redis was lost");
        }
        let redirection = error.redirect_node().and_then(|(node, _)| address(node));
        match (error.kind(), redirection) {
            (ErrorKind::Server(ServerErrorKind::Moved), Some((host, port))) => {
                return Self::of(FaultKind::Moved(host, port), MOVED);
            }
            (ErrorKind::Server(ServerErrorKind::Ask), Some((host, port))) => {
                return Self::of(FaultKind::Ask(host, port), MOVED);
            }
            _ => {}
        }
        Self::from_reply(
            error.code().unwrap_or_default(),
            error.detail().unwrap_or_default(),
        )
    }
}

const MOVED: &str =
    "the server belongs to a cluster, and the key is on another node: set `cluster`";

/// Parses `host:port`; the host is empty if the node does not know its own.
fn address(node: &str) -> Option<(String, u16)> {
    let (host, port) = node.rsplit_once(':')?;
    let host = host.trim_matches(['[', ']']);
    Some((host.to_owned(), port.parse().ok()?))
}

impl Fault {
    /// Returns the fault for an error reply. The detail is only compared with known texts.
    fn from_reply(code: &str, detail: &str) -> Self {
        use FaultKind::{Connection, Credentials, NoScript, NotPrimary, Other, TryAgain};
        // An error within a script is reported with the code `ERR` by some versions.
        let within = |code: &str| detail.contains(code);
        let in_script = code == "ERR" || code.is_empty();
        let (kind, text) = match code {
            "NOSCRIPT" => (NoScript, "the script is not loaded"),
            "NOAUTH" => (Credentials, "Redis requires a password (NOAUTH)"),
            "WRONGPASS" => (
                Credentials,
                "Redis rejected username and password (WRONGPASS)",
            ),
            "NOPERM" => (Other, NOPERM),
            "OOM" => (Other, "Redis has reached its memory limit (OOM)"),
            "READONLY" => (NotPrimary, "Redis is a read-only replica (READONLY)"),
            "LOADING" => (Other, "Redis is loading its data (LOADING)"),
            "BUSY" => (Other, "Redis is busy with a script (BUSY)"),
            "MISCONF" => (
                Other,
                "Redis cannot persist its data and rejects writes (MISCONF)",
            ),
            "NOREPLICAS" => (Other, "Redis has too few replicas for writes (NOREPLICAS)"),
            "MASTERDOWN" => (NotPrimary, "the replica has lost its primary (MASTERDOWN)"),
            "UNBLOCKED" => (NotPrimary, "Redis became a replica (UNBLOCKED)"),
            "CLUSTERDOWN" => (TryAgain, "the cluster is down (CLUSTERDOWN)"),
            "TRYAGAIN" => (TryAgain, "the cluster is moving the key (TRYAGAIN)"),
            "NOPROTO" => (Connection, "the server does not support RESP3 (NOPROTO)"),
            _ if in_script && within("OOM") => (Other, "Redis has reached its memory limit (OOM)"),
            _ if in_script && within("read only replica") => {
                (NotPrimary, "Redis is a read-only replica (READONLY)")
            }
            _ if in_script && (within("ACL failure") || within("can't run this command")) => {
                (Other, NOPERM)
            }
            _ if in_script && within("without any password") => {
                (Credentials, "a password is set, and Redis requires none")
            }
            _ if !code.is_empty()
                && code.len() <= 20
                && code.bytes().all(|b| b.is_ascii_uppercase()) =>
            {
                return Self::new(format!("Redis replied with the error `{code}`"));
            }
            _ => (Other, "Redis replied with an error"),
        };
        Self::of(kind, text)
    }
}

const NOPERM: &str =
    "the Redis user lacks a permission (NOPERM): see the ACL rule in the documentation";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_nodes_are_read() {
        let found = |host: &str| Some((host.to_owned(), 7_000));
        assert_eq!(address("10.0.0.1:7000"), found("10.0.0.1"));
        assert_eq!(address("::1:7000"), found("::1"));
        assert_eq!(address("[::1]:7000"), found("::1"));
        assert_eq!(address(":7000"), found(""));
        assert_eq!(address("10.0.0.1:99999"), None);
    }

    #[test]
    fn no_text_of_the_server_is_repeated() {
        let detail = "unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `CANARY`";
        for code in ["ERR", "", "NOAUTH", "WEIRD", "not a code CANARY"] {
            let fault = Fault::from_reply(code, detail);
            assert!(!fault.text().contains("CANARY"), "{}", fault.text());
        }
        assert!(Fault::from_reply("WEIRD", detail).text().contains("WEIRD"));
    }
}
