//! The examination of a profile's Redis store.

use std::time::Duration;

use hallpass::{
    Clock as _, SystemClock, TokenRequest,
    cache::{StoreError, StoreKey, TokenStore as _},
    profiles::RedisSettings,
    redis_store::{RedisStoreError, RedisStoreErrorKind, RedisTokenStore},
};

use crate::{
    config::Settings,
    failure::{Exit, Failure},
};

/// The timeout of a call in [`check`]: longer than that of an attempt to connect, whose error is more precise.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);
/// The lifetime of the entry that [`check`] writes, if it cannot remove it.
const PROBE_TTL: Duration = Duration::from_secs(10);

/// Connects, reads the entry of this run's token, and writes, reads and removes another entry. Returns a description.
pub(super) async fn check(settings: &Settings, redis: &RedisSettings) -> Result<String, Failure> {
    let mut checked = redis.clone();
    checked.timeout = Some(CHECK_TIMEOUT);
    let store = settings.redis_store(&checked)?;
    let (namespace, request) = (settings.namespace(), &settings.request);
    let shared = match settings.dpop_key().await {
        Ok(Some(key)) => StoreKey::bound(&namespace, key.thumbprint(), request),
        // Without its key, a run has no use for a token; an earlier step reports the error.
        Ok(None) | Err(_) => StoreKey::new(&namespace, request),
    };
    let entry = store.look_up(&shared).await.map_err(explain)?;
    if store.ignored_entries() > 0 {
        return Err(Failure::configuration("the token in Redis cannot be decrypted").with_remedy(
            "set `redis.keys` to the keys of the other hosts: a host without them fetches its own tokens, and replaces theirs",
        ));
    }
    probe(&store).await?;
    let token = if entry.is_some() {
        "has a token for this request"
    } else {
        "has no token for this request"
    };
    let protection = if redis.danger_store_in_clear {
        ", in clear text"
    } else {
        ""
    };
    Ok(format!(
        "Redis can be read and written, and {token}{protection}"
    ))
}

async fn probe(store: &RedisTokenStore) -> Result<(), Failure> {
    const PROBE: &[u8] = b"probe";
    // No other run has this name.
    let since = SystemClock.wall().duration_since(std::time::UNIX_EPOCH);
    let name = format!("doctor {} {since:?}", std::process::id());
    let key = StoreKey::new(&name, &TokenRequest::new());
    store
        .put(&key, PROBE, PROBE_TTL, None)
        .await
        .map_err(explain)?;
    let entry = store.look_up(&key).await.map_err(explain)?;
    let Some(entry) = entry.filter(|entry| entry.bytes() == PROBE) else {
        return Err(Failure::new(
            Exit::Unavailable,
            "Redis lost an entry that was just written",
        )
        .with_remedy("check its memory limit and its replication"));
    };
    store.remove(&key, entry.fence()).await.map_err(explain)
}

#[allow(clippy::needless_pass_by_value)] // For `map_err`.
fn explain(error: StoreError) -> Failure {
    use RedisStoreErrorKind as Kind;
    let kind = error.downcast_ref().map(RedisStoreError::kind);
    let (exit, remedy) = match kind {
        Some(Kind::PasswordRefused) => (
            Exit::Configuration,
            "check `redis.username` and `redis.password`",
        ),
        Some(Kind::PasswordRequired) => (
            Exit::Configuration,
            "set `redis.password`, and `redis.username` for an ACL user",
        ),
        Some(Kind::PasswordUnexpected) => (Exit::Configuration, "remove `redis.password`"),
        Some(Kind::PasswordSource) => (Exit::Configuration, "check `redis.password`"),
        Some(Kind::SentinelPassword) => (
            Exit::Configuration,
            "check `redis.sentinel_username` and `redis.sentinel_password`, which only the sentinels get",
        ),
        Some(Kind::PermissionDenied) => (
            Exit::Configuration,
            "grant the user the documented commands, for names that start with `redis.prefix`",
        ),
        Some(Kind::EncryptionKeys) => (
            Exit::Configuration,
            "check `redis.keys`: one or more keys of 32 bytes in base64",
        ),
        Some(Kind::ClientCertificate) => (
            Exit::Configuration,
            "check `redis.client_certificate`: a PEM text with certificate and key",
        ),
        Some(Kind::RootCertificates) => (Exit::Configuration, "check `redis.ca_file`"),
        Some(Kind::FunctionsMissing) => (
            Exit::Configuration,
            "load `functions.lua` of this version into Redis, in a cluster into each primary, or remove `redis.functions`",
        ),
        Some(Kind::ClusterRequired) => (Exit::Configuration, "set `redis.cluster` to `true`"),
        Some(Kind::Sentinel) => (
            Exit::Unavailable,
            "check `redis.sentinel`, `redis.url` and `redis.other_urls`",
        ),
        Some(Kind::Tls) => (
            Exit::Unavailable,
            "check the port in `redis.url`, and set `redis.ca_file` for a private certificate authority",
        ),
        Some(Kind::TlsRequired) => (
            Exit::Configuration,
            "use `rediss://` in `redis.url`, or set `redis.danger_allow_plain_text` in a trusted network",
        ),
        Some(Kind::OutOfMemory) => (
            Exit::Unavailable,
            "raise the memory limit of Redis, or set an eviction policy",
        ),
        Some(Kind::ReadOnly) => (
            Exit::Unavailable,
            "set `redis.url` to the primary, or use `redis.sentinel`",
        ),
        _ => (
            Exit::Unavailable,
            "check `redis.url`, and that Redis runs; until then each host fetches its own tokens",
        ),
    };
    Failure::new(exit, error.to_string()).with_remedy(remedy)
}
