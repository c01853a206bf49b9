//! An authorization server's metadata (RFC 8414), read by its issuer identifier and cached.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hallpass_core::{Clock, Hint, TextFilter, Timestamp, TokenError};
use url::Url;

use super::{
    address::Address,
    fetch::{self, DocumentKind},
    metadata::Metadata,
};
use crate::{HttpTransport, hints, transport::answer::Answer};

/// The delay before a failed refresh is retried.
const REFRESH_RETRY_DELAY: Duration = Duration::from_secs(60);

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
pub(crate) struct MetadataDocument {
    issuer: Box<str>,
    host: Box<str>,
    location: Url,
    openid: bool,
    lifetime: Duration,
    transport: HttpTransport,
    clock: Arc<dyn Clock>,
    /// Held while the document is read.
    turn: tokio::sync::Mutex<()>,
    cached: Mutex<DocumentCache>,
}

#[derive(Default)]
struct DocumentCache {
    metadata: Option<Arc<Metadata>>,
    refresh_at: Timestamp,
    /// The number of finished reads, and the error of the last one.
    readings: u64,
    failure: Option<TokenError>,
}

impl MetadataDocument {
    pub(super) fn new(
        issuer: String,
        address: &Address,
        openid: bool,
        lifetime: Duration,
        transport: HttpTransport,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            location: location(address.url(), openid),
            host: address.host().into(),
            issuer: issuer.into(),
            openid,
            lifetime,
            transport,
            clock,
            turn: tokio::sync::Mutex::default(),
            cached: Mutex::default(),
        }
    }

    /// Returns true if the document is read over TLS.
    pub(super) fn is_over_tls(&self) -> bool {
        self.location.scheme() == "https"
    }

    pub(super) fn transport(&self) -> &HttpTransport {
        &self.transport
    }

    /// Returns the document, reading it again once its lifetime is over.
    ///
    /// One call reads; the others use the old document if there is one, or wait for the result. If there is an old one,
    /// reading takes at most half of the `left` time of the call, which the token request needs too.
    pub(crate) async fn metadata(&self, left: Duration) -> Result<Arc<Metadata>, TokenError> {
        let (old, readings) = {
            let cached = self.cached();
            if let Some(metadata) = self.fresh(&cached) {
                return Ok(metadata);
            }
            (cached.metadata.clone(), cached.readings)
        };
        let _turn = match (self.turn.try_lock(), old) {
            (Ok(turn), _) => turn,
            (Err(_), Some(old)) => return Ok(old),
            (Err(_), None) => self.turn.lock().await,
        };
        let limit = {
            let mut cached = self.cached();
            if let Some(metadata) = self.fresh(&cached) {
                return Ok(metadata);
            }
            if cached.readings != readings
                && let Some(failure) = &cached.failure
            {
                return Err(failure.clone());
            }
            // Before the read, which may be dropped with its call: the next calls use the old document.
            cached.refresh_at = self.retry_at();
            cached.metadata.as_ref().map_or(Duration::MAX, |_| left / 2)
        };
        let read = self.read(limit).await;
        let mut cached = self.cached();
        cached.readings += 1;
        cached.failure = read.as_ref().err().cloned();
        match read {
            Ok(metadata) => {
                let metadata = Arc::new(metadata);
                cached.metadata = Some(metadata.clone());
                cached.refresh_at = self.clock.now().saturating_add(self.lifetime);
                Ok(metadata)
            }
            Err(error) => {
                cached.refresh_at = self.retry_at();
                let old = cached.metadata.clone().ok_or_else(|| error.clone())?;
                tracing::warn!(host = &*self.host, %error, "metadata not refreshed, the cached one is used");
                Ok(old)
            }
        }
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Returns the time before which a read that fails now is not repeated if there is an old document.
    fn retry_at(&self) -> Timestamp {
        let delay = REFRESH_RETRY_DELAY.min(self.lifetime);
        self.clock.now().saturating_add(delay)
    }

    fn cached(&self) -> MutexGuard<'_, DocumentCache> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh(&self, cached: &DocumentCache) -> Option<Arc<Metadata>> {
        let fresh = self.clock.now() < cached.refresh_at;
        cached.metadata.clone().filter(|_| fresh)
    }

    async fn read(&self, limit: Duration) -> Result<Metadata, TokenError> {
        let kind = DocumentKind {
            name: "metadata",
            setting: "issuer",
            redirect_hint: "metadata from a redirect is not accepted (RFC 8414 section 3); check `issuer`",
            response_section: "RFC 8414 section 3.2",
            missing_hint: self.other_location(),
        };
        let now = || self.clock.wall();
        let answer = fetch::read(&self.transport, &self.location, &kind, limit, now).await;
        let metadata = answer.and_then(|answer| {
            let metadata = self.read_answer(&answer);
            metadata.map_err(|error| error.with_status(answer.status))
        });
        let metadata = metadata.map_err(|error| error.with_host(&self.host))?;
        tracing::debug!(
            issuer = &*self.host,
            token_endpoint = metadata.token_endpoint().and_then(host_of),
            "metadata read"
        );
        Ok(metadata)
    }

    fn read_answer(&self, answer: &Answer) -> Result<Metadata, TokenError> {
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
            "they differ by a slash at the end; set `issuer` exactly as in the metadata"
        } else {
            "if it is the intended server, set `issuer` exactly as in its metadata; or set `token_endpoint`, which needs no metadata"
        })
    }
}

fn host_of(url: &str) -> Option<String> {
    Url::parse(url).ok()?.host_str().map(str::to_owned)
}

impl fmt::Debug for MetadataDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetadataDocument")
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
}
