//! Every two settings of the builder, in both orders: `build` accepts them, or refuses them with an error that names both.

use std::{collections::BTreeSet, time::Duration};

use hallpass_redis::{RedisTokenStore, RedisTokenStoreBuilder};
use rcgen::{CertificateParams, KeyPair};

use crate::{
    support::{KEY, secret},
    table::{assert_none, setters},
};

type Set = fn(RedisTokenStoreBuilder) -> RedisTokenStoreBuilder;

const NONE: [&str; 0] = [];
const PLAIN: &str = "redis://127.0.0.1";
const TLS: &str = "rediss://127.0.0.1";

const ROWS: [(&str, Set); 15] = [
    ("client_certificate", |one| {
        one.client_certificate(secret("a certificate"))
    }),
    ("cluster", |one| one.cluster(NONE)),
    ("connect_timeout", |one| {
        one.connect_timeout(Duration::from_millis(1))
    }),
    (
        "danger_allow_plain_text",
        RedisTokenStoreBuilder::danger_allow_plain_text,
    ),
    (
        "danger_store_in_clear",
        RedisTokenStoreBuilder::danger_store_in_clear,
    ),
    ("functions", RedisTokenStoreBuilder::functions),
    ("keys", |one| one.keys(secret(KEY))),
    ("password", |one| one.password(secret("a password"))),
    ("prefix", |one| one.prefix("orders:")),
    ("response_timeout", |one| {
        one.response_timeout(Duration::from_millis(1))
    }),
    ("sentinel", |one| one.sentinel("primary", NONE)),
    ("sentinel_credentials", |one| {
        one.sentinel_credentials(None, secret("another one"))
    }),
    ("tls_roots", |one| one.tls_roots(root())),
    ("tls_roots_from", |one| one.tls_roots_from(secret("a root"))),
    ("username", |one| one.username("hallpass")),
];

/// Settings that exclude each other.
const EXCLUSIVE: [[&str; 2]; 3] = [
    ["keys", "danger_store_in_clear"],
    ["sentinel", "cluster"],
    ["tls_roots", "tls_roots_from"],
];

/// A setting, and the other one or the scheme without which it has no effect.
const IDLE: [(&str, &str); 5] = [
    ("client_certificate", "rediss://"),
    ("sentinel_credentials", "sentinel"),
    ("tls_roots", "rediss://"),
    ("tls_roots_from", "rediss://"),
    ("username", "password"),
];

fn root() -> String {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["redis.example".to_owned()]).unwrap();
    params.self_signed(&key).unwrap().pem()
}

/// Builds a store with these two settings, and with keys if neither replaces them. Returns the text of the error.
fn build(url: &str, [one, other]: [&(&str, Set); 2]) -> Option<String> {
    let mut builder = one.1(RedisTokenStore::builder(url));
    if one.0 != other.0 {
        builder = other.1(builder);
    }
    if ![one.0, other.0].contains(&"danger_store_in_clear") {
        builder = builder.keys(secret(KEY));
    }
    builder.build().err().map(|error| error.to_string())
}

/// Returns true for an error about the first setting that names the second one too.
fn names_both(text: &str, [one, other]: [&str; 2]) -> bool {
    text.starts_with(&format!("{one}: ")) && text.contains(&format!("`{other}`"))
}

#[test]
fn every_two_settings_are_accepted_or_refused_by_both_names() {
    let names: BTreeSet<_> = ROWS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let methods = setters("redis", "RedisTokenStoreBuilder");
    assert_eq!(names, methods, "left: `ROWS`; a method needs a row");
    let mut faults = Vec::new();
    for url in [PLAIN, TLS] {
        for one in &ROWS {
            for other in &ROWS {
                let pair = [one.0, other.0];
                let is_set = |name: &str| pair.contains(&name) || url.starts_with(name);
                let exclusive = EXCLUSIVE
                    .iter()
                    .filter(|both| both.iter().all(|name| is_set(name)));
                let idle = IDLE
                    .iter()
                    .filter(|(name, need)| is_set(name) && !is_set(need));
                let mut expected: Vec<_> = idle.map(|(name, need)| [*name, *need]).collect();
                expected.extend(exclusive);
                let error = build(url, [one, other]);
                let is_right = match &error {
                    None => expected.is_empty(),
                    Some(text) => expected.iter().any(|names| names_both(text, *names)),
                };
                if !is_right {
                    faults.push(format!("{url}, {pair:?}: {error:?}"));
                }
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn a_timeout_of_zero_is_refused() {
    let new = || RedisTokenStore::builder(TLS).keys(secret(KEY));
    let refused = [
        new().connect_timeout(Duration::ZERO).build(),
        new().response_timeout(Duration::ZERO).build(),
    ];
    let errors = refused.map(|built| built.unwrap_err().to_string());
    assert_eq!(
        errors,
        ["connect_timeout", "response_timeout"]
            .map(|setting| format!("{setting}: must be greater than zero"))
    );
}
