//! The addresses of token endpoints and of Redis: credentials go to the URL that `url` reads, by TLS, and a wrong
//! address, which may hold a password, is not shown.

use hallpass_core::{TokenRequest, TokenSource as _};
use hallpass_endpoint::{ClientCredentials, Retry};
use hallpass_redis::RedisTokenStore;
use url::Url;

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
];

const REDIS: u8 = 1;
const LOOPBACK: u8 = 2;
const REFUSE_LOCAL: u8 = 4;

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let endpoints = [
        "crates/endpoint/src/server/address.rs",
        "crates/endpoint/src/transport/reach.rs",
    ];
    let mut seeds = seeds::of_literals(&endpoints, &[0]);
    seeds.extend(seeds::of_literals(&endpoints, &[LOOPBACK]));
    seeds.extend(seeds::of_literals(&endpoints, &[REFUSE_LOCAL]));
    seeds.extend(seeds::of_literals(
        &["crates/redis/src/address.rs"],
        &[REDIS],
    ));
    for settings in [0, LOOPBACK, REFUSE_LOCAL] {
        seeds.push([&[settings], &b"https://login.acme.example/token"[..]].concat());
    }
    seeds.push([&[REDIS], &b"rediss://tokens.acme.example"[..]].concat());
    seeds
}

pub(crate) fn run(bytes: &[u8]) {
    let (settings, bytes) = settings(bytes);
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    if settings & REDIS != 0 {
        return redis(text);
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

fn redis(text: &str) {
    // The store spawns its tasks.
    block_on(async {
        let store = RedisTokenStore::builder(text)
            .danger_store_in_clear()
            .build();
        match store {
            Ok(store) => {
                let url = Url::parse(text).unwrap();
                let host = url.host_str().unwrap();
                assert!(
                    !host.is_empty()
                        && matches!(url.scheme(), "redis" | "rediss" | "valkey" | "valkeys")
                );
                if !host.contains("CANARY") {
                    assert_hidden(&format!("{store:?}"), CANARY);
                }
            }
            Err(error) => {
                let host = text.strip_prefix("rediss://").unwrap_or_default();
                assert!(!is_plain_host(host), "{error}: {text}");
                check_error(&error, CANARY);
            }
        }
    });
}
