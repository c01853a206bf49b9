//! Discovery of an authorization server's metadata by its issuer identifier (RFC 8414), with a cache.

use std::{fmt, sync::Arc, time::Duration};

use hallpass_core::{Clock, SystemClock};

use super::{
    address::{Address, AddressRules},
    document::MetadataDocument,
    endpoint::Endpoint,
};
use crate::{BuildError, HttpTransport};

const SETTING: &str = "issuer";

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
    /// If a refresh fails, or takes more than half of the time that is left to its call, the old document stays in use and
    /// the refresh is retried after a minute.
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

    /// Refuses an issuer that names this machine, a private network or a link-local address; see
    /// [`SourceBuilder::refuse_local_endpoint`](crate::SourceBuilder::refuse_local_endpoint), which covers the
    /// endpoints in the document.
    pub fn refuse_local_issuer(mut self) -> Self {
        self.rules.refuse_local = Some("refuse_local_issuer");
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
                "it has spaces, control characters or non-ASCII characters; copy the `issuer` of the server's metadata",
            );
        }
        if self.issuer.contains('?') {
            return wrong(
                "the URL has a query, which RFC 8414 section 2 forbids; use the issuer identifier alone",
            );
        }
        let address = Address::parse_as(SETTING, &self.issuer, self.rules)?;
        let transport = HttpTransport::or_default(self.transport)?;
        if address.url().scheme() == "http" {
            tracing::warn!(host = address.host(), "metadata read over plain HTTP");
        }
        Ok(Endpoint::discovered(MetadataDocument::new(
            self.issuer,
            &address,
            self.openid,
            self.lifetime,
            transport,
            self.clock,
        )))
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

impl Endpoint {
    /// Discovers the endpoints of the server with this issuer identifier from its metadata (RFC 8414): an `https` URL
    /// without query and fragment, exactly as the server spells it.
    pub fn discover(issuer: impl Into<String>) -> Discovery {
        Discovery::new(issuer.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
