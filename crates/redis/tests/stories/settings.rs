//! Settings that have no effect are refused. `stories builders` of hallpass-tests has each two settings together.

use std::time::Duration;

use hallpass_redis::{RedisTokenStore, RedisTokenStoreBuilder};
use rcgen::{CertificateParams, KeyPair};

use crate::support::{KEY, secret};

type Set = fn(RedisTokenStoreBuilder) -> RedisTokenStoreBuilder;

const TLS: &str = "rediss://127.0.0.1";

/// A setting, and the other one or the scheme without which it has no effect.
const IDLE: [(&str, &str, Set); 5] = [
    ("client_certificate", "rediss://", |one| {
        one.client_certificate(secret("a certificate"))
    }),
    ("sentinel_credentials", "sentinel", |one| {
        one.sentinel_credentials(None, secret("another one"))
    }),
    ("tls_roots", "rediss://", |one| one.tls_roots(root())),
    ("tls_roots_from", "rediss://", |one| {
        one.tls_roots_from(secret("a root"))
    }),
    ("username", "password", |one| one.username("hallpass")),
];

fn root() -> String {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["redis.example".to_owned()]).unwrap();
    params.self_signed(&key).unwrap().pem()
}

#[test]
fn a_setting_without_effect_is_refused_by_both_names() {
    for (name, needed, set) in IDLE {
        let builder = RedisTokenStore::builder("redis://127.0.0.1").keys(secret(KEY));
        let text = set(builder).build().unwrap_err().to_string();
        assert!(text.starts_with(&format!("{name}: ")), "{text}");
        assert!(text.contains(&format!("`{needed}`")), "{text}");
    }
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
