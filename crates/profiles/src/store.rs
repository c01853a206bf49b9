//! The Redis stores of profiles, opened.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use async_trait::async_trait;
use hallpass_core::{Secret, SecretError, SecretSource};
use hallpass_redis::{RedisTokenStore, RedisTokenStoreBuilder};
use hallpass_secrets::read_file;

use crate::{
    error::ProfileError, paths::MAX_CERTIFICATE_BYTES, redis::RedisSettings, settings::Settings,
};

/// The minimum time after which a connection without a reply is replaced, also if calls have a shorter timeout.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The stores in use: profiles with equal tables share one, and its connections.
#[derive(Default)]
pub(crate) struct Stores(Mutex<Vec<(StoreSettings, Weak<RedisTokenStore>)>>);

#[derive(PartialEq, Eq)]
struct StoreSettings {
    redis: RedisSettings,
    command_timeout: Option<Duration>,
    allows_http_on_loopback: bool,
}

impl Stores {
    /// Returns the store that this table of the settings describes.
    pub(crate) fn store(
        &self,
        settings: &Settings,
        redis: &RedisSettings,
    ) -> Result<Arc<RedisTokenStore>, ProfileError> {
        let wanted = StoreSettings {
            redis: RedisSettings {
                location: String::new(),
                ..redis.clone()
            },
            command_timeout: settings.command_timeout,
            allows_http_on_loopback: settings.danger_allow_http_on_loopback,
        };
        let mut stores = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stores.retain(|(_, store)| store.strong_count() > 0);
        let known = stores.iter().find(|(known, _)| *known == wanted);
        if let Some(store) = known.and_then(|(_, store)| store.upgrade()) {
            return Ok(store);
        }
        let store = Arc::new(settings.redis_store(redis)?);
        stores.push((wanted, Arc::downgrade(&store)));
        Ok(store)
    }
}

impl Settings {
    /// Creates the Redis store that this table describes. No I/O: it connects when it is first used, in the background,
    /// and reads passwords, keys and certificates then.
    ///
    /// [`cache_builder`](Self::cache_builder) uses it; a program calls this to check the store itself.
    ///
    /// # Errors
    ///
    /// A [`ProfileError`] that names the file, the line and the setting, if one is wrong or a reference cannot be
    /// opened.
    pub fn redis_store(&self, redis: &RedisSettings) -> Result<RedisTokenStore, ProfileError> {
        self.store_builder(redis)?.build().map_err(|error| {
            let message = error.message();
            ProfileError::new(format!(
                "{}: `redis.{}`: {message}",
                redis.location,
                error.setting()
            ))
        })
    }

    fn store_builder(&self, redis: &RedisSettings) -> Result<RedisTokenStoreBuilder, ProfileError> {
        let mut builder = RedisTokenStore::builder(&redis.url);
        if let Some(prefix) = &redis.prefix {
            builder = builder.prefix(prefix);
        }
        if let Some(username) = &redis.username {
            builder = builder.username(username);
        }
        if let Some(password) = &redis.password {
            builder = builder.password(self.open_secret("redis.password", password)?);
        }
        if let Some(keys) = &redis.keys {
            builder = builder.keys(self.open_secret("redis.keys", keys)?);
        }
        if let Some(path) = &redis.ca_file {
            builder = builder.tls_roots_from(CertificateFile(path.clone()));
        }
        if let Some(certificate) = &redis.client_certificate {
            let certificate = self.open_secret("redis.client_certificate", certificate)?;
            builder = builder.client_certificate(certificate);
        }
        if let Some(service) = &redis.sentinel {
            builder = builder.sentinel(service, &redis.other_urls);
            if let Some(password) = &redis.sentinel_password {
                let password = self.open_secret("redis.sentinel_password", password)?;
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
        if let Some(timeout) = redis.timeout {
            builder = builder.response_timeout(timeout.max(RESPONSE_TIMEOUT));
        }
        Ok(builder)
    }
}

/// A file of certificates, which are public: longer than a secret may be.
#[derive(Debug)]
struct CertificateFile(PathBuf);

#[async_trait]
impl SecretSource for CertificateFile {
    async fn secret(&self) -> Result<Secret, SecretError> {
        let path = self.0.display();
        let pem = read_file(&self.0, MAX_CERTIFICATE_BYTES).await;
        let pem = pem.map_err(|error| SecretError::local(format!("{path} {error}")))?;
        let pem = String::from_utf8(pem);
        Secret::new(pem.map_err(|_| SecretError::local(format!("{path} is not a PEM file")))?)
    }
}
