use std::{env, ffi::OsString, fmt, path::PathBuf, sync::Arc, time::Duration};

use hallpass_core::{Clock, Secret, SecretError, SecretSource, is_loopback_host};
use reqwest::{Certificate, Client, Url, header::HeaderValue, redirect};

use super::{kv::Kv, secret::VaultSecret};
use crate::{CachedSecret, FileSecret, regular_file::read_file_within};

/// Timeout for reading `VAULT_CACERT`, whose caller is not async.
const CACERT_READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Size limit of `VAULT_CACERT`: a platform's full set of authorities takes a fifth of it.
const MAX_CACERT_BYTES: usize = 1 << 20;

/// A builder of a [`VaultSecret`].
#[must_use]
pub struct VaultSecretBuilder {
    address: String,
    mount: String,
    path: String,
    field: String,
    token: Arc<dyn SecretSource>,
    namespace: Option<String>,
    timeout: Duration,
    lifetime: Duration,
    roots: Vec<Vec<u8>>,
    allow_http_on_loopback: bool,
    from_env: bool,
    clock: Option<Arc<dyn Clock>>,
}

impl VaultSecretBuilder {
    fn new(
        address: String,
        token: Arc<dyn SecretSource>,
        mount: String,
        path: String,
        field: String,
    ) -> Self {
        Self {
            address,
            mount,
            path,
            field,
            token,
            namespace: None,
            timeout: Duration::from_secs(10),
            lifetime: Duration::from_secs(300),
            roots: Vec::new(),
            allow_http_on_loopback: false,
            from_env: false,
            clock: None,
        }
    }

    /// Implements [`VaultSecret::from_env`] for a given environment and home directory.
    pub(super) fn from_settings(
        look_up: impl Fn(&str) -> Option<OsString>,
        home: Option<PathBuf>,
        [mount, path, field]: [String; 3],
    ) -> Result<Self, SecretError> {
        let variable = |name: &str| {
            let value = look_up(name).filter(|value| !value.is_empty());
            value.map(OsString::into_string).transpose().map_err(|_| {
                SecretError::new(format!("the variable `{name}` is not valid Unicode"))
            })
        };
        let address = variable("VAULT_ADDR")?;
        let address = address.unwrap_or_else(|| "https://127.0.0.1:8200".to_owned());
        let token: Arc<dyn SecretSource> = match (variable("VAULT_TOKEN")?, home) {
            (Some(token), _) => Arc::new(Secret::new(token)?),
            (None, Some(home)) => Arc::new(FileSecret::new(home.join(".vault-token"))),
            (None, None) => {
                return Err(SecretError::new(
                    "no token for Vault; set `VAULT_TOKEN`, or `HOME` to a directory with the file `.vault-token`",
                ));
            }
        };
        let mut builder = Self::new(address, token, mount, path, field);
        builder.from_env = true;
        builder.namespace = variable("VAULT_NAMESPACE")?;
        if let Some(path) = variable("VAULT_CACERT")? {
            let pem = read_file_within(CACERT_READ_TIMEOUT, path.into(), MAX_CACERT_BYTES);
            let pem = pem.map_err(|reason| {
                SecretError::new(format!("the file that `VAULT_CACERT` names {reason}"))
            })?;
            builder = builder.add_root_certificates_pem(pem);
        }
        Ok(builder)
    }

    /// Sets the namespace of the requests (Vault Enterprise, OpenBao). Default: none.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Sets the timeout of one exchange. Default: 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how long the secret is cached. Default: 5 minutes; zero fetches it for each token request.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Trusts the certificate authorities in this PEM text, in addition to the platform's.
    pub fn add_root_certificates_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots.push(pem.into());
        self
    }

    /// Allows plain HTTP to a server on this machine: a development server, or an agent. Danger: other users of
    /// this machine may listen. HTTP to any other host stays forbidden.
    pub fn danger_allow_http_on_loopback(mut self) -> Self {
        self.allow_http_on_loopback = true;
        self
    }

    /// Sets the clock, for tests.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Builds the source without connecting.
    ///
    /// # Errors
    ///
    /// A [`SecretError`] that names the unusable setting, and repeats no value that may hold a secret.
    pub fn build(self) -> Result<VaultSecret, SecretError> {
        let url = self.url()?;
        if self.timeout.is_zero() {
            return Err(SecretError::new(
                "Vault's `timeout` must be greater than zero",
            ));
        }
        let namespace = self.namespace.as_deref().map(HeaderValue::from_str);
        let namespace = namespace.transpose().map_err(|_| {
            SecretError::new("Vault's namespace has characters that an HTTP header cannot contain")
        })?;
        // Each of these is set because its default depends on the features that other crates enable on reqwest. A
        // client keeps cookies only with a cookie store.
        let mut client = Client::builder()
            .tls_backend_rustls()
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .no_hickory_dns()
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .connect_timeout(Duration::from_secs(5))
            .user_agent(concat!("hallpass-secrets/", env!("CARGO_PKG_VERSION")));
        let mut roots = Vec::new();
        for pem in &self.roots {
            let bundle = Certificate::from_pem_bundle(pem).unwrap_or_default();
            if bundle.is_empty() {
                return Err(SecretError::new(
                    "Vault's certificate authorities are not PEM certificates",
                ));
            }
            roots.extend(bundle);
        }
        client = client.tls_certs_merge(roots);
        let client = client.build().map_err(|_| {
            SecretError::new(
                "the HTTP client for Vault could not be created; check that the platform has certificate authorities",
            )
        })?;
        let kv = Kv {
            client,
            url,
            name: format!("Vault's secret `{}/{}`", self.mount, self.path),
            field: self.field,
            token: self.token,
            namespace,
            timeout: self.timeout,
            from_env: self.from_env,
        };
        let mut cached = CachedSecret::new(kv, self.lifetime);
        if let Some(clock) = self.clock {
            cached = cached.clock(clock);
        }
        Ok(VaultSecret(cached))
    }

    /// Returns `{address}/v1/{mount}/data/{path}`, with each part encoded.
    fn url(&self) -> Result<Url, SecretError> {
        let wrong = |what: &str| SecretError::new(format!("Vault's address {what}"));
        let Ok(mut url) = Url::parse(&self.address) else {
            return Err(wrong(
                "is not an absolute URL; use a form such as `https://vault.example:8200`",
            ));
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong(
                "has a user name or password; authenticate with a token",
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("has a query or a fragment; remove it"));
        }
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http_on_loopback && is_loopback(&url) => {
                tracing::warn!(host = url.host_str(), "Vault requests sent over plain HTTP");
            }
            "http" if is_loopback(&url) => {
                return Err(wrong(
                    "is plain HTTP, which exposes token and secret to other users of this machine; use `https://`, or allow it with `danger_allow_http_on_loopback`",
                ));
            }
            "http" => {
                return Err(wrong(
                    "is plain HTTP to another machine, which would expose token and secret to the network; use `https://`",
                ));
            }
            _ => return Err(wrong("is neither `https` nor `http`; use `https://`")),
        }
        let parts = |text: &str| -> Option<Vec<String>> {
            let parts = text.trim_matches('/').split('/');
            // A URL would drop such parts, and so address another secret.
            let good = |part: &&str| !matches!(*part, "" | "." | "..");
            let whole = parts.clone().all(|part| good(&part));
            whole.then(|| parts.map(str::to_owned).collect())
        };
        let (Some(mount), Some(path)) = (parts(&self.mount), parts(&self.path)) else {
            return Err(SecretError::new(
                "Vault's mount or path is empty or has an empty, `.` or `..` part; use a form such as `secret` and `orders/client`",
            ));
        };
        // Never happens for a URL with `http` or `https`.
        let mut segments = url
            .path_segments_mut()
            .map_err(|()| wrong("cannot have a path"))?;
        segments
            .pop_if_empty()
            .push("v1")
            .extend(mount)
            .push("data")
            .extend(path);
        drop(segments);
        Ok(url)
    }
}

fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(is_loopback_host)
}

impl VaultSecret {
    /// Creates a builder of a source from the server's address, the token that authenticates to it, the engine's mount, the secret's
    /// path in it, and the field.
    pub fn builder(
        address: impl Into<String>,
        token: impl SecretSource + 'static,
        mount: impl Into<String>,
        path: impl Into<String>,
        field: impl Into<String>,
    ) -> VaultSecretBuilder {
        VaultSecretBuilder::new(
            address.into(),
            Arc::new(token),
            mount.into(),
            path.into(),
            field.into(),
        )
    }

    /// Creates a builder of a source from the settings of Vault's own command:
    ///
    /// | variable | |
    /// |---|---|
    /// | `VAULT_ADDR` | the address; `https://127.0.0.1:8200` by default |
    /// | `VAULT_TOKEN` | the token, read once, here; else the file `.vault-token` in the home directory, read at each use |
    /// | `VAULT_NAMESPACE` | the namespace; none by default |
    /// | `VAULT_CACERT` | a PEM file of certificate authorities to trust too, read once, here |
    ///
    /// An empty variable counts as absent.
    ///
    /// # Errors
    ///
    /// A [`SecretError`] if a variable is not Unicode, there is neither a token nor a home directory, or
    /// `VAULT_CACERT` cannot be read.
    pub fn from_env(
        mount: impl Into<String>,
        path: impl Into<String>,
        field: impl Into<String>,
    ) -> Result<VaultSecretBuilder, SecretError> {
        let names = [mount.into(), path.into(), field.into()];
        VaultSecretBuilder::from_settings(|name| env::var_os(name), env::home_dir(), names)
    }
}

/// Omits the address, which may hold anything before it is checked.
impl fmt::Debug for VaultSecretBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultSecretBuilder")
            .field("mount", &self.mount)
            .field("path", &self.path)
            .field("field", &self.field)
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}
