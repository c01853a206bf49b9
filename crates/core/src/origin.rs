//! The scheme, host and port that a token may go to, parsed once into a type that is always valid.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use http::{HeaderValue, Uri};

/// The longest host name that DNS can express.
const MAX_HOST_LEN: usize = 253;

/// A scheme, a host and a port (RFC 6454), which together identify a server that a token is meant for.
///
/// Write it as `https://api.example` or `https://api.example:8443`; a trailing slash is ignored. There are no
/// wildcards: a token for one host is not for its neighbours. A name outside ASCII is written in its wire form,
/// `xn--...`.
///
/// ```
/// use hallpass_core::authorize::{Origin, Target};
///
/// let origin: Origin = "https://API.example:443/".parse()?;
/// assert_eq!(origin.to_string(), "https://api.example");
/// assert!(origin.is_at(Target::new("https", "api.example", None)));
/// assert!(!origin.is_at(Target::new("https", "api.example", Some(8443))));
/// assert!("https://*.example".parse::<Origin>().is_err());
/// # Ok::<(), hallpass_core::authorize::InvalidOrigin>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    https: bool,
    /// In lower case; an IPv6 address in brackets, in its shortest form.
    host: Box<str>,
    port: u16,
}

impl Origin {
    /// Returns true if the scheme is plain HTTP.
    pub fn is_http(&self) -> bool {
        !self.https
    }

    /// Returns true if the host is this machine: `127.0.0.0/8`, `[::1]`, `localhost` or a name below it.
    pub fn is_loopback(&self) -> bool {
        is_loopback_host(&self.host)
    }

    /// Returns true if a request to `target` goes to this origin.
    ///
    /// Host names are compared without regard to case. Any other spelling is a different origin, even if it leads to
    /// the same machine.
    #[inline]
    pub fn is_at(&self, target: Target<'_>) -> bool {
        let port = target.port.unwrap_or(default_port(self.https));
        port == self.port
            && is_https(target.scheme) == Some(self.https)
            && self.is_host(target.host)
    }

    /// Returns true if this `Host` header names this origin's host and port (RFC 9110 section 7.2).
    pub(crate) fn is_named_by(&self, header: &HeaderValue) -> bool {
        let Ok(authority) = header.to_str() else {
            return false;
        };
        let (host, digits) = split_port(authority);
        let port = digits.and_then(port_number);
        port.is_some() == digits.is_some()
            && self.is_at(Target::new(scheme(self.https), host, port))
    }

    #[inline]
    fn is_host(&self, host: &str) -> bool {
        // Only a host that can be an IPv6 address is parsed as one: this runs on every request.
        same(host, &self.host)
            || host.starts_with('[') && ipv6(host).is_some_and(|ip| ipv6(&self.host) == Some(ip))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", scheme(self.https), self.host)?;
        if self.port != default_port(self.https) {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let (scheme, rest) = text.split_once("://").ok_or(InvalidOrigin(Reason::Shape))?;
        let https = is_https(scheme).ok_or(InvalidOrigin(Reason::Scheme))?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#', '\\']) {
            return Err(InvalidOrigin(Reason::Path));
        }
        if authority.contains('@') {
            return Err(InvalidOrigin(Reason::UserInfo));
        }
        let (host, port) = split_port(authority);
        let port = match port {
            None => default_port(https),
            Some(digits) => port_number(digits).ok_or(InvalidOrigin(Reason::Port))?,
        };
        Ok(Self {
            https,
            host: host_name(host).map_err(InvalidOrigin)?,
            port,
        })
    }
}

fn host_name(host: &str) -> Result<Box<str>, Reason> {
    if host.is_empty() {
        return Err(Reason::Shape);
    }
    if host.contains('*') {
        return Err(Reason::Wildcard);
    }
    if !host.is_ascii() {
        return Err(Reason::NotAscii);
    }
    if host.starts_with('[') {
        let ip = ipv6(host).ok_or(Reason::Host)?;
        return Ok(format!("[{ip}]").into());
    }
    let host = host.to_ascii_lowercase();
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let label = |label: &str| !label.is_empty() && label.bytes().all(letter);
    if host.len() > MAX_HOST_LEN || !host.split('.').all(label) {
        return Err(Reason::Host);
    }
    // Some libraries read `127.1` and `0x7f.1` as addresses: only the spelling that all agree on is accepted.
    let last = host.rsplit('.').next().unwrap_or_default();
    let number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    if number && host.parse::<Ipv4Addr>().is_err() {
        return Err(Reason::Host);
    }
    Ok(host.into())
}

/// Splits off the port. The colons within an IPv6 address are before its closing bracket.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match split_at_last(authority, b':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// Splits like `rsplit_once`, which is optimized for long texts: an authority is short, and parsed on every request.
fn split_at_last(text: &str, byte: u8) -> Option<(&str, &str)> {
    let place = text.bytes().rposition(|other| other == byte)?;
    Some((&text[..place], &text[place + 1..]))
}

/// Parses a port: digits only, without a sign, and not zero.
fn port_number(digits: &str) -> Option<u16> {
    let mut number = 0_u16;
    for byte in digits.bytes() {
        let digit = byte.is_ascii_digit().then(|| u16::from(byte - b'0'))?;
        number = number.checked_mul(10)?.checked_add(digit)?;
    }
    (number > 0).then_some(number)
}

/// Returns true if a URL's host is this machine by its own spelling: an address of `127.0.0.0/8`, `[::1]`, or the name
/// `localhost` or one below it (RFC 6761 section 6.3), with or without a final dot. Nothing is resolved.
///
/// ```
/// use hallpass_core::is_loopback_host;
///
/// assert!(is_loopback_host("127.0.0.1") && is_loopback_host("[::1]") && is_loopback_host("api.localhost."));
/// assert!(!is_loopback_host("localhost.example"));
/// ```
pub fn is_loopback_host(host: &str) -> bool {
    if let Some(ip) = ipv6(host) {
        return ip.to_canonical().is_loopback();
    }
    if let Ok(ip) = host.parse::<Ipv4Addr>() {
        return ip.is_loopback();
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let last = name.rsplit('.').next().unwrap_or_default();
    last.eq_ignore_ascii_case("localhost")
}

fn ipv6(host: &str) -> Option<Ipv6Addr> {
    host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// Returns true for `https`, false for `http`, `None` for any other scheme.
#[inline]
fn is_https(scheme: &str) -> Option<bool> {
    match scheme {
        "https" => Some(true),
        "http" => Some(false),
        // Rare, but allowed.
        _ if scheme.eq_ignore_ascii_case("https") => Some(true),
        _ if scheme.eq_ignore_ascii_case("http") => Some(false),
        _ => None,
    }
}

/// Compares without regard to case; the fast path is an exact match.
#[inline]
fn same(one: &str, other: &str) -> bool {
    one == other || one.eq_ignore_ascii_case(other)
}

fn scheme(https: bool) -> &'static str {
    if https { "https" } else { "http" }
}

#[inline]
fn default_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}

/// The error for a text that is not an origin. The message never repeats the text, since it may hold credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidOrigin(Reason);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Reason {
    #[error("not an origin; write scheme and host, such as `https://api.example`")]
    Shape,
    #[error("an origin's scheme is `https` or `http`")]
    Scheme,
    #[error("an origin has no path, query or fragment; write scheme, host and port only")]
    Path,
    #[error("an origin has no user name and no password; remove them")]
    UserInfo,
    #[error("an origin's host has no wildcard; name each host that the token is meant for")]
    Wildcard,
    #[error("an origin's host is written in ASCII; write it in its encoded form (`xn--...`)")]
    NotAscii,
    #[error("the origin's host is neither a name nor an address in its usual spelling")]
    Host,
    #[error("an origin's port is a number from 1 to 65535")]
    Port,
}

/// The scheme, host and port of a request's URL, to be compared with an [`Origin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    scheme: &'a str,
    host: &'a str,
    port: Option<u16>,
}

impl<'a> Target<'a> {
    /// Creates a target from its parts: an IPv6 address is in brackets, no port means the scheme's default.
    #[inline]
    pub fn new(scheme: &'a str, host: &'a str, port: Option<u16>) -> Self {
        Self { scheme, host, port }
    }

    /// Returns the target of `uri`, or `None` if it has no authority: an HTTP/1.1 request on a connection often has
    /// only a path.
    pub fn from_uri(uri: &'a Uri) -> Option<Self> {
        // In one pass: `Uri::host` and `Uri::port` each search for the end of the host.
        let authority = uri.authority()?.as_str();
        let authority = split_at_last(authority, b'@').map_or(authority, |(_, rest)| rest);
        let (host, port) = split_port(authority);
        let port = match port {
            None => None,
            // An invalid port must not become the scheme's default.
            Some(digits) => Some(port_number(digits)?),
        };
        Some(Self::new(uri.scheme_str()?, host, port))
    }

    /// Returns the host, spelled as in the request.
    pub fn host(&self) -> &'a str {
        self.host
    }

    pub(crate) fn is_http(&self) -> bool {
        self.scheme.eq_ignore_ascii_case("http")
    }

    /// Returns the same host and port, over HTTPS.
    pub(crate) fn with_https(self) -> Self {
        Self {
            scheme: "https",
            ..self
        }
    }

    /// Returns the host and its explicit port, as shown in events.
    pub(crate) fn authority(&self) -> String {
        match self.port {
            None => self.host.to_owned(),
            Some(port) => format!("{}:{port}", self.host),
        }
    }
}

impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority())
    }
}

impl<'a> From<&'a Origin> for Target<'a> {
    fn from(origin: &'a Origin) -> Self {
        Self::new(scheme(origin.https), &origin.host, Some(origin.port))
    }
}

#[cfg(test)]
mod tests;
