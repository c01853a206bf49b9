use std::{sync::Arc, time::Duration};

use hallpass::{
    Clock as _, SystemClock, TokenRequest,
    cache::{StoreError, StoreKey, TokenStore},
    profiles::read_certificates,
    redis_store::{RedisStoreError, RedisStoreErrorKind, RedisTokenStore, RedisTokenStoreBuilder},
};

use crate::{
    config::{RedisSettings, Settings},
    failure::{Exit, Failure},
};

/// The minimum time after which a connection without a reply is replaced, if a run waits longer than by default.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
/// The timeout of a call in [`check`]: longer than that of an attempt to connect, whose error is more precise.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);
/// The lifetime of the entry that [`check`] writes, if it cannot remove it.
const PROBE_TTL: Duration = Duration::from_secs(10);

/// Creates the store; connects when it is used, and reads secrets then.
pub(crate) fn open(
    settings: &Settings,
    redis: &RedisSettings,
) -> Result<Arc<dyn TokenStore>, Failure> {
    let mut builder = builder(settings, redis)?;
    if let Some(timeout) = redis.timeout {
        builder = builder.response_timeout(timeout.max(RESPONSE_TIMEOUT));
    }
    Ok(Arc::new(build(redis, builder)?))
}

fn build(
    redis: &RedisSettings,
    builder: RedisTokenStoreBuilder,
) -> Result<RedisTokenStore, Failure> {
    builder.build().map_err(|error| {
        let setting = match error.setting() {
            "tls_roots" => "ca_file",
            setting => setting,
        };
        wrong(redis, setting, error.message())
    })
}

fn wrong(redis: &RedisSettings, setting: &str, why: &str) -> Failure {
    Failure::configuration(format!("{}: `redis.{setting}`: {why}", redis.location))
}

fn builder(settings: &Settings, redis: &RedisSettings) -> Result<RedisTokenStoreBuilder, Failure> {
    let mut builder = RedisTokenStore::builder(&redis.url);
    if let Some(prefix) = &redis.prefix {
        builder = builder.prefix(prefix);
    }
    if let Some(username) = &redis.username {
        builder = builder.username(username);
    }
    if let Some(password) = &redis.password {
        builder = builder.password(settings.open_secret("redis.password", password)?);
    }
    if let Some(keys) = &redis.keys {
        builder = builder.keys(settings.open_secret("redis.keys", keys)?);
    }
    if let Some(path) = &redis.ca_file {
        let pem = read_certificates("redis.ca_file", path)?;
        let pem = String::from_utf8(pem).map_err(|_| wrong(redis, "ca_file", "not a PEM file"))?;
        builder = builder.tls_roots(pem);
    }
    if let Some(certificate) = &redis.client_certificate {
        let certificate = settings.open_secret("redis.client_certificate", certificate)?;
        builder = builder.client_certificate(certificate);
    }
    if let Some(service) = &redis.sentinel {
        builder = builder.sentinel(service, &redis.other_urls);
        if let Some(password) = &redis.sentinel_password {
            let password = settings.open_secret("redis.sentinel_password", password)?;
            let username = redis.sentinel_username.as_deref();
            builder = builder.sentinel_credentials(username, password);
        }
    }
    if redis.cluster {
        builder = builder.cluster(&redis.other_urls);
    }
    if redis.functions {
        builder = builder.functions();
    }
    if redis.danger_store_in_clear {
        builder = builder.danger_store_in_clear();
    }
    if redis.danger_allow_plain_text {
        builder = builder.danger_allow_plain_text();
    }
    Ok(builder)
}

/// Connects, reads the entry of this run's token, and writes, reads and removes another entry. Returns a description.
pub(crate) async fn check(settings: &Settings, redis: &RedisSettings) -> Result<String, Failure> {
    let builder = builder(settings, redis)?.response_timeout(CHECK_TIMEOUT);
    let store = build(redis, builder)?;
    let shared = StoreKey::new(&settings.namespace(), &settings.request);
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
        Some(Kind::PasswordRejected) => (
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
            "check the port in `redis.url`, and set `redis.ca_file` for a private certification authority",
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
