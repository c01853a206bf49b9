//! Discovery of an authorization server's metadata by its issuer identifier (RFC 8414), with a cache.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hallpass_core::{Clock, Hint, SystemClock, TextFilter, Timestamp, TokenError};
use http::{HeaderValue, Method, StatusCode, header};
use url::Url;

use crate::{
    BuildError, Endpoint, HttpTransport, Metadata,
    exchange::answer::{MediaType, is_encoded},
    hints,
    response::{redirect, refusal},
    server::address::{Address, AddressRules},
    transport::Answer,
};

const SETTING: &str = "issuer";
/// The delay before a failed refresh is retried.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// A builder for the discovery of an authorization server's endpoints; see [`Endpoint::discover`].
///
/// No request is sent before the first token is requested.
///
/// ```
/// use std::time::Duration;
/// use hallpass_endpoint::Endpoint;
///
/// let endpoint = Endpoint::discover("https://login.example/tenant")
///     .lifetime(Duration::from_secs(600))
///     .build()?;
/// # Ok::<(), hallpass_endpoint::BuildError>(())
/// ```
#[must_use]
pub struct Discovery {
    issuer: String,
    openid: bool,
    lifetime: Duration,
    transport: Option<HttpTransport>,
    rules: AddressRules,
    clock: Arc<dyn Clock>,
}

impl Discovery {
    pub(crate) fn new(issuer: String) -> Self {
        Self {
            issuer,
            openid: false,
            lifetime: Duration::from_secs(3_600),
            transport: None,
            rules: AddressRules::default(),
            clock: Arc::new(SystemClock),
        }
    }

    /// Reads the document at the location of OpenID Connect Discovery, `.well-known/openid-configuration` appended to
    /// the issuer, for servers that only have that one. Default: `.well-known/oauth-authorization-server` between host
    /// and path (RFC 8414 section 3.1).
    pub fn openid_location(mut self) -> Self {
        self.openid = true;
        self
    }

    /// Sets how long a document is cached. Default: an hour.
    ///
    /// If a refresh fails, the old document stays in use and the refresh is retried after a minute.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Sets the transport for reading the document. Default: one with default settings. A proxy or certificate
    /// authority that the token requests need in their [`HttpTransport`] is needed here too.
    pub fn transport(mut self, transport: HttpTransport) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Rejects an issuer that names this machine, a private network or a link-local address; see
    /// [`SourceBuilder::refuse_local_endpoint`](crate::SourceBuilder::refuse_local_endpoint), which covers the
    /// endpoints in the document.
    pub fn refuse_local_issuer(mut self) -> Self {
        self.rules.refuse_local = true;
        self
    }

    /// Allows plain HTTP to a server on this machine, for tests and development. For the endpoints in the document, use
    /// the source's method of the same name.
    ///
    /// Danger: other processes on this machine may impersonate the server. HTTP to any other host stays forbidden.
    pub fn danger_allow_http_on_loopback(mut self) -> Self {
        self.rules.allow_http_on_loopback = true;
        self
    }

    /// Sets the clock, for tests.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Builds the endpoint without connecting to anything. Its clones share one document.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] if the issuer is not an `https` URL without query and fragment (RFC 8414 section 2).
    pub fn build(self) -> Result<Endpoint, BuildError> {
        let wrong = |message: &'static str| Err(BuildError::new(SETTING, message));
        if !self.issuer.bytes().all(|byte| byte.is_ascii_graphic()) {
            return wrong(
                "it holds spaces, control characters or others than ASCII; copy the `issuer` of the server's metadata",
            );
        }
        if self.issuer.contains('?') {
            return wrong(
                "the URL has a query, which RFC 8414 section 2 forbids; give the issuer identifier alone",
            );
        }
        let address = Address::parse_as(SETTING, &self.issuer, self.rules)?;
        let transport = HttpTransport::or_default(self.transport)?;
        if address.url().scheme() == "http" {
            tracing::warn!(host = address.host(), "metadata is read over plain HTTP");
        }
        Ok(Endpoint::discovered(Discovered {
            location: location(address.url(), self.openid),
            host: address.host().into(),
            issuer: self.issuer.into(),
            openid: self.openid,
            lifetime: self.lifetime,
            transport,
            clock: self.clock,
            turn: tokio::sync::Mutex::default(),
            known: Mutex::default(),
        }))
    }
}

impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The issuer may contain anything before it is checked.
        f.debug_struct("Discovery")
            .field("openid", &self.openid)
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}

/// Returns the document's URL: between host and path (RFC 8414 section 3.1), or after the path (OpenID Connect
/// Discovery 1.0 section 4).
fn location(issuer: &Url, openid: bool) -> Url {
    let path = issuer.path().strip_suffix('/').unwrap_or(issuer.path());
    let well_known = if openid {
        format!("{path}/.well-known/openid-configuration")
    } else {
        format!("/.well-known/oauth-authorization-server{path}")
    };
    let mut location = issuer.clone();
    location.set_path(&well_known);
    location
}

/// An issuer with its cached document.
pub(crate) struct Discovered {
    issuer: Box<str>,
    host: Box<str>,
    location: Url,
    openid: bool,
    lifetime: Duration,
    transport: HttpTransport,
    clock: Arc<dyn Clock>,
    /// Held while the document is read.
    turn: tokio::sync::Mutex<()>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    metadata: Option<Arc<Metadata>>,
    refresh_at: Timestamp,
    /// The number of finished reads, and the error of the last one.
    readings: u64,
    failure: Option<TokenError>,
}

impl Discovered {
    /// Returns the document, reading it again once its lifetime is over.
    ///
    /// One call reads; the others use the old document if there is one, or wait for the result.
    pub(crate) async fn metadata(&self) -> Result<Arc<Metadata>, TokenError> {
        let (old, readings) = {
            let known = self.known();
            if let Some(metadata) = self.fresh(&known) {
                return Ok(metadata);
            }
            (known.metadata.clone(), known.readings)
        };
        let _turn = match (self.turn.try_lock(), old) {
            (Ok(turn), _) => turn,
            (Err(_), Some(old)) => return Ok(old),
            (Err(_), None) => self.turn.lock().await,
        };
        {
            let known = self.known();
            if let Some(metadata) = self.fresh(&known) {
                return Ok(metadata);
            }
            if known.readings != readings
                && let Some(failure) = &known.failure
            {
                return Err(failure.clone());
            }
        }
        let read = self.read().await;
        let mut known = self.known();
        let now = self.clock.now();
        known.readings += 1;
        known.failure = read.as_ref().err().cloned();
        match read {
            Ok(metadata) => {
                let metadata = Arc::new(metadata);
                known.metadata = Some(metadata.clone());
                known.refresh_at = now.saturating_add(self.lifetime);
                Ok(metadata)
            }
            Err(error) => {
                known.refresh_at = now.saturating_add(RETRY_AFTER.min(self.lifetime));
                let old = known.metadata.clone().ok_or_else(|| error.clone())?;
                tracing::warn!(host = &*self.host, %error, "metadata could not be read again, the old one is used");
                Ok(old)
            }
        }
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh(&self, known: &Known) -> Option<Arc<Metadata>> {
        let fresh = self.clock.now() < known.refresh_at;
        known.metadata.clone().filter(|_| fresh)
    }

    async fn read(&self) -> Result<Metadata, TokenError> {
        const JSON: HeaderValue = HeaderValue::from_static("application/json");
        let mut get = reqwest::Request::new(Method::GET, self.location.clone());
        get.headers_mut().insert(header::ACCEPT, JSON);
        let answer = self.transport.exchange(get, Duration::MAX).await;
        let metadata = answer.and_then(|answer| {
            let status = answer.status;
            self.judge(&answer)
                .map_err(|error| error.with_status(status))
        });
        let metadata = metadata.map_err(|error| error.with_host(&self.host))?;
        tracing::debug!(
            issuer = &*self.host,
            token_endpoint = metadata.token_endpoint().and_then(host_of),
            "metadata read"
        );
        Ok(metadata)
    }

    fn judge(&self, answer: &Answer) -> Result<Metadata, TokenError> {
        let Answer {
            status, headers, ..
        } = answer;
        if status.is_redirection() {
            let target = redirect::target(answer, &TextFilter::new());
            let message = format!("the server redirects requests for its metadata to {target}");
            return Err(TokenError::configuration(message).with_hint(
                "metadata that another address answers with is not this issuer's; check `issuer`",
            ));
        }
        if status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS {
            let error =
                TokenError::unavailable("the server cannot tell its metadata at the moment");
            return Err(refusal::with_wait(error, headers, self.clock.wall()));
        }
        if *status != StatusCode::OK {
            // Safe to show: an issuer has neither a query nor a user name.
            let message = format!("the server has no metadata at {}", self.location);
            return Err(TokenError::configuration(message).with_hint(self.other_location()));
        }
        if MediaType::of(headers) != MediaType::Json || is_encoded(headers) {
            return Err(TokenError::unusable_response(
                "the metadata's content type is not `application/json`, or it is compressed (RFC 8414 section 3.2)",
            )
            .with_hint(self.other_location()));
        }
        let metadata = Metadata::read(&answer.body)?;
        if metadata.issuer() != &*self.issuer {
            return Err(self.mismatch(metadata.issuer()));
        }
        Ok(metadata)
    }

    fn other_location(&self) -> Hint {
        if self.openid {
            hints::OAUTH_LOCATION
        } else {
            hints::OPENID_LOCATION
        }
    }

    /// Compares code point by code point (RFC 8414 section 3.3); otherwise this server could impersonate another one.
    #[cold]
    fn mismatch(&self, issuer: &str) -> TokenError {
        let shown = TextFilter::new().clean(issuer);
        let message = format!(
            "the metadata at {} is that of another issuer, `{shown}`",
            self.location
        );
        let slash = |text: &str| text.strip_suffix('/').unwrap_or(text).to_owned();
        TokenError::configuration(message).with_hint(if slash(issuer) == slash(&self.issuer) {
            "the two differ by a slash at the end; set `issuer` to the letter as the server has it"
        } else {
            "set `issuer` to the letter as the server has it, if that is the server that you mean; or set `token_endpoint`, which needs no metadata"
        })
    }
}

fn host_of(url: &str) -> Option<String> {
    Url::parse(url).ok()?.host_str().map(str::to_owned)
}

impl fmt::Debug for Discovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discovered")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: C-52
    #[test]
    fn the_document_is_sought_where_the_rfc_has_it() {
        for (issuer, oauth, openid) in [
            (
                "https://a.example",
                "/.well-known/oauth-authorization-server",
                "/.well-known/openid-configuration",
            ),
            (
                "https://a.example/",
                "/.well-known/oauth-authorization-server",
                "/.well-known/openid-configuration",
            ),
            (
                "https://a.example:8443/t/1",
                "/.well-known/oauth-authorization-server/t/1",
                "/t/1/.well-known/openid-configuration",
            ),
            (
                "https://a.example/t/",
                "/.well-known/oauth-authorization-server/t",
                "/t/.well-known/openid-configuration",
            ),
        ] {
            let url = Url::parse(issuer).unwrap();
            assert_eq!(location(&url, false).path(), oauth, "{issuer}");
            assert_eq!(location(&url, true).path(), openid, "{issuer}");
            assert_eq!(location(&url, true).origin(), url.origin());
        }
    }

    // covers: C-51, F-120
    #[test]
    fn what_cannot_be_an_issuer_is_refused() {
        for wrong in [
            "",
            "login.example",
            "https://a.example?x=CANARY",
            "https://a.example?",
            "https://a.example/#CANARY",
            "http://a.example",
            "http://127.0.0.1:1",
            "https://u:CANARY@a.example",
            "https://ä.example",
            "file:///etc/issuer",
        ] {
            let error = Discovery::new(wrong.to_owned()).build().unwrap_err();
            assert_eq!(error.setting(), SETTING, "{wrong}");
            assert!(!error.to_string().contains("CANARY"), "{error}");
        }
        assert!(
            Discovery::new("https://a.example/t".to_owned())
                .build()
                .is_ok()
        );
    }
}
