//! One HTTP exchange with a token endpoint: bounded, without redirects, cookies or decompression.

mod clients;
pub(crate) mod fault;
pub(crate) mod identity;
mod reuse;

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use hallpass_core::{Secret, TokenError};
use http::HeaderMap;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{Certificate, Client, ClientBuilder, Identity, Proxy, Response, redirect};
use url::Url;
use zeroize::Zeroizing;

use crate::{BuildError, Credentials, hints, server::address};
use clients::Clients;
pub use fault::explain_tls_error;
pub use identity::ClientIdentity;
use reuse::ObserveConnects;

/// An HTTP transport to token endpoints: a keep-alive pool with deadlines and limits.
///
/// The default suits nearly everyone. Build one to set a proxy, a local address for an IP allow-list, a private
/// certificate authority or other timeouts; share it between sources by cloning it, which is cheap.
///
/// Redirects are errors, cookies are not stored, responses are not decompressed and certificates are always verified:
/// none of these can be changed. The system's proxy settings are not used by default.
///
/// ```
/// use std::time::Duration;
/// use hallpass_endpoint::HttpTransport;
///
/// let transport = HttpTransport::builder()
///     .connect_timeout(Duration::from_secs(2))
///     .timeout(Duration::from_secs(5))
///     .local_address([192, 0, 2, 7].into())
///     .build()?;
/// # Ok::<(), hallpass_endpoint::BuildError>(())
/// ```
#[derive(Clone)]
pub struct HttpTransport {
    client: Client,
    /// The clients that present a certificate or skip the proxy; `None` with a caller's client.
    others: Option<Arc<Clients>>,
    bounds: Bounds,
    setup: fault::Setup,
}

#[derive(Clone, Copy, Debug)]
struct Bounds {
    timeout: Duration,
    max_body_bytes: usize,
}

/// A complete response.
pub(crate) struct Answer {
    pub(crate) status: http::StatusCode,
    /// The address of the request.
    pub(crate) url: url::Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

impl HttpTransport {
    /// Creates a builder with the defaults: 5 s to connect, 10 s for the whole exchange, 1 MiB of body.
    pub fn builder() -> HttpTransportBuilder {
        HttpTransportBuilder::default()
    }

    /// Returns this transport, or one with the defaults.
    pub(crate) fn or_default(transport: Option<Self>) -> Result<Self, BuildError> {
        transport.map_or_else(|| Self::builder().build(), Ok)
    }

    /// Creates a transport from a custom client, with its pool, TLS settings and proxies.
    ///
    /// Danger: its redirect policy, cookies and decompression cannot be inspected. A client that follows redirects may
    /// send credentials to any address that a server redirects to (RFC 9700 section 4.12). Build it with
    /// `redirect::Policy::none()`. This transport's timeout and body limit still apply. The state of its connections is
    /// unknown, so a lost one is not replaced at once, and its own retries and proxies apply.
    ///
    /// It cannot present the certificate of [`MutualTls`](crate::MutualTls); such a call fails.
    pub fn danger_from_client(client: Client) -> Self {
        tracing::warn!(
            "token requests go through a caller's HTTP client, whose redirect policy is unknown"
        );
        Self {
            client,
            others: None,
            bounds: HttpTransportBuilder::default().bounds,
            setup: fault::Setup::default(),
        }
    }

    /// Returns host and port of the proxy through which a request to this URL is sent, without user name and password;
    /// `None` for a direct connection, an invalid URL, and a [caller's client](Self::danger_from_client).
    ///
    /// ```
    /// use hallpass_endpoint::HttpTransport;
    ///
    /// let transport = HttpTransport::builder().proxy("http://proxy.example:3128").build()?;
    /// let proxy = transport.proxy_for("https://login.example/token");
    /// assert_eq!(proxy.as_deref(), Some("proxy.example:3128"));
    /// assert_eq!(transport.proxy_for("https://127.0.0.1/token"), None);
    /// # Ok::<(), hallpass_endpoint::BuildError>(())
    /// ```
    pub fn proxy_for(&self, url: &str) -> Option<String> {
        self.setup.proxy_for(&Url::parse(url).ok()?)
    }

    /// Sends a request and reads the response, within `deadline` or the transport's own timeout, whichever is shorter.
    /// Presents the certificate of the credentials, if they have one.
    pub(crate) async fn exchange_as(
        &self,
        request: reqwest::Request,
        credentials: &Credentials,
        deadline: Duration,
    ) -> Result<Answer, TokenError> {
        let identity = credentials.identity();
        if identity.is_some() && self.others.is_none() {
            return Err(TokenError::configuration(
                "a transport made by `danger_from_client` cannot present the client certificate",
            )
            .with_hint(hints::OWN_TRANSPORT));
        }
        if identity.is_some() && request.url().scheme() != "https" {
            return Err(TokenError::configuration(
                "the client certificate cannot be presented over plain HTTP",
            )
            .with_hint(hints::HTTPS));
        }
        let answer = self.exchange_with(request, identity, deadline).await;
        if identity.is_none() {
            return answer;
        }
        answer.map_err(|error| fault::certified(error, credentials.hint.as_ref()))
    }

    /// Does the same as [`exchange_as`](Self::exchange_as), without a certificate.
    pub(crate) async fn exchange(
        &self,
        request: reqwest::Request,
        deadline: Duration,
    ) -> Result<Answer, TokenError> {
        self.exchange_with(request, None, deadline).await
    }

    async fn exchange_with(
        &self,
        request: reqwest::Request,
        identity: Option<&ClientIdentity>,
        deadline: Duration,
    ) -> Result<Answer, TokenError> {
        // A proxy may be on any host, and traffic to loopback may be plain HTTP.
        let proxy = self.setup.proxy_for(request.url());
        let direct = self.setup.proxies.is_some() && address::is_loopback(request.url());
        let sent = async {
            match &self.others {
                Some(others) if direct || identity.is_some() => {
                    let client = others.of(identity, direct).await?;
                    self.send(&client, request).await
                }
                _ => self.send(&self.client, request).await,
            }
        };
        self.within(deadline, proxy.as_deref(), sent).await
    }

    async fn within(
        &self,
        deadline: Duration,
        proxy: Option<&str>,
        sent: impl Future<Output = Result<Answer, TokenError>>,
    ) -> Result<Answer, TokenError> {
        let timeout = self.bounds.timeout.min(deadline);
        tokio::time::timeout(timeout, sent)
            .await
            .unwrap_or_else(|_| {
                let through = fault::through(proxy);
                Err(TokenError::unavailable(format!(
                    "the server did not answer in full within {timeout:?}{through}"
                )))
            })
    }

    async fn send(&self, client: &Client, request: reqwest::Request) -> Result<Answer, TokenError> {
        let (response, reused) = reuse::observe(client.execute(request)).await;
        // The connections of a caller's client cannot be observed.
        let reused = reused && self.others.is_some();
        let mut response = response.map_err(|error| fault::of(error, &self.setup, reused))?;
        let limit = self.bounds.max_body_bytes;
        if response.status().is_redirection() {
            // Its body has no meaning, and may not end properly.
            return Ok(Answer {
                status: response.status(),
                url: response.url().clone(),
                headers: std::mem::take(response.headers_mut()),
                body: Zeroizing::default(),
            });
        }
        let announced = response.content_length();
        if announced.is_some_and(|length| length > limit as u64) {
            return Err(too_large(limit).with_status(response.status()));
        }
        // Allocates the announced length at once: growing would move the body and leave copies in memory.
        let capacity = announced
            .map_or(Ok(FIRST), usize::try_from)
            .unwrap_or(limit);
        let mut body = Zeroizing::new(Vec::with_capacity(capacity));
        while let Some(chunk) = next(&mut response, &self.setup).await? {
            if body.len() + chunk.len() > limit {
                return Err(too_large(limit).with_status(response.status()));
            }
            append(&mut body, &chunk);
        }
        Ok(Answer {
            status: response.status(),
            url: response.url().clone(),
            headers: std::mem::take(response.headers_mut()),
            body,
        })
    }
}

/// The capacity for a body of unknown length, in bytes.
const FIRST: usize = 4 * 1_024;

async fn next(
    response: &mut Response,
    setup: &fault::Setup,
) -> Result<Option<bytes::Bytes>, TokenError> {
    let status = response.status();
    let chunk = response.chunk().await;
    chunk.map_err(|error| fault::of(error, setup, false).with_status(status))
}

fn append(body: &mut Zeroizing<Vec<u8>>, chunk: &[u8]) {
    if body.capacity() - body.len() < chunk.len() {
        let mut larger = Vec::with_capacity((body.len() + chunk.len()) * 2);
        larger.extend_from_slice(body);
        // The smaller buffer is wiped when it is dropped.
        *body = Zeroizing::new(larger);
    }
    body.extend_from_slice(chunk);
}

fn too_large(limit: usize) -> TokenError {
    TokenError::unusable_response(format!("the response is larger than {limit} bytes"))
        .with_hint(hints::BODY_SIZE)
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTransport")
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

/// A builder of [`HttpTransport`].
#[derive(Clone)]
#[must_use]
pub struct HttpTransportBuilder {
    bounds: Bounds,
    connect_timeout: Duration,
    pool_idle_timeout: Duration,
    user_agent: String,
    local_address: Option<IpAddr>,
    proxy: Option<String>,
    proxy_credentials: Option<(String, Secret)>,
    system_proxy: bool,
    roots: Vec<Vec<u8>>,
    only_these_roots: bool,
}

impl Default for HttpTransportBuilder {
    fn default() -> Self {
        Self {
            bounds: Bounds {
                timeout: Duration::from_secs(10),
                max_body_bytes: 1 << 20,
            },
            connect_timeout: Duration::from_secs(5),
            pool_idle_timeout: Duration::from_secs(90),
            user_agent: concat!("hallpass/", env!("CARGO_PKG_VERSION")).to_owned(),
            local_address: None,
            proxy: None,
            proxy_credentials: None,
            system_proxy: false,
            roots: Vec::new(),
            only_these_roots: false,
        }
    }
}

impl HttpTransportBuilder {
    /// Sets the timeout of connecting, with DNS lookup and TLS handshake. Default: 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets the timeout of one exchange, from connecting to the last byte; progress does not extend it. Default: 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.bounds.timeout = timeout;
        self
    }

    /// Sets the longest accepted response, in bytes. Default: 1 MiB.
    pub fn max_body_bytes(mut self, bytes: usize) -> Self {
        self.bounds.max_body_bytes = bytes;
        self
    }

    /// Sets how long an idle connection stays in the pool. Default: 90 s; zero disables reuse.
    pub fn pool_idle_timeout(mut self, timeout: Duration) -> Self {
        self.pool_idle_timeout = timeout;
        self
    }

    /// Sets the `User-Agent` header. Default: `hallpass/` and the version.
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = user_agent.into();
        self
    }

    /// Sets the local address of connections, for a server with an allow-list.
    pub fn local_address(mut self, address: IpAddr) -> Self {
        self.local_address = Some(address);
        self
    }

    /// Sends all requests through this proxy: `http://` or `https://`, without user name and password in the URL.
    /// Requests to a loopback address are sent directly.
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.proxy = Some(url.into());
        self
    }

    /// Sets the credentials for the [`proxy`](Self::proxy).
    pub fn proxy_credentials(mut self, user: impl Into<String>, password: Secret) -> Self {
        self.proxy_credentials = Some((user.into(), password));
        self
    }

    /// Uses the proxy of the environment (`HTTPS_PROXY` and so on), except for requests to a loopback address. Off by
    /// default: otherwise a variable would decide where credentials are sent.
    pub fn system_proxy(mut self) -> Self {
        self.system_proxy = true;
        self
    }

    /// Trusts the certificate authorities in this PEM text, in addition to the platform's.
    pub fn add_root_certificates_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots.push(pem.into());
        self
    }

    /// Trusts only the added certificate authorities, not the platform's.
    pub fn only_added_root_certificates(mut self) -> Self {
        self.only_these_roots = true;
        self
    }

    /// Builds the transport without connecting to anything.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] that names the invalid setting.
    pub fn build(self) -> Result<HttpTransport, BuildError> {
        let bounds = self.bounds;
        if bounds.timeout.is_zero() {
            return Err(BuildError::new(
                "timeout",
                "zero leaves no time for an answer",
            ));
        }
        let client = self.client(None, false)?;
        let setup = fault::Setup {
            roots: !self.roots.is_empty(),
            proxies: self.proxies().map(Arc::new),
        };
        Ok(HttpTransport {
            client,
            others: Some(Arc::new(Clients::new(self))),
            bounds,
            setup,
        })
    }

    /// Builds a client with these settings that presents the certificate, if any; without the proxy if `direct`.
    fn client(&self, identity: Option<Identity>, direct: bool) -> Result<Client, BuildError> {
        // Each of these is set because its default depends on the features that other crates enable on reqwest. Cookies
        // are stored only by a client with a cookie store.
        let builder = Client::builder()
            .tls_backend_rustls()
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .no_hickory_dns()
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connector_layer(ObserveConnects)
            .connect_timeout(self.connect_timeout)
            .pool_idle_timeout(self.pool_idle_timeout)
            .user_agent(self.user_agent.as_str())
            .local_address(self.local_address);
        let builder = if direct {
            builder.no_proxy()
        } else {
            self.with_proxy(builder)?
        };
        let mut builder = self.with_roots(builder)?;
        if let Some(identity) = identity {
            builder = builder.identity(identity);
        }
        builder.build().map_err(|error| {
            BuildError::new(
                "transport",
                format!(
                    "the HTTP client could not be set up ({})",
                    fault::chain(&error.without_url())
                ),
            )
            .with_hint(hints::CLIENT)
        })
    }

    fn with_proxy(&self, builder: ClientBuilder) -> Result<ClientBuilder, BuildError> {
        let Some(url) = &self.proxy else {
            if self.proxy_credentials.is_some() {
                return Err(BuildError::new(
                    "proxy_credentials",
                    "there is no proxy to give them to; set `proxy` too",
                ));
            }
            return Ok(if self.system_proxy {
                builder
            } else {
                builder.no_proxy()
            });
        };
        let refuse = |message: &'static str| Err(BuildError::new("proxy", message));
        let Ok(parsed) = Url::parse(url) else {
            return refuse("not an absolute URL; give it as `http://proxy.example:3128`");
        };
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(
                BuildError::new("proxy", "the URL holds a user name or password")
                    .with_hint(hints::PROXY_CREDENTIALS),
            );
        }
        if !matches!(parsed.scheme(), "http" | "https") {
            return refuse("the URL's scheme is neither `http` nor `https`");
        }
        let Ok(mut proxy) = Proxy::all(parsed) else {
            return refuse("the URL cannot be used as a proxy's");
        };
        if let Some((user, password)) = &self.proxy_credentials {
            proxy = proxy.basic_auth(user, password.expose());
        }
        Ok(builder.proxy(proxy))
    }

    /// Returns the proxies that requests may go through, without user name and password.
    fn proxies(&self) -> Option<Matcher> {
        match &self.proxy {
            Some(url) => Some(Matcher::builder().all(url.as_str()).build()),
            None => self.system_proxy.then(Matcher::from_system),
        }
    }

    fn with_roots(&self, builder: ClientBuilder) -> Result<ClientBuilder, BuildError> {
        const SETTING: &str = "add_root_certificates_pem";
        let mut roots = Vec::new();
        for pem in &self.roots {
            let bundle = Certificate::from_pem_bundle(pem).map_err(|_| {
                BuildError::new(SETTING, "the text is not a PEM bundle of certificates")
            })?;
            if bundle.is_empty() {
                return Err(BuildError::new(SETTING, fault::not_pem(pem)));
            }
            roots.extend(bundle);
        }
        match (self.only_these_roots, roots.is_empty()) {
            (true, true) => Err(BuildError::new(
                "only_added_root_certificates",
                "no certificate was added, so that no server could be trusted",
            )),
            (true, false) => Ok(builder.tls_certs_only(roots)),
            (false, _) => Ok(builder.tls_certs_merge(roots)),
        }
    }
}

impl fmt::Debug for HttpTransportBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTransportBuilder")
            .field("bounds", &self.bounds)
            .field("connect_timeout", &self.connect_timeout)
            .field("local_address", &self.local_address)
            .field("proxy", &self.proxy.is_some())
            .field("system_proxy", &self.system_proxy)
            .field("roots", &self.roots.len())
            .finish_non_exhaustive()
    }
}
