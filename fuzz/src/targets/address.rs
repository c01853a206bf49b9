//! The addresses of token endpoints and of Redis: credentials go to the URL that `url` reads, by TLS, and a wrong
//! address, which may hold a password, is not shown. An address that a server of Redis names is the one of its text.

use std::net::{IpAddr, Ipv6Addr};

use hallpass_core::{TokenRequest, TokenSource as _};
use hallpass_endpoint::{ClientCredentials, Retry};
use hallpass_redis::{
    RedisTokenStore,
    internals::{self, Server},
};
use url::{Host, Url};

use super::metadata::is_local;
use crate::{
    seeds,
    support::{
        CANARY, CLIENT_ID, Response, assert_hidden, authentication, block_on, check_error,
        check_token_error, is_plain_host, is_plain_url, serve, settings, transport,
    },
};

pub(crate) const WORDS: &[&str] = &[
    "https://",
    "http://",
    "rediss://",
    "redis://",
    "valkeys://",
    ":s3cr3t-CANARY@",
    "127.0.0.1",
    "[::1]",
    "[fd00::1]",
    "localhost",
    "login.example",
    "/token",
    "/0",
    "%2f",
    "?x=1",
    "#",
    ":6379",
    "\n6379",
    "%eth0",
];

const REDIS: u8 = 1;
const LOOPBACK: u8 = 2;
const REFUSE_LOCAL: u8 = 4;
// Settings of Redis.
const PLAIN_TEXT: u8 = 2;
const BY_SENTINEL: u8 = 4;
const REDIRECTION: u8 = 8;
const PRIMARY: u8 = 16;

/// Hosts that a server of Redis may name, and others that differ in one character.
const HOSTS: &[&str] = &[
    "",
    "10.0.0.1",
    "127.0.0.1",
    "127.1",
    "::1",
    "[::1]",
    "[::1",
    "[[::1]]",
    "[]",
    "[localhost]",
    "::ffff:127.0.0.1",
    "[::ffff:127.0.0.1]",
    "[0:0::0001]",
    "fe80::1%eth0",
    "localhost",
    "LOCALHOST.",
    "redis.localhost",
    "notlocalhost",
    "redis.example",
    "user@redis.example",
    "redis/example",
    "?",
    "é",
];
const PORTS: &[&str] = &[
    "7000", "0", "007000", "65535", "65536", "+7000", "-1", "7000@1", "",
];

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let endpoints = [
        "crates/endpoint/src/server/address.rs",
        "crates/endpoint/src/transport/reach.rs",
    ];
    let mut seeds = seeds::of_literals(&endpoints, &[0]);
    seeds.extend(seeds::of_literals(&endpoints, &[LOOPBACK]));
    seeds.extend(seeds::of_literals(&endpoints, &[REFUSE_LOCAL]));
    for settings in [0, PLAIN_TEXT, BY_SENTINEL] {
        seeds.extend(seeds::of_literals(
            &["crates/redis/src/address.rs"],
            &[REDIS | settings],
        ));
    }
    for host in HOSTS {
        for port in PORTS {
            let seed = |settings, between| {
                let text = format!("{host}{between}{port}");
                [&[REDIS | settings], text.as_bytes()].concat()
            };
            seeds.extend([seed(REDIRECTION, ":"), seed(PRIMARY, "\n")]);
        }
        seeds.push([&[REDIS], format!("redis://{host}").as_bytes()].concat());
    }
    for settings in [0, LOOPBACK, REFUSE_LOCAL] {
        seeds.push([&[settings], &b"https://login.acme.example/token"[..]].concat());
    }
    for (settings, url) in [
        (0, "rediss://tokens.acme.example"),
        (0, "valkeys://tokens.acme.example"),
        (0, "valkey://tokens.acme.example"),
        (PLAIN_TEXT, "redis://tokens.acme.example"),
    ] {
        seeds.push([&[REDIS | settings], url.as_bytes()].concat());
    }
    seeds
}

pub(crate) fn run(bytes: &[u8]) {
    let (settings, bytes) = settings(bytes);
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    if settings & REDIS != 0 {
        return match settings {
            _ if settings & REDIRECTION != 0 => redirection(text),
            _ if settings & PRIMARY != 0 => primary(text),
            _ => redis(settings, text),
        };
    }
    let mut source = ClientCredentials::builder(text, CLIENT_ID, authentication())
        .transport(transport(false))
        .retry(Retry::never());
    let loopback = settings & LOOPBACK != 0;
    let refuse_local = settings & REFUSE_LOCAL != 0;
    if loopback {
        source = source.danger_allow_http_on_loopback();
    }
    if refuse_local {
        source = source.refuse_local_endpoint();
    }
    let source = match source.build() {
        Ok(source) => source,
        Err(error) => {
            let is_excluded = loopback && refuse_local;
            assert!(is_excluded || !is_plain_url(text), "{error}: {text}");
            return check_error(&error, CANARY);
        }
    };
    let url = Url::parse(text).unwrap();
    assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none());
    assert!(url.scheme() == "https" || url.scheme() == "http" && loopback && is_local(&url));
    assert!(!refuse_local || !is_local(&url), "{url}");
    let request = TokenRequest::default();
    let refused = |_: &Url| Response::parse(b"401\n\n");
    let (result, requests) = serve(refused, source.token(&request));
    assert_eq!(requests, [url]);
    let error = result.unwrap_err();
    // The host is shown.
    if error
        .host()
        .is_none_or(|host| !host.to_lowercase().contains("canary"))
    {
        check_token_error(&error);
    }
}

/// The URL of a Redis store.
fn redis(settings: u8, text: &str) {
    let (allows_plain_text, by_sentinel) =
        (settings & PLAIN_TEXT != 0, settings & BY_SENTINEL != 0);
    let mut store = RedisTokenStore::builder(text).danger_store_in_clear();
    if allows_plain_text {
        store = store.danger_allow_plain_text();
    }
    if by_sentinel {
        store = store.sentinel("main", [""; 0]);
    }
    // The store spawns its tasks.
    block_on(async {
        let store = match store.build() {
            Ok(store) => store,
            Err(error) => {
                let plain = text.strip_prefix("redis://");
                let tls = text.strip_prefix("rediss://");
                let host = tls.or_else(|| text.strip_prefix("valkeys://"));
                let host = host.or(plain.filter(|_| allows_plain_text));
                assert!(!is_plain_host(host.unwrap_or_default()), "{error}: {text}");
                return check_error(&error, CANARY);
            }
        };
        let url = Url::parse(text).unwrap();
        let tls = match url.scheme() {
            "rediss" | "valkeys" => true,
            "redis" | "valkey" => false,
            other => panic!("{other}"),
        };
        let host = read_host(&url);
        let port = url.port();
        let port = port.unwrap_or(if by_sentinel { 26_379 } else { 6_379 });
        let is_exposed = !tls && !is_this_machine(&host);
        assert!(!is_exposed || allows_plain_text, "{text}");
        if !host.contains("CANARY") {
            assert_hidden(&format!("{store:?}"), CANARY);
        }
        let server = Server {
            host,
            port,
            tls,
            is_exposed,
        };
        assert_eq!(internals::servers(&store), [server]);
    });
}

/// Returns the host, an IPv6 address without brackets.
fn read_host(url: &Url) -> String {
    let host = match url.host().unwrap() {
        Host::Domain(name) => name.to_owned(),
        Host::Ipv4(ip) => ip.to_string(),
        Host::Ipv6(ip) => ip.to_string(),
    };
    assert!(!host.is_empty());
    host
}

fn is_this_machine(host: &str) -> bool {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return ip.to_canonical().is_loopback();
    }
    let name = host.to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    name == "localhost" || name.ends_with(".localhost")
}

/// The text of a redirection by a node of a cluster.
fn redirection(text: &str) {
    if text.contains(|char: char| char.is_ascii_whitespace()) {
        // Words are separated before.
        return;
    }
    let asked = "asked.example";
    let server = internals::redirection("MOVED", asked, text);
    assert_eq!(internals::redirection("ASK", asked, text), server);
    let parts = text.rsplit_once(':');
    let Some(server) = server else {
        assert!(!parts.is_some_and(is_plain_address), "{text}");
        return;
    };
    let (host, port) = parts.unwrap();
    match host {
        "" => assert_eq!(server.host, asked),
        _ => assert!(host == server.host || host == format!("[{}]", server.host)),
    }
    check_named(&server, port);
}

/// The answer of a sentinel: a line with the host, and one with the port.
fn primary(text: &str) {
    let Some((host, port)) = text.split_once('\n') else {
        return;
    };
    match internals::primary(host, port) {
        Some(server) => {
            assert_eq!(server.host, host);
            check_named(&server, port);
        }
        None => assert!(!is_plain_address((host, port)), "{text}"),
    }
}

/// Checks an address that a server named: its port is this text, and `url` reads both the same.
fn check_named(server: &Server, port: &str) {
    let host = &server.host;
    assert!(!host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic()));
    assert_eq!(format!("{:0>1$}", server.port, port.len()), port);
    assert_eq!(server.is_exposed, !is_this_machine(host));
    let (shown, expected) = match host.parse::<Ipv6Addr>() {
        Ok(ip) => (format!("[{host}]"), ip.to_string()),
        // A zone, or no address: a URL has neither.
        Err(_) if host.contains(':') => return,
        Err(_) => (host.clone(), host.clone()),
    };
    let url = Url::parse(&format!("redis://{shown}:{}", server.port)).unwrap();
    assert_eq!((read_host(&url), url.port()), (expected, Some(server.port)));
    assert!(url.username().is_empty() && url.path().is_empty());
}

/// Returns true for an address that is certainly one.
fn is_plain_address((host, port): (&str, &str)) -> bool {
    let is_host = is_plain_host(host) || host.parse::<IpAddr>().is_ok();
    let number = port.parse::<u16>();
    is_host && number.is_ok_and(|number| number.to_string() == port)
}
