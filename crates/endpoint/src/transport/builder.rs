use std::{fmt, net::IpAddr, time::Duration};

use hallpass_core::Secret;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{Certificate, Client, ClientBuilder, Identity, Proxy, redirect};
use url::Url;

use super::{error, reuse::ObserveConnects};
use crate::{BuildError, hints};

/// A builder of [`HttpTransport`](crate::HttpTransport).
#[derive(Clone)]
#[must_use]
pub struct HttpTransportBuilder {
    pub(super) bounds: Bounds,
    pub(super) connect_timeout: Duration,
    pool_idle_timeout: Duration,
    user_agent: String,
    local_address: Option<IpAddr>,
    proxy: Option<String>,
    proxy_credentials: Option<(String, Secret)>,
    system_proxy: bool,
    pub(super) roots: Vec<Vec<u8>>,
    only_these_roots: bool,
    #[cfg(feature = "gzip")]
    pub(super) decompress: bool,
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
            #[cfg(feature = "gzip")]
            decompress: false,
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

    /// Decompresses responses in gzip, for a server or gateway that compresses although no request asks for it. Off by
    /// default: such a response is an error. Responses that are not compressed are accepted too.
    ///
    /// [`max_body_bytes`](Self::max_body_bytes) limits the response before and after. Other compressions stay errors.
    #[cfg(feature = "gzip")]
    pub fn compressed_responses(mut self) -> Self {
        self.decompress = true;
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

    /// Sets the credentials for the [`proxy`](Self::proxy). Those for the [`system_proxy`](Self::system_proxy) are in its
    /// URL.
    pub fn proxy_credentials(mut self, user: impl Into<String>, password: Secret) -> Self {
        self.proxy_credentials = Some((user.into(), password));
        self
    }

    /// Uses the proxy of the environment (`HTTPS_PROXY` and so on), except for requests to a loopback address. Off by
    /// default: otherwise a variable would decide where credentials are sent. It excludes [`proxy`](Self::proxy).
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

    /// Builds a client with these settings that presents the certificate, if any; without the proxy if `direct`.
    pub(super) fn client(
        &self,
        identity: Option<Identity>,
        direct: bool,
    ) -> Result<Client, BuildError> {
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
                    error::chain(&error.without_url())
                ),
            )
            .with_hint(hints::CLIENT)
        })
    }

    fn with_proxy(&self, builder: ClientBuilder) -> Result<ClientBuilder, BuildError> {
        let Some(url) = &self.proxy else {
            if self.proxy_credentials.is_some() {
                let message = if self.system_proxy {
                    "they have no effect with `system_proxy`; put the user name and the password into the URL of the variable, such as `HTTPS_PROXY`"
                } else {
                    "credentials without a proxy; set `proxy` too"
                };
                return Err(BuildError::new("proxy_credentials", message));
            }
            return Ok(if self.system_proxy {
                builder
            } else {
                builder.no_proxy()
            });
        };
        if self.system_proxy {
            return Err(BuildError::new(
                "system_proxy",
                "it has no effect with `proxy`; remove one of the two",
            ));
        }
        let refuse = |message: &'static str| Err(BuildError::new("proxy", message));
        let Ok(parsed) = Url::parse(url) else {
            return refuse("not an absolute URL; write it as `http://proxy.example:3128`");
        };
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(
                BuildError::new("proxy", "the URL contains a user name or password")
                    .with_hint(hints::PROXY_CREDENTIALS),
            );
        }
        if !matches!(parsed.scheme(), "http" | "https") {
            return refuse("the URL's scheme is neither `http` nor `https`");
        }
        let Ok(mut proxy) = Proxy::all(parsed) else {
            return refuse("the URL is not a valid proxy URL");
        };
        if let Some((user, password)) = &self.proxy_credentials {
            proxy = proxy.basic_auth(user, password.expose());
        }
        Ok(builder.proxy(proxy))
    }

    /// Returns the proxies that requests may go through, without user name and password.
    pub(super) fn proxies(&self) -> Option<Matcher> {
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
                return Err(BuildError::new(SETTING, error::not_pem(pem)));
            }
            roots.extend(bundle);
        }
        match (self.only_these_roots, roots.is_empty()) {
            (true, true) => Err(BuildError::new(
                "only_added_root_certificates",
                "no certificate was added, so no server can be trusted",
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

/// The limits of one exchange.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) timeout: Duration,
    pub(super) max_body_bytes: usize,
}
