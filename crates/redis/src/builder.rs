use std::{fmt, mem, sync::Arc, time::Duration};

use hallpass_core::SecretSource;

use crate::{
    RedisBuildError, RedisTokenStore,
    address::{self, Address, NO_TLS, UrlParts},
    changes::Changes,
    connection::{Connector, Credentials, Nodes, Roots, Sentinels, Tls},
    keyring::{Keyring, Protection},
    store::Inner,
};

/// A builder for a [`RedisTokenStore`].
#[must_use]
pub struct RedisTokenStoreBuilder {
    url: String,
    /// The name of the primary, and the URLs of further sentinels.
    sentinel: Option<(String, Vec<String>)>,
    /// The URLs of further nodes.
    cluster: Option<Vec<String>>,
    username: Option<String>,
    password: Option<Box<dyn SecretSource>>,
    sentinel_username: Option<String>,
    sentinel_password: Option<Box<dyn SecretSource>>,
    roots: Option<String>,
    roots_source: Option<Box<dyn SecretSource>>,
    client_certificate: Option<Box<dyn SecretSource>>,
    keys: Option<Box<dyn SecretSource>>,
    in_clear: bool,
    plain_text: bool,
    prefix: String,
    connect_timeout: Duration,
    response_timeout: Duration,
    calls_functions: bool,
}

impl RedisTokenStore {
    /// Returns a builder for a store at this URL: `rediss://host:6379`, with TLS, or `redis://127.0.0.1:6379` on this
    /// machine. A database number may follow as the path, a user name and a password may precede the host.
    pub fn builder(url: impl Into<String>) -> RedisTokenStoreBuilder {
        RedisTokenStoreBuilder::new(url.into())
    }
}

impl RedisTokenStoreBuilder {
    fn new(url: String) -> Self {
        Self {
            url,
            sentinel: None,
            cluster: None,
            username: None,
            password: None,
            sentinel_username: None,
            sentinel_password: None,
            roots: None,
            roots_source: None,
            client_certificate: None,
            keys: None,
            in_clear: false,
            plain_text: false,
            prefix: "hallpass:".to_owned(),
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(2),
            calls_functions: false,
        }
    }

    /// Sets the encryption keys: one or more in base64, 32 bytes each, separated by white space or commas. The first
    /// encrypts, all decrypt. `openssl rand -base64 32` makes one.
    ///
    /// The source is read at first use, once a minute in the background, and when an entry was encrypted with an unknown
    /// key. To rotate without losing entries, add the new key as the second one in all processes, then make it the first
    /// one, and remove the old one when the entries have expired. Entries are encrypted with AES-256-GCM under random
    /// nonces: replace a key before it has encrypted 2^32 entries.
    pub fn keys(mut self, keys: impl SecretSource + 'static) -> Self {
        self.keys = Some(Box::new(keys));
        self
    }

    /// Stores tokens without encryption: everyone who can read Redis, its backups or its replication can use them, and
    /// can guess a weak client secret by the digest that is stored after a refusal.
    pub fn danger_store_in_clear(mut self) -> Self {
        self.in_clear = true;
        self
    }

    /// Allows `redis://`, a connection without TLS, to another machine: the network sees the password, and can delete or
    /// replace entries, which stay encrypted. It also applies to the addresses that sentinels and nodes of a cluster name,
    /// and has no effect with `rediss://`.
    pub fn danger_allow_plain_text(mut self) -> Self {
        self.plain_text = true;
        self
    }

    /// Uses the primary of this name that the sentinels know. The builder's URL is that of a sentinel, `others` are those
    /// of further ones, and port 26379 is the default; the database number applies to the primary. It excludes
    /// [`cluster`](Self::cluster).
    pub fn sentinel<I: IntoIterator<Item: Into<String>>>(
        mut self,
        service: &str,
        others: I,
    ) -> Self {
        let others = others.into_iter().map(Into::into).collect();
        self.sentinel = Some((service.to_owned(), others));
        self
    }

    /// Sets user name and password for the [`sentinel`](Self::sentinel)s, which differ from those of the primary. Default:
    /// none.
    pub fn sentinel_credentials(
        mut self,
        username: Option<&str>,
        password: impl SecretSource + 'static,
    ) -> Self {
        self.sentinel_username = username.map(ToOwned::to_owned);
        self.sentinel_password = Some(Box::new(password));
        self
    }

    /// Uses a Redis Cluster. The builder's URL is that of a node, `others` are those of further ones, which are tried if
    /// it is down. It excludes [`sentinel`](Self::sentinel).
    pub fn cluster<I: IntoIterator<Item: Into<String>>>(mut self, others: I) -> Self {
        self.cluster = Some(others.into_iter().map(Into::into).collect());
        self
    }

    /// Sets the user name, for ACLs, which needs a password; it takes precedence over the URL's. Default: Redis's `default`
    /// user.
    pub fn username(mut self, username: &str) -> Self {
        self.username = Some(username.to_owned());
        self
    }

    /// Sets the password; it takes precedence over the URL's. It is read for each connection, and once more if Redis
    /// refuses it, so that a rotated one is used without a restart.
    pub fn password(mut self, password: impl SecretSource + 'static) -> Self {
        self.password = Some(Box::new(password));
        self
    }

    /// Sets the root certificates, as PEM, instead of the system's. It excludes [`tls_roots_from`](Self::tls_roots_from).
    pub fn tls_roots(mut self, pem: impl Into<String>) -> Self {
        self.roots = Some(pem.into());
        self
    }

    /// Sets the root certificates, as PEM, instead of the system's. The source is read for each connection, so that an
    /// authority can be replaced without a restart. It excludes [`tls_roots`](Self::tls_roots).
    pub fn tls_roots_from(mut self, pem: impl SecretSource + 'static) -> Self {
        self.roots_source = Some(Box::new(pem));
        self
    }

    /// Sets a client certificate for mTLS: one PEM text with certificate and private key, the client's own certificate
    /// before those of its chain. It is read for each connection.
    pub fn client_certificate(mut self, certificate_and_key: impl SecretSource + 'static) -> Self {
        self.client_certificate = Some(Box::new(certificate_and_key));
        self
    }

    /// Sets the prefix of all names in Redis, keys and channel, to which an ACL can limit the user. Default:
    /// `hallpass:`.
    pub fn prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// Sets the timeout of an attempt to connect, in the background: TCP, TLS, authentication, and the sentinels'
    /// answer. Default: 5 s.
    ///
    /// Callers wait for a connection only within the cache's own timeouts.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets the time after which a call without a reply fails, and the connection is replaced. Default: 2 s.
    ///
    /// Callers wait only within the cache's own timeouts, which are shorter for calls that they wait for.
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// Calls functions, which need Redis 7, instead of sending scripts: for a user without the commands `EVAL` and
    /// `EVALSHA`.
    ///
    /// An operator loads the [library](RedisTokenStore::function_library) first, in a cluster into each primary, and again
    /// before an update of this crate that changes it. A miss costs one call more than with scripts.
    pub fn functions(mut self) -> Self {
        self.calls_functions = true;
        self
    }

    /// Builds the store; no I/O.
    ///
    /// # Errors
    ///
    /// A [`RedisBuildError`] that names the wrong or missing setting.
    pub fn build(self) -> Result<RedisTokenStore, RedisBuildError> {
        let prefix = &self.prefix;
        let is_usable = |c: u8| c.is_ascii_graphic() && !b"{}*?[]\\".contains(&c);
        if prefix.is_empty() || prefix.len() > 100 || !prefix.bytes().all(is_usable) {
            return Err(RedisBuildError::new(
                "prefix",
                "the prefix must have 1 to 100 ASCII characters, without spaces, braces and pattern characters",
            ));
        }
        let default_port = if self.sentinel.is_some() {
            26_379
        } else {
            6_379
        };
        let first = address::parse("url", &self.url, default_port)?;
        self.check(&first)?;
        let protection = match self.keys {
            Some(keys) => Protection::Encrypted(Keyring::new(keys)),
            None if self.in_clear => {
                tracing::warn!("tokens are stored without encryption");
                Protection::Clear
            }
            None => {
                return Err(RedisBuildError::new(
                    "keys",
                    "no encryption keys; set `keys`, since entries are tokens and must be encrypted",
                ));
            }
        };
        let is_cluster = self.cluster.is_some();
        let (service, others) = match self.sentinel {
            Some((service, others)) => (Some(service), others),
            None => (None, self.cluster.unwrap_or_default()),
        };
        let setting = if is_cluster { "cluster" } else { "sentinel" };
        let mut seeds = vec![first.address.clone()];
        for url in &others {
            seeds.push(further_address(setting, url, default_port, &first)?);
        }
        if is_cluster && first.database != 0 {
            let message = "a `cluster` has only database 0; remove the number";
            return Err(RedisBuildError::new("url", message));
        }
        if !self.plain_text && seeds.iter().any(Address::is_exposed) {
            return Err(RedisBuildError::new("url", NO_TLS));
        }
        let sentinels = service.map(|service| Sentinels {
            // The primary's address is theirs to say; one connection is enough.
            addresses: mem::replace(&mut seeds, vec![first.address]),
            service,
            credentials: Credentials {
                username: self.sentinel_username,
                password: self.sentinel_password,
            },
        });
        let roots = match (self.roots, self.roots_source) {
            (Some(pem), _) => Some(Roots::Pem(pem)),
            (None, source) => source.map(Roots::Source),
        };
        let connector = Connector {
            credentials: Credentials {
                username: self.username.or(first.username),
                password: match (self.password, first.password) {
                    (Some(password), _) => Some(password),
                    (None, Some(password)) => Some(Box::new(password)),
                    (None, None) => None,
                },
            },
            database: first.database,
            tls: Tls::new(roots, self.client_certificate)?,
            sentinels,
            plain_text: self.plain_text,
            connect_timeout: self.connect_timeout,
            response_timeout: self.response_timeout,
        };
        let changes = Arc::new(Changes::default());
        Ok(RedisTokenStore::new(Inner {
            nodes: Nodes::new(Arc::new(connector), changes.clone(), seeds, is_cluster),
            changes,
            protection,
            channel: format!("{}changed", self.prefix),
            prefix: self.prefix,
            response_timeout: self.response_timeout,
            calls_functions: self.calls_functions,
            notifies: true.into(),
            ignored: 0.into(),
            ignoring: false.into(),
        }))
    }

    /// Checks that no setting excludes another one, and that each has an effect.
    fn check(&self, url: &UrlParts) -> Result<(), RedisBuildError> {
        let wrong = |setting, message: String| Err(RedisBuildError::new(setting, message));
        let exclusive = [
            (
                self.keys.is_some() && self.in_clear,
                "keys",
                "danger_store_in_clear",
            ),
            (
                self.sentinel.is_some() && self.cluster.is_some(),
                "sentinel",
                "cluster",
            ),
            (
                self.roots.is_some() && self.roots_source.is_some(),
                "tls_roots",
                "tls_roots_from",
            ),
        ];
        for (are_set, one, other) in exclusive {
            if are_set {
                return wrong(
                    one,
                    format!("`{one}` and `{other}` are both set; remove one of them"),
                );
            }
        }
        let has_username = self.username.is_some() || url.username.is_some();
        let has_password = self.password.is_some() || url.password.is_some();
        let is_plain = !url.address.tls;
        let tls = "TLS; use `rediss://` in the URL";
        let idle = [
            (
                has_username && !has_password,
                "username",
                "`password`; set it",
            ),
            (
                self.sentinel_password.is_some() && self.sentinel.is_none(),
                "sentinel_credentials",
                "`sentinel`; set it",
            ),
            (self.roots.is_some() && is_plain, "tls_roots", tls),
            (
                self.roots_source.is_some() && is_plain,
                "tls_roots_from",
                tls,
            ),
            (
                self.client_certificate.is_some() && is_plain,
                "client_certificate",
                tls,
            ),
        ];
        for (is_idle, setting, need) in idle {
            if is_idle {
                return wrong(setting, format!("no effect without {need} or remove this"));
            }
        }
        let timeouts = [
            ("connect_timeout", self.connect_timeout),
            ("response_timeout", self.response_timeout),
        ];
        for (setting, timeout) in timeouts {
            if timeout.is_zero() {
                return wrong(setting, "must be greater than zero".to_owned());
            }
        }
        Ok(())
    }
}

/// Parses the URL of a further sentinel or node, which adds an address and nothing else.
fn further_address(
    setting: &'static str,
    url: &str,
    default_port: u16,
    first: &UrlParts,
) -> Result<Address, RedisBuildError> {
    let parts = address::parse(setting, url, default_port)?;
    if parts.address.tls != first.address.tls {
        let message = "all URLs must have the same scheme";
        return Err(RedisBuildError::new(setting, message));
    }
    if parts.username.is_some() || parts.password.is_some() || parts.database != 0 {
        let message = "only the first URL may have a user name, a password and a database";
        return Err(RedisBuildError::new(setting, message));
    }
    Ok(parts.address)
}

impl fmt::Debug for RedisTokenStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTokenStoreBuilder")
            .field("prefix", &self.prefix)
            .field("connect_timeout", &self.connect_timeout)
            .field("response_timeout", &self.response_timeout)
            .finish_non_exhaustive()
    }
}
