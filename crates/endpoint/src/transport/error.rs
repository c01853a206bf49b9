//! Failures below HTTP, described without the URL and without what was sent.

mod tls;

use std::{error::Error, io, sync::Arc};

use hallpass_core::{ErrorKind, Hint, TokenError};
use hyper_util::client::{legacy, proxy::matcher::Matcher};
use url::Url;

use super::reach;
use crate::hints;
pub(crate) use tls::not_pem;

/// The transport settings that affect the description.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    /// True if certificate authorities were added to the platform's.
    pub(crate) roots: bool,
    /// The proxies that requests may go through, by their URL.
    pub(crate) proxies: Option<Arc<Matcher>>,
}

impl Setup {
    /// Returns host and port of the proxy for a request to this URL; `None` for a direct connection.
    pub(crate) fn proxy_for(&self, url: &Url) -> Option<String> {
        let proxies = self.proxies.as_ref()?;
        if reach::is_loopback(url) {
            return None;
        }
        let target = url.as_str().parse::<http::Uri>().ok()?;
        let proxy = proxies.intercept(&target)?;
        let (host, port) = (proxy.uri().host()?, proxy.uri().port_u16());
        let default = match proxy.uri().scheme_str() {
            Some("https") => 443,
            Some("http") | None => 80,
            Some(_) => 1080,
        };
        Some(format!("{host}:{}", port.unwrap_or(default)))
    }
}

/// A marker in the `source()` chain: the connection broke before any response.
#[derive(Debug, thiserror::Error)]
#[error("the connection was lost before a response arrived")]
struct ConnectionLost {
    source: reqwest::Error,
    processing: Processing,
}

/// The likelihood that the server has processed a request without a response.
#[derive(Clone, Copy, Debug)]
enum Processing {
    /// HTTP/2 reports that it was not processed (RFC 9113 section 8.7).
    Excluded,
    /// It was sent on a pooled HTTP/1 connection, which the server may have closed while idle. The HTTP library reports
    /// the same error if the server closed it in the middle of a response's head.
    Unlikely,
    Possible,
}

/// The TLS alerts with which a server refuses the client's certificate, in the TLS library's spelling of the names in
/// RFC 8446 section 6.2.
const REFUSALS: [(&str, &str); 8] = [
    ("AccessDenied", "it is valid, but may not be used here"),
    (
        "BadCertificate",
        "it is damaged, or not what the server expects",
    ),
    ("CertificateExpired", "it has expired"),
    (
        "CertificateRequired",
        "there was none, and the server requires one",
    ),
    ("CertificateRevoked", "it was revoked"),
    ("CertificateUnknown", "the server gave no reason"),
    ("UnknownCA", "its issuer is not one that the server trusts"),
    (
        "UnsupportedCertificate",
        "it is of a kind that the server does not accept",
    ),
];

/// Converts the error of a request. `reused`: it was sent on a pooled connection.
pub(crate) fn classify(error: reqwest::Error, setup: &Setup, reused: bool) -> TokenError {
    let proxy = error.url().and_then(|url| setup.proxy_for(url));
    let error = error.without_url();
    if let Some(why) = refused_certificate(&error) {
        let message = format!("the server refused the client certificate in TLS: {why}");
        return TokenError::credentials_refused(message)
            .with_hint(hints::CLIENT_CERTIFICATE)
            .with_source(error);
    }
    if error.is_connect() {
        return connecting(error, setup, proxy.as_deref());
    }
    if error.is_timeout() {
        return TokenError::unavailable("the server was too slow").with_source(error);
    }
    if error.is_redirect() {
        return TokenError::new(
            ErrorKind::Configuration,
            "the server redirects token requests",
        )
        .with_source(error);
    }
    if error.is_builder() {
        return TokenError::configuration("the token request could not be written")
            .with_source(error);
    }
    let http2 = http2(&error);
    if http2.and_then(h2::Error::reason) == Some(h2::Reason::ENHANCE_YOUR_CALM) {
        return TokenError::unavailable("the server limits the request rate").with_source(error);
    }
    if is_invalid_http(&error) {
        return TokenError::unavailable("the server's response is not valid HTTP")
            .with_source(error);
    }
    if error.is_request() {
        let processing = match http2 {
            Some(error) if is_unprocessed(error) => Processing::Excluded,
            None if reused && is_http1(&error) => Processing::Unlikely,
            // In HTTP/2 a server reports the streams that it has not processed when it closes a connection.
            _ => Processing::Possible,
        };
        return TokenError::unavailable("the connection was lost before a response arrived")
            .with_source(ConnectionLost {
                source: error,
                processing,
            });
    }
    TokenError::unavailable("the connection was lost in the middle of the response")
        .with_source(error)
}

/// Adds the hint for a request with a client certificate.
pub(crate) fn certified(error: TokenError, hint: Option<&Hint>) -> TokenError {
    let Some(hint) = hint else {
        return error;
    };
    if error.kind() == ErrorKind::CredentialsRefused {
        return error.with_hint(hint.clone());
    }
    // The alert may arrive on a connection that is already closed, and be lost.
    if is_connection_lost(&error) {
        return error
            .with_message("the connection was lost before a response arrived, which some servers do instead of refusing the client certificate")
            .with_hint(hint.clone());
    }
    error
}

fn refused_certificate(error: &reqwest::Error) -> Option<&'static str> {
    let text = chain(error);
    let (_, alert) = text.split_once("received fatal alert: ")?;
    let known = REFUSALS.iter().find(|(name, _)| alert.starts_with(name));
    known.map(|(_, why)| *why)
}

/// Returns the part of a message that names the proxy.
pub(crate) fn through(proxy: Option<&str>) -> String {
    proxy
        .map(|proxy| format!(" through the proxy {proxy}"))
        .unwrap_or_default()
}

/// Converts the error of a request that was not sent, as no connection could be made. `proxy`: host and port.
fn connecting(error: reqwest::Error, setup: &Setup, proxy: Option<&str>) -> TokenError {
    let through = through(proxy);
    let unreachable = |message: String| {
        let hint = match proxy {
            Some(_) => hints::PROXY,
            None => hints::SERVER,
        };
        TokenError::unavailable(message).with_hint(hint)
    };
    if error.is_timeout() {
        let message = format!("no connection could be made in time{through}");
        return unreachable(message).with_source(error);
    }
    if error.is_dns() {
        let failed = match proxy {
            Some(proxy) => unreachable(format!(
                "the name of the proxy {proxy} could not be resolved"
            )),
            None => TokenError::unavailable("the host's name could not be resolved")
                .with_hint(hints::HOST_NAME),
        };
        return failed.with_source(error);
    }
    if let Some(why) = tls_error(&error) {
        let (why, hint) = tls::in_words(why, setup.roots);
        let message = format!("no secure connection could be made{through}: {why}");
        return TokenError::configuration(message)
            .with_hint(hint)
            .with_source(error);
    }
    let text = chain(&error);
    let address = proxy.map(|proxy| format!(" {proxy}")).unwrap_or_default();
    if text.contains("proxy auth") {
        return TokenError::configuration(format!("the proxy{address} requires credentials"))
            .with_hint(hints::PROXY_CREDENTIALS)
            .with_source(error);
    }
    let message = if text.contains("tunnel error: unsuccessful") {
        format!("no connection could be made: the proxy{address} refused it")
    } else {
        let io = causes(&error).find_map(<dyn Error>::downcast_ref::<io::Error>);
        let why = io.map(|error| format!(": {}", error.kind()));
        let why = why.unwrap_or_default();
        format!("no connection could be made{through}{why}")
    };
    unreachable(message).with_source(error)
}

/// Returns the reason of a TLS failure in words, if that caused an HTTP client's error.
///
/// The TLS library's own texts are mostly the names of its variants.
///
/// ```
/// let error = std::io::Error::other("reset");
/// assert_eq!(hallpass_endpoint::explain_tls_error(&error), None);
/// ```
pub fn explain_tls_error(error: &(dyn Error + 'static)) -> Option<String> {
    tls_error(error).map(|error| tls::in_words(error, false).0)
}

/// Returns the TLS library's error, which is wrapped as invalid data; an interrupted handshake does not count.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    causes(error).find_map(|cause| {
        if let Some(error) = cause.downcast_ref() {
            return Some(error);
        }
        let mut io = cause.downcast_ref::<io::Error>();
        while let Some(error) = io {
            let inner = error.get_ref()?;
            if let Some(error) = inner.downcast_ref() {
                return Some(error);
            }
            // `source` skips an I/O error within another one.
            io = inner.downcast_ref();
        }
        None
    })
}

/// Returns true if the connection broke before any response.
fn is_connection_lost(error: &TokenError) -> bool {
    connection_lost(error).is_some()
}

/// Returns true if the connection broke, and sending the request again at once has no effect that sending it once does
/// not have. `idempotent`: processing it twice does no harm.
pub(crate) fn can_resend(error: &TokenError, idempotent: bool) -> bool {
    connection_lost(error).is_some_and(|lost| match lost.processing {
        Processing::Excluded => true,
        Processing::Unlikely => idempotent,
        Processing::Possible => false,
    })
}

/// Returns true if the server responded, and the response cannot be read.
fn is_invalid_http(error: &reqwest::Error) -> bool {
    let http = causes(error).find_map(<dyn Error>::downcast_ref::<hyper::Error>);
    http.is_some_and(hyper::Error::is_parse)
}

/// Returns true if the request was sent on an HTTP/1 connection.
fn is_http1(error: &reqwest::Error) -> bool {
    let client = causes(error).find_map(<dyn Error>::downcast_ref::<legacy::Error>);
    let connection = client.and_then(legacy::Error::connect_info);
    connection.is_some_and(|connection| !connection.is_negotiated_h2())
}

fn http2(error: &reqwest::Error) -> Option<&h2::Error> {
    causes(error).find_map(<dyn Error>::downcast_ref)
}

/// Returns true if the server refused the stream, or closed the connection before it.
fn is_unprocessed(error: &h2::Error) -> bool {
    let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    let ended = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
    error.is_remote() && (refused || ended)
}

fn connection_lost(error: &TokenError) -> Option<&ConnectionLost> {
    error.source()?.downcast_ref()
}

/// Joins the texts of an error and its causes with `: `.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    causes(error)
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}
