//! What went wrong below HTTP, told without the URL and without what was sent.

use std::{error::Error, io};

use hallpass_core::{ErrorKind, TokenError};

/// A marker in the `source()` chain: the connection broke before any answer came.
#[derive(Debug, thiserror::Error)]
#[error("the connection was lost before an answer came")]
struct ConnectionLost {
    source: reqwest::Error,
    /// True if the server has probably not processed the request: it was sent on a pooled connection, which the server
    /// may have closed while it was idle, or HTTP/2 says so (RFC 9113 section 8.7).
    unprocessed: bool,
}

/// What a server tells in TLS that does not take the client's certificate, as the TLS library spells the names of
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
    ("CertificateUnknown", "the server does not say why"),
    ("UnknownCA", "its issuer is not one that the server trusts"),
    (
        "UnsupportedCertificate",
        "it is of a kind that the server does not take",
    ),
];

/// The error of a request. `reused` tells whether it was sent on a pooled connection.
pub(crate) fn of(error: reqwest::Error, reused: bool) -> TokenError {
    let error = error.without_url();
    if let Some(why) = refused_certificate(&error) {
        let message = format!("the server refused the client certificate in TLS: {why}");
        return TokenError::credentials_refused(message)
            .with_hint("prove this client with `MutualTls` and a certificate that the server knows")
            .with_source(error);
    }
    if error.is_connect() {
        return connecting(error);
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
        return TokenError::unavailable("the server asks for fewer requests").with_source(error);
    }
    if error.is_request() {
        let unprocessed = reused || http2.is_some_and(is_unprocessed);
        return TokenError::unavailable("the connection was lost before an answer came")
            .with_source(ConnectionLost {
                source: error,
                unprocessed,
            });
    }
    TokenError::unavailable("the connection was lost in the middle of the answer")
        .with_source(error)
}

/// Says what to check where a certificate was presented.
pub(crate) fn certified(error: TokenError, hint: Option<&str>) -> TokenError {
    match hint {
        Some(hint) if error.kind() == ErrorKind::CredentialsRefused => {
            error.with_hint(hint.to_owned())
        }
        // It may be told on a connection that is closed already, and get lost with it.
        Some(hint) if is_connection_lost(&error) => error.with_hint(format!(
            "some servers close the connection where they do not take the client certificate: {hint}"
        )),
        _ => error,
    }
}

fn refused_certificate(error: &reqwest::Error) -> Option<&'static str> {
    let text = chain(error);
    let (_, alert) = text.split_once("received fatal alert: ")?;
    let known = REFUSALS.iter().find(|(name, _)| alert.starts_with(name));
    known.map(|(_, why)| *why)
}

fn connecting(error: reqwest::Error) -> TokenError {
    if error.is_timeout() {
        return TokenError::unavailable("no connection could be made in time").with_source(error);
    }
    if error.is_dns() {
        return TokenError::unavailable("the host's name could not be resolved")
            .with_hint("check the host in `token_endpoint`, and this machine's name service")
            .with_source(error);
    }
    if is_tls(&error) {
        let why = innermost(&error);
        let message = format!("the server's identity could not be verified with TLS: {why}");
        return TokenError::configuration(message)
            .with_hint(
                "check the host in `token_endpoint` and the server's certificate; a private certificate authority is added with `add_root_certificates_pem`",
            )
            .with_source(error);
    }
    if chain(&error).contains("proxy auth") {
        return TokenError::configuration("the proxy asks for credentials")
            .with_hint("set the proxy's user name and password with `proxy_credentials`")
            .with_source(error);
    }
    TokenError::unavailable("no connection could be made").with_source(error)
}

/// rustls wraps what it refuses as invalid data; a handshake that merely breaks off is none of it.
fn is_tls(error: &reqwest::Error) -> bool {
    causes(error).any(|cause| {
        let mut io = cause.downcast_ref::<io::Error>();
        while let Some(error) = io {
            if error.kind() == io::ErrorKind::InvalidData {
                return true;
            }
            // An I/O error inside of one is not told by `source`.
            io = error.get_ref().and_then(|inner| inner.downcast_ref());
        }
        false
    })
}

/// The text of the innermost cause.
fn innermost(error: &reqwest::Error) -> String {
    causes(error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// Returns true if the connection broke before any answer came.
fn is_connection_lost(error: &TokenError) -> bool {
    connection_lost(error).is_some()
}

/// Returns true if the connection broke, and the server has probably not processed the request.
pub(crate) fn is_unprocessed_request(error: &TokenError) -> bool {
    connection_lost(error).is_some_and(|lost| lost.unprocessed)
}

fn http2(error: &reqwest::Error) -> Option<&h2::Error> {
    causes(error).find_map(<dyn Error>::downcast_ref)
}

/// Returns true if the server refused the stream, or ended the connection before it.
fn is_unprocessed(error: &h2::Error) -> bool {
    let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    let ended = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
    error.is_remote() && (refused || ended)
}

fn connection_lost(error: &TokenError) -> Option<&ConnectionLost> {
    error.source()?.downcast_ref()
}

/// The texts of an error and its causes, with `: ` between them.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    causes(error)
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}
