//! The address of a server, and its URL.

use std::{borrow::Cow, fmt};

use hallpass_core::{Secret, is_loopback_host};
use url::{Host, Url};

use crate::RedisBuildError;

/// The address of a server or a node.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
}

impl Address {
    /// Returns true if the connection does not leave this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        if self.host.contains(':') {
            return is_loopback_host(&format!("[{}]", self.host));
        }
        is_loopback_host(&self.host)
    }

    /// Returns true if the network sees what is sent.
    pub(crate) fn is_exposed(&self) -> bool {
        !self.tls && !self.is_loopback()
    }

    /// Returns the address that this node of a cluster named: a node that does not know its own host leaves it out.
    pub(crate) fn named(&self, host: &str, port: u16) -> Self {
        let host = if host.is_empty() { &self.host } else { host };
        Self {
            host: host.to_owned(),
            port,
            tls: self.tls,
        }
    }
}

/// The reason why an exposed address is refused, and what to do.
pub(crate) const NO_TLS: &str =
    "`redis://` has no TLS; use `rediss://`, or `danger_allow_plain_text` in a trusted network";

/// Parses an address that a server named; the host may be empty.
///
/// The result may be shown: it has only the characters of host names, IP addresses and their zones.
pub(crate) fn parse_named(host: &str, port: &str) -> Option<(String, u16)> {
    let is_usable = |c: u8| c.is_ascii_alphanumeric() || b".-_:%".contains(&c);
    let is_host = host.len() <= MAX_HOST_BYTES && host.bytes().all(is_usable);
    // A number may have a sign for `parse`.
    let is_port = port.bytes().all(|c| c.is_ascii_digit());
    let port = port.parse().ok()?;
    (is_host && is_port).then(|| (host.to_owned(), port))
}

/// Parses the address of a primary that a sentinel named.
pub(crate) fn parse_primary(host: &str, port: &str) -> Option<(String, u16)> {
    parse_named(host, port).filter(|(host, _)| !host.is_empty())
}

/// The maximum length of a name in DNS.
const MAX_HOST_BYTES: usize = 253;

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "rediss" } else { "redis" };
        write!(f, "{scheme}://{self}")
    }
}

/// The parts of a URL.
#[derive(Debug)]
pub(crate) struct UrlParts {
    pub(crate) address: Address,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) database: i64,
}

/// Parses `redis[s]://[[user]:password@]host[:port][/database]`.
///
/// # Errors
///
/// An error about `setting` that quotes nothing of the URL, which may hold a password.
pub(crate) fn parse(
    setting: &'static str,
    url: &str,
    default_port: u16,
) -> Result<UrlParts, RedisBuildError> {
    let wrong = |message: &'static str| RedisBuildError::new(setting, message);
    let url = Url::parse(url).map_err(|_| wrong(URL_HINT))?;
    let tls = match url.scheme() {
        "rediss" | "valkeys" => true,
        "redis" | "valkey" => false,
        _ => return Err(wrong(URL_HINT)),
    };
    let host = match url.host().ok_or_else(|| wrong(URL_HINT))? {
        Host::Domain(name) => name.to_owned(),
        Host::Ipv4(ip) => ip.to_string(),
        Host::Ipv6(ip) => ip.to_string(),
    };
    if host.is_empty() || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong(URL_HINT));
    }
    let database = match url.path().trim_matches('/') {
        "" => 0,
        number => number.parse::<u16>().map_err(|_| wrong(URL_HINT))?.into(),
    };
    let decode = |text: &str| {
        let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
        decoded.map(Cow::into_owned).map_err(|_| wrong(URL_HINT))
    };
    let username = Some(url.username()).filter(|name| !name.is_empty());
    let password = url.password().map(|password| {
        Secret::new(decode(password)?).map_err(|_| wrong("the password in the URL is empty"))
    });
    Ok(UrlParts {
        address: Address {
            host,
            port: url.port().unwrap_or(default_port),
            tls,
        },
        username: username.map(decode).transpose()?,
        password: password.transpose()?,
        database,
    })
}

const URL_HINT: &str =
    "the URL must look like `rediss://host:6379/0`; user name and password may precede the host";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_of_a_url_are_read() {
        let parts = parse("url", "rediss://us%40er:p%2Fw@redis.example:7000/3", 6379).unwrap();
        assert_eq!(
            format!("{:?}", parts.address),
            "rediss://redis.example:7000"
        );
        assert_eq!(parts.username.as_deref(), Some("us@er"));
        assert_eq!(parts.password.unwrap().expose(), "p/w");
        assert_eq!(parts.database, 3);
        let parts = parse("url", "redis://[::1]", 6379).unwrap();
        assert_eq!((&*parts.address.host, parts.address.port), ("::1", 6379));
        assert_eq!(format!("{:?}", parts.address), "redis://[::1]:6379");
        assert!(parts.address.is_loopback() && parts.password.is_none());
        let parts = parse("url", "redis://127.0.0.1", 6379).unwrap();
        assert!(parts.address.is_loopback());
        let parts = parse("url", "redis://:pw@10.0.0.1", 6379).unwrap();
        assert_eq!(parts.username, None);
        assert!(!parts.address.is_loopback());
    }

    #[test]
    fn a_named_address_has_a_host_that_may_be_shown() {
        let longest = "a".repeat(253);
        for host in [
            "10.0.0.1",
            "::1",
            "fe80::1%eth0",
            "a_b.example",
            "",
            &longest,
        ] {
            let found = parse_named(host, "7000");
            assert_eq!(found, Some((host.to_owned(), 7_000)));
        }
        for host in [
            "a b",
            "a\n",
            "[::1]",
            "a/b",
            "é",
            "a@b",
            "?",
            &format!("a{longest}"),
        ] {
            assert_eq!(parse_named(host, "7000"), None, "{host:?}");
        }
        for port in ["", "+7000", "-1", "65536", "x", " 1"] {
            assert_eq!(parse_named("10.0.0.1", port), None, "{port:?}");
        }
        assert_eq!(parse_primary("", "7000"), None);
    }

    #[test]
    fn the_host_of_a_node_that_leaves_it_out_is_its_own() {
        for (url, exposed) in [
            ("redis://[::1]", false),
            ("redis://10.0.0.1", true),
            ("rediss://10.0.0.1", false),
        ] {
            let node = parse("url", url, 6379).unwrap().address;
            let named = node.named("", 7_000);
            assert_eq!(
                (&named.host, named.port, named.tls),
                (&node.host, 7_000, node.tls)
            );
            assert_eq!(named.is_exposed(), exposed);
        }
        let node = parse("url", "redis://[::1]", 6379).unwrap().address;
        assert!(node.named("10.0.0.1", 7_000).is_exposed());
    }

    #[test]
    fn a_wrong_url_is_not_quoted() {
        for url in [
            "redis.example:6379",
            "http://:CANARY@redis.example",
            "redis://:CANARY@",
            "redis://:CANARY@host/zero",
            "redis://:CANARY@host?x=1",
            "redis://:CANARY@host:99999",
        ] {
            let error = parse("url", url, 6379).unwrap_err().to_string();
            assert!(
                error.contains("rediss://host") && !error.contains("CANARY"),
                "{error}"
            );
        }
    }
}
