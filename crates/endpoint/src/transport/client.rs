use std::{fmt, sync::Arc, time::Duration};

use hallpass_core::{Hint, TokenError};
use reqwest::{Client, Response};
use url::Url;
use zeroize::Zeroizing;

#[cfg(feature = "gzip")]
use super::gzip;
use super::{
    answer::Answer,
    body::{INITIAL_BODY_CAPACITY, append, too_large},
    builder::{Bounds, HttpTransportBuilder},
    clients::Clients,
    error,
    identity::ClientIdentity,
    reach, reuse, suites,
};
use crate::{BuildError, Requirement, SecurityProfile, hints};

/// A function that responds in place of servers, without a network.
#[cfg(feature = "internals")]
pub(crate) type Script = Arc<dyn Fn(&reqwest::Request) -> Response + Send + Sync>;

/// An HTTP transport to token endpoints: a keep-alive pool with deadlines and limits.
///
/// The default suits nearly everyone. Build one to set a proxy, a local address for an IP allow-list, a private
/// certificate authority or other timeouts; share it between sources by cloning it, which is cheap.
///
/// Redirects are errors, cookies are not stored and certificates are always verified: none of these can be changed.
/// Compressed responses are errors and the system's proxy settings are not used by default.
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
    #[cfg(feature = "gzip")]
    decompress: bool,
    setup: error::Setup,
    #[cfg(feature = "internals")]
    script: Option<Script>,
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
        tracing::warn!("custom HTTP client in use, redirect policy unknown");
        Self {
            client,
            others: None,
            bounds: HttpTransportBuilder::default().bounds,
            #[cfg(feature = "gzip")]
            decompress: false,
            setup: error::Setup::default(),
            #[cfg(feature = "internals")]
            script: None,
        }
    }

    /// Refuses a caller's client, whose settings cannot be inspected: it may accept any certificate. Refuses cryptography
    /// that the program has installed with weaker cipher suites.
    pub(crate) fn check_profile(&self, profile: SecurityProfile) -> Result<(), BuildError> {
        if self.others.is_some() {
            return suites::excluded(&suites::provider()).map_or(Ok(()), |suite| {
                let fault =
                    format!("the installed `CryptoProvider` has the cipher suite {suite:?}");
                let error = profile.excludes("transport", &fault, &Requirement::SUITES);
                Err(error.with_hint("install one without it"))
            });
        }
        let fault = "the checks of a client made by `danger_from_client` are not known";
        let error = profile.excludes("transport", fault, &Requirement::TLS);
        Err(error.with_hint("build it with `HttpTransport::builder`"))
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
    /// Presents the certificate, if there is one; `refusal_hint` is for its refusal in TLS.
    pub(crate) async fn exchange_as(
        &self,
        request: reqwest::Request,
        identity: Option<&ClientIdentity>,
        refusal_hint: Option<&Hint>,
        deadline: Duration,
    ) -> Result<Answer, TokenError> {
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
        answer.map_err(|error| error::certified(error, refusal_hint))
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
        let direct = self.setup.proxies.is_some() && reach::is_loopback(request.url());
        let sent = async {
            match &self.others {
                Some(others) if direct || identity.is_some() => {
                    let client = others.client(identity, direct).await?;
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
                let through = error::through(proxy);
                Err(TokenError::unavailable(format!(
                    "the server did not answer in full within {timeout:?}{through}"
                )))
            })
    }

    /// Returns the response's head, and whether the connection had been used before.
    async fn execute(
        &self,
        client: &Client,
        request: reqwest::Request,
    ) -> (reqwest::Result<Response>, bool) {
        #[cfg(feature = "internals")]
        if let Some(script) = &self.script {
            return (Ok(script(&request)), false);
        }
        reuse::observe(client.execute(request)).await
    }

    /// Returns this transport with a script in place of servers.
    #[cfg(feature = "internals")]
    pub(crate) fn with_script(mut self, script: Script) -> Self {
        self.script = Some(script);
        self
    }

    async fn send(&self, client: &Client, request: reqwest::Request) -> Result<Answer, TokenError> {
        let (response, reused) = self.execute(client, request).await;
        // The connections of a caller's client cannot be observed.
        let reused = reused && self.others.is_some();
        let mut response = response.map_err(|error| error::classify(error, &self.setup, reused))?;
        let limit = self.bounds.max_body_bytes;
        if response.status().is_redirection() {
            // Its body has no meaning, and may not end properly.
            return Ok(answer(response, Zeroizing::default()));
        }
        let announced = response.content_length();
        if announced.is_some_and(|length| length > limit as u64) {
            return over_limit(response, limit);
        }
        // Allocates the announced length at once: growing would move the body and leave copies in memory.
        let capacity = announced
            .map_or(Ok(INITIAL_BODY_CAPACITY), usize::try_from)
            .unwrap_or(limit);
        let mut body = Zeroizing::new(Vec::with_capacity(capacity));
        while let Some(chunk) = next(&mut response, &self.setup).await? {
            if body.len() + chunk.len() > limit {
                return over_limit(response, limit);
            }
            append(&mut body, &chunk);
        }
        let answer = answer(response, body);
        #[cfg(feature = "gzip")]
        if self.decompress {
            return gzip::decompress(answer, limit);
        }
        Ok(answer)
    }
}

fn answer(mut response: Response, body: Zeroizing<Vec<u8>>) -> Answer {
    Answer {
        status: response.status(),
        url: response.url().clone(),
        headers: std::mem::take(response.headers_mut()),
        body,
    }
}

/// Returns the result for a body over the limit: the status of a failure counts without it.
fn over_limit(response: Response, limit: usize) -> Result<Answer, TokenError> {
    let status = response.status();
    if status.is_success() {
        return Err(too_large(limit).with_status(status));
    }
    Ok(answer(response, Zeroizing::default()))
}

async fn next(
    response: &mut Response,
    setup: &error::Setup,
) -> Result<Option<bytes::Bytes>, TokenError> {
    let status = response.status();
    let chunk = response.chunk().await;
    chunk.map_err(|error| error::classify(error, setup, false).with_status(status))
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTransport")
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

impl HttpTransportBuilder {
    /// Builds the transport without connecting to anything.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] that names the invalid setting.
    pub fn build(self) -> Result<HttpTransport, BuildError> {
        let bounds = self.bounds;
        BuildError::check_timeout("timeout", bounds.timeout)?;
        BuildError::check_timeout("connect_timeout", self.connect_timeout)?;
        let client = self.client(None, false)?;
        #[cfg(feature = "gzip")]
        let decompress = self.decompress;
        let setup = error::Setup {
            roots: !self.roots.is_empty(),
            proxies: self.proxies().map(Arc::new),
        };
        Ok(HttpTransport {
            client,
            others: Some(Arc::new(Clients::new(self))),
            bounds,
            #[cfg(feature = "gzip")]
            decompress,
            setup,
            #[cfg(feature = "internals")]
            script: None,
        })
    }
}
