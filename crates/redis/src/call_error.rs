//! Errors of calls, in words of our own.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::{RedisStoreError, RedisStoreErrorKind as Kind, address::parse_named};

/// The error of a call, and the step after which another attempt may succeed.
///
/// Its text holds nothing that the server sent, except an address that is refused: an error reply may repeat a command's
/// arguments, a password among them.
#[derive(Clone, Debug)]
pub(crate) struct CallError {
    pub(crate) error: RedisStoreError,
    pub(crate) recovery: Recovery,
}

/// The step after which another attempt may succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Recovery {
    /// The connection can no longer be used: open another one.
    Reconnect,
    /// This server cannot accept writes: another one may have become the primary.
    FindPrimary,
    /// Username and password were refused: read the password again.
    ReadPassword,
    /// Send the script.
    LoadScript,
    /// The key's slot is on this node of a cluster.
    Moved(String, u16),
    /// The key is on its way to this node of a cluster.
    Ask(String, u16),
    /// The cluster is changing: try again.
    TryAgain,
    None,
}

impl CallError {
    pub(crate) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self::with(Recovery::None, kind, text)
    }

    /// Creates an error of a connection that cannot be opened or used.
    pub(crate) fn connection(kind: Kind, text: impl Into<String>) -> Self {
        Self::with(Recovery::Reconnect, kind, text)
    }

    /// Returns true if another connection may have a better reply.
    pub(crate) fn is_of_connection(&self) -> bool {
        use Recovery::{FindPrimary, ReadPassword, Reconnect};
        matches!(self.recovery, Reconnect | FindPrimary | ReadPassword)
    }

    /// Returns the same error of a sentinel, whose user is another one.
    pub(crate) fn at_sentinel(self) -> Self {
        let kind = match self.error.kind() {
            Kind::PasswordRefused
            | Kind::PasswordRequired
            | Kind::PasswordSource
            | Kind::PasswordUnexpected
            | Kind::PermissionDenied => Kind::SentinelPassword,
            Kind::Unavailable => Kind::Sentinel,
            // It is about a setting that both use, or names the sentinel already.
            _ => return self,
        };
        let text = format!("at the sentinel: {}", self.error);
        Self::with(self.recovery, kind, text)
    }

    fn with(recovery: Recovery, kind: Kind, text: impl Into<String>) -> Self {
        Self {
            error: RedisStoreError::new(kind, text),
            recovery,
        }
    }
}

impl From<RedisError> for CallError {
    fn from(error: RedisError) -> Self {
        // The error of several commands has no text and few codes; the first of its parts has both.
        let parts = error.clone().into_server_errors();
        let first = parts.and_then(|parts| Some(parts.first()?.1.clone()));
        let error = first.map_or(error, RedisError::from);
        let unavailable = |text: &str| Self::connection(Kind::Unavailable, text);
        if error.is_timeout() {
            return unavailable("Redis did not answer in time");
        }
        match error.kind() {
            ErrorKind::Io => return unavailable("the connection to Redis was lost"),
            ErrorKind::Parse => return unavailable("the server does not speak Redis's protocol"),
            ErrorKind::RESP3NotSupported => return unavailable("the server is older than Redis 6"),
            _ => {}
        }
        if error.is_unrecoverable_error() && error.code().is_none() {
            return unavailable("the connection to Redis was lost");
        }
        let recovery = match error.kind() {
            ErrorKind::Server(ServerErrorKind::Moved) => Some(Recovery::Moved as fn(_, _) -> _),
            ErrorKind::Server(ServerErrorKind::Ask) => Some(Recovery::Ask as fn(_, _) -> _),
            _ => None,
        };
        if let Some(recovery) = recovery {
            let named = error.redirect_node().and_then(|(node, _)| address(node));
            return match named {
                Some((host, port)) => {
                    Self::with(recovery(host, port), Kind::ClusterRequired, MOVED)
                }
                None => Self::with(Recovery::TryAgain, Kind::Unavailable, NOT_AN_ADDRESS),
            };
        }
        Self::from_reply(
            error.code().unwrap_or_default(),
            error.detail().unwrap_or_default(),
        )
    }
}

const MOVED: &str =
    "the server belongs to a cluster, and the key is on another node: set `cluster`";

const NOT_AN_ADDRESS: &str = "a node named an address that is not valid: check its `cluster-announce-ip` and `cluster-announce-hostname`";

/// Parses `host:port`; the host is empty if the node does not know its own.
fn address(node: &str) -> Option<(String, u16)> {
    let (host, port) = node.rsplit_once(':')?;
    let bracketed = host.strip_prefix('[').and_then(|ip| ip.strip_suffix(']'));
    let ipv6 = bracketed.filter(|ip| ip.contains(':'));
    parse_named(ipv6.unwrap_or(host), port)
}

impl CallError {
    /// Returns the error for an error reply. The detail is only compared with known texts.
    fn from_reply(code: &str, detail: &str) -> Self {
        use Recovery::{FindPrimary, LoadScript, None, ReadPassword, Reconnect, TryAgain};
        // An error within a script is reported with the code `ERR` by some versions.
        let in_script = code == "ERR" || code.is_empty();
        let within = |text: &str| in_script && detail.contains(text);
        let (recovery, kind, text) = match code {
            "NOSCRIPT" => (LoadScript, Kind::Unavailable, "the script is not loaded"),
            "NOAUTH" => (
                ReadPassword,
                Kind::PasswordRequired,
                "Redis requires a password (NOAUTH)",
            ),
            "WRONGPASS" => (
                ReadPassword,
                Kind::PasswordRefused,
                "Redis refused username and password (WRONGPASS)",
            ),
            "NOPERM" => (None, Kind::PermissionDenied, NOPERM),
            "OOM" => (None, Kind::OutOfMemory, OOM),
            "READONLY" => (FindPrimary, Kind::ReadOnly, READONLY),
            "LOADING" => (
                None,
                Kind::Unavailable,
                "Redis is loading its data (LOADING)",
            ),
            "BUSY" => (
                None,
                Kind::Unavailable,
                "Redis is busy with a script (BUSY)",
            ),
            "MISCONF" => (
                None,
                Kind::Unavailable,
                "Redis cannot persist its data and refuses writes (MISCONF)",
            ),
            "NOREPLICAS" => (
                None,
                Kind::Unavailable,
                "Redis has too few replicas for writes (NOREPLICAS)",
            ),
            "MASTERDOWN" => (
                FindPrimary,
                Kind::Unavailable,
                "the replica has lost its primary (MASTERDOWN)",
            ),
            "UNBLOCKED" => (
                FindPrimary,
                Kind::Unavailable,
                "Redis became a replica (UNBLOCKED)",
            ),
            "CLUSTERDOWN" => (
                TryAgain,
                Kind::Unavailable,
                "the cluster is down (CLUSTERDOWN)",
            ),
            "TRYAGAIN" => (
                TryAgain,
                Kind::Unavailable,
                "the cluster is moving the key (TRYAGAIN)",
            ),
            "NOPROTO" => (
                Reconnect,
                Kind::Unavailable,
                "the server does not support RESP3 (NOPROTO)",
            ),
            _ if within("Function not found") => (
                None,
                Kind::FunctionsMissing,
                "this version's function library is not loaded into Redis (FUNCTION LOAD)",
            ),
            _ if within("OOM") => (None, Kind::OutOfMemory, OOM),
            _ if within("read only replica") => (FindPrimary, Kind::ReadOnly, READONLY),
            _ if within("ACL failure") || within("can't run this command") => {
                (None, Kind::PermissionDenied, NOPERM)
            }
            _ if within("without any password") => (
                ReadPassword,
                Kind::PasswordUnexpected,
                "a password is set, and Redis requires none",
            ),
            _ if !code.is_empty()
                && code.len() <= 20
                && code.bytes().all(|b| b.is_ascii_uppercase()) =>
            {
                let text = format!("Redis replied with the error `{code}`");
                return Self::new(Kind::Unavailable, text);
            }
            _ => (None, Kind::Unavailable, "Redis replied with an error"),
        };
        Self::with(recovery, kind, text)
    }
}

const OOM: &str = "Redis has reached its memory limit (OOM)";
const READONLY: &str = "Redis is a read-only replica (READONLY)";
const NOPERM: &str =
    "the Redis user lacks a permission (NOPERM): see the ACL rule in the documentation";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_nodes_are_parsed() {
        let found = |host: &str| Some((host.to_owned(), 7_000));
        assert_eq!(address("10.0.0.1:7000"), found("10.0.0.1"));
        assert_eq!(address("::1:7000"), found("::1"));
        assert_eq!(address("[::1]:7000"), found("::1"));
        assert_eq!(address(":7000"), found(""));
        for wrong in [
            "10.0.0.1:99999",
            "10.0.0.1",
            "[]:7000",
            "[[::1]]:7000",
            "[::1:7000",
            "a:+7000",
        ] {
            assert_eq!(address(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn no_text_of_the_server_is_repeated() {
        let detail = "unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `CANARY`";
        let text = |code| CallError::from_reply(code, detail).error.to_string();
        for code in ["ERR", "", "NOAUTH", "WEIRD", "not a code CANARY"] {
            assert!(!text(code).contains("CANARY"), "{}", text(code));
        }
        assert!(text("WEIRD").contains("WEIRD"));
    }
}
