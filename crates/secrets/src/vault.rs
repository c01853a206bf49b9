use std::{env, fmt, fs, io, net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use hallpass_core::{Clock, Secret, SecretError, SecretSource};
use reqwest::{Certificate, Client, StatusCode, Url, header::HeaderValue, redirect};
use tokio::time;
use zeroize::Zeroizing;

use crate::{EnvSecret, FileSecret, Remembered};

mod answer;

/// A secret in HashiCorp Vault or OpenBao: one field of a secret of the KV engine, version 2, in its newest version.
///
/// It is asked over HTTPS with a token that is a secret itself, of whatever source: an agent's file, a variable. Where
/// Vault refuses the token it is read anew, and tried once more if it changed. What Vault yields is
/// [remembered](Remembered) for five minutes unless told otherwise, and asked for again at once when the authorization
/// server refuses it. While Vault is sealed or down, a secret at hand is used on.
///
/// Redirects are errors, the system's proxies are not used, an answer is bounded in length (1 MiB) and in time.
///
/// ```
/// use hallpass_secrets::{FileSecret, VaultSecret};
///
/// let token = FileSecret::new("/run/vault/token"); // an agent renews it
/// let secret = VaultSecret::builder("https://vault.example:8200", token, "secret", "orders/client", "secret")
///     .namespace("team-orders")
///     .build()?;
/// # Ok::<(), hallpass_core::SecretError>(())
/// ```
pub struct VaultSecret(Remembered<Kv>);

struct Kv {
    client: Client,
    url: Url,
    /// What errors call it.
    place: String,
    field: String,
    token: Arc<dyn SecretSource>,
    namespace: Option<HeaderValue>,
    timeout: Duration,
}

/// Sets up a [`VaultSecret`].
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
    clock: Option<Arc<dyn Clock>>,
}

impl VaultSecret {
    /// Starts a source: the server's address, what proves this side to it, where the engine is mounted, the secret's
    /// path in it, and the field.
    pub fn builder(
        address: impl Into<String>,
        token: impl SecretSource + 'static,
        mount: impl Into<String>,
        path: impl Into<String>,
        field: impl Into<String>,
    ) -> VaultSecretBuilder {
        VaultSecretBuilder {
            address: address.into(),
            mount: mount.into(),
            path: path.into(),
            field: field.into(),
            token: Arc::new(token),
            namespace: None,
            timeout: Duration::from_secs(10),
            lifetime: Duration::from_secs(300),
            roots: Vec::new(),
            allow_http_on_loopback: false,
            clock: None,
        }
    }

    /// Starts a source with what Vault's own command reads:
    ///
    /// | variable | |
    /// |---|---|
    /// | `VAULT_ADDR` | the address; `https://127.0.0.1:8200` by default |
    /// | `VAULT_TOKEN` | the token; else the file `.vault-token` in the home folder, read at each use |
    /// | `VAULT_NAMESPACE` | the namespace; none by default |
    /// | `VAULT_CACERT` | a PEM file of certificate authorities to trust too, read once, here |
    ///
    /// An empty variable counts as absent.
    ///
    /// # Errors
    ///
    /// Where a variable is not Unicode, there is neither a token nor a home folder, or `VAULT_CACERT` cannot be read.
    pub fn from_env(
        mount: impl Into<String>,
        path: impl Into<String>,
        field: impl Into<String>,
    ) -> Result<VaultSecretBuilder, SecretError> {
        let address = variable("VAULT_ADDR")?;
        let address = address.unwrap_or_else(|| "https://127.0.0.1:8200".to_owned());
        let token: Arc<dyn SecretSource> = match (variable("VAULT_TOKEN")?, env::home_dir()) {
            (Some(_), _) => Arc::new(EnvSecret::new("VAULT_TOKEN")),
            (None, Some(home)) => Arc::new(FileSecret::new(home.join(".vault-token"))),
            (None, None) => {
                return Err(SecretError::new(
                    "there is no token for Vault: `VAULT_TOKEN` is not set, and there is no home folder",
                ));
            }
        };
        let mut builder = Self::builder(address, token, mount, path, field);
        builder.namespace = variable("VAULT_NAMESPACE")?;
        if let Some(path) = variable("VAULT_CACERT")? {
            let pem = fs::read(path).map_err(|error: io::Error| {
                SecretError::new(format!(
                    "the file that `VAULT_CACERT` names cannot be read: {error}"
                ))
            })?;
            builder = builder.add_root_certificates_pem(pem);
        }
        Ok(builder)
    }
}

fn variable(name: &str) -> Result<Option<String>, SecretError> {
    let value = env::var_os(name).filter(|value| !value.is_empty());
    let value = value.map(std::ffi::OsString::into_string).transpose();
    value.map_err(|_| SecretError::new(format!("the variable `{name}` is not valid Unicode")))
}

impl VaultSecretBuilder {
    /// Asks within this namespace (Vault Enterprise, OpenBao). Default: none.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// How long one exchange may take. Default: 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long its answer is remembered. Default: 5 minutes; zero asks for each token request.
    pub fn remember(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Trusts the certificate authorities in this PEM text too, next to the platform's.
    pub fn add_root_certificates_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots.push(pem.into());
        self
    }

    /// Allows plain HTTP to a server on this machine: a development server, or an agent. The danger: whoever else is
    /// on this machine may listen. HTTP to any other host stays forbidden.
    pub fn danger_allow_http_on_loopback(mut self) -> Self {
        self.allow_http_on_loopback = true;
        self
    }

    /// Reads time from this clock: a test's.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Builds the source; connects nowhere.
    ///
    /// # Errors
    ///
    /// Says which setting cannot be used, and repeats none that may hold a secret.
    pub fn build(self) -> Result<VaultSecret, SecretError> {
        let url = self.url()?;
        let namespace = self.namespace.as_deref().map(HeaderValue::from_str);
        let namespace = namespace.transpose().map_err(|_| {
            SecretError::new("Vault's namespace holds characters that no header may hold")
        })?;
        let mut client = Client::builder()
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .connect_timeout(Duration::from_secs(5))
            .user_agent(concat!("hallpass-secrets/", env!("CARGO_PKG_VERSION")));
        let mut roots = Vec::new();
        for pem in &self.roots {
            let bundle = Certificate::from_pem_bundle(pem).unwrap_or_default();
            if bundle.is_empty() {
                return Err(SecretError::new(
                    "Vault's certificate authorities are not in PEM, or there are none",
                ));
            }
            roots.extend(bundle);
        }
        client = client.tls_certs_merge(roots);
        let client = client.build().map_err(|_| {
            SecretError::new(
                "the HTTP client for Vault could not be set up; check that the platform has certificate authorities",
            )
        })?;
        let kv = Kv {
            client,
            url,
            place: format!("Vault's secret `{}/{}`", self.mount, self.path),
            field: self.field,
            token: self.token,
            namespace,
            timeout: self.timeout,
        };
        let mut remembered = Remembered::new(kv, self.lifetime);
        if let Some(clock) = self.clock {
            remembered = remembered.clock(clock);
        }
        Ok(VaultSecret(remembered))
    }

    /// `{address}/v1/{mount}/data/{path}`, with each part encoded.
    fn url(&self) -> Result<Url, SecretError> {
        let wrong = |what: &str| SecretError::new(format!("Vault's address {what}"));
        let Ok(mut url) = Url::parse(&self.address) else {
            return Err(wrong(
                "is no absolute URL; give it as `https://vault.example:8200`",
            ));
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong(
                "holds a user name or password; prove this side with a token",
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("has a query or a fragment; leave it out"));
        }
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http_on_loopback && is_loopback(&url) => {
                tracing::warn!(host = url.host_str(), "Vault is asked over plain HTTP");
            }
            "http" => {
                return Err(wrong(
                    "is plain HTTP, which would show token and secret to the network; use `https://`, or `danger_allow_http_on_loopback` for a server on this machine",
                ));
            }
            _ => return Err(wrong("is neither `https` nor `http`; use `https://`")),
        }
        let parts = |text: &str| -> Option<Vec<String>> {
            let parts = text.trim_matches('/').split('/');
            // What a URL would leave out, and so lead elsewhere.
            let good = |part: &&str| !matches!(*part, "" | "." | "..");
            let whole = parts.clone().all(|part| good(&part));
            whole.then(|| parts.map(str::to_owned).collect())
        };
        let (Some(mount), Some(path)) = (parts(&self.mount), parts(&self.path)) else {
            return Err(SecretError::new(
                "Vault's mount or path is empty or has an empty, `.` or `..` part; give them as `secret` and `orders/client`",
            ));
        };
        // Not for a URL with `http` or `https`.
        let mut segments = url.path_segments_mut().map_err(|()| wrong("is no base"))?;
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
    let host = url.host_str().unwrap_or_default();
    let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
    match ip {
        Ok(ip) => ip.to_canonical().is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

#[async_trait]
impl SecretSource for VaultSecret {
    async fn secret(&self) -> Result<Secret, SecretError> {
        self.0.secret().await
    }

    fn epoch(&self) -> u64 {
        self.0.epoch()
    }

    fn refused(&self, secret: &Secret) {
        self.0.refused(secret);
    }
}

#[async_trait]
impl SecretSource for Kv {
    async fn secret(&self) -> Result<Secret, SecretError> {
        let token = self.token.secret().await?;
        let (mut status, mut body) = self.exchange(&token).await?;
        if status == StatusCode::FORBIDDEN {
            self.token.refused(&token);
            let again = self.token.secret().await?;
            if !again.matches(&token) {
                (status, body) = self.exchange(&again).await?;
            }
        }
        answer::read(status, &body, &self.place, &self.field)
    }
}

impl Kv {
    async fn exchange(
        &self,
        token: &Secret,
    ) -> Result<(StatusCode, Zeroizing<Vec<u8>>), SecretError> {
        let mut token = HeaderValue::from_str(token.expose()).map_err(|_| {
            SecretError::new("Vault's token holds characters that no header may hold")
        })?;
        token.set_sensitive(true);
        let mut get = self
            .client
            .get(self.url.clone())
            .header("x-vault-request", "true")
            .header("x-vault-token", token);
        if let Some(namespace) = &self.namespace {
            get = get.header("x-vault-namespace", namespace);
        }
        let exchange = async {
            let mut response = get.send().await.map_err(|error| self.unreached(&error))?;
            let mut body = Zeroizing::new(Vec::with_capacity(4 * 1_024));
            while let Some(chunk) = response
                .chunk()
                .await
                .map_err(|error| self.unreached(&error))?
            {
                if body.len() + chunk.len() > answer::MAX_BYTES {
                    return Err(SecretError::new(format!(
                        "the answer to {} is longer than {} bytes",
                        self.place,
                        answer::MAX_BYTES
                    )));
                }
                answer::append(&mut body, &chunk);
            }
            Ok((response.status(), body))
        };
        time::timeout(self.timeout, exchange)
            .await
            .unwrap_or_else(|_| {
                Err(SecretError::unavailable(format!(
                    "{} was not answered within {:?}",
                    self.place, self.timeout
                )))
            })
    }

    /// The library's error is not shown: its text is not ours to answer for.
    fn unreached(&self, error: &reqwest::Error) -> SecretError {
        let what = if error.is_connect() {
            "no connection could be made; check the address, the name service and the certificate"
        } else {
            "the connection was lost"
        };
        let host = self.url.host_str().unwrap_or_default();
        SecretError::unavailable(format!(
            "{} could not be asked for at `{host}`: {what}",
            self.place
        ))
    }
}

impl fmt::Debug for VaultSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VaultSecret").field(&self.0).finish()
    }
}

impl fmt::Debug for Kv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kv")
            .field("url", &self.url.as_str())
            .field("field", &self.field)
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

/// The address is not shown, which may hold anything before it is checked.
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

#[cfg(test)]
mod tests;
