//! Descriptions of TLS errors: most of the library's own texts are the names of its variants.

use hallpass_core::{Hint, TextFilter};
use rustls::{CertificateError, Error};

use crate::hints;

/// Returns why no TLS connection was made, and a hint; `roots`: certificate authorities were added.
pub(super) fn in_words(error: &Error, roots: bool) -> (String, Hint) {
    match error {
        Error::InvalidCertificate(error) => certificate(error, roots),
        Error::AlertReceived(alert) => (
            format!(
                "the server ended the handshake with the TLS alert `{}`",
                snake_case(&format!("{alert:?}"))
            ),
            hints::TLS_HANDSHAKE,
        ),
        Error::PeerIncompatible(_) => (
            "the server and this client have no version or cipher of TLS in common".to_owned(),
            "have the server offer TLS 1.2 or 1.3".into(),
        ),
        Error::InvalidMessage(_) => ("the peer does not speak TLS".to_owned(), hints::NOT_TLS),
        // The platform's own verifier writes readable text.
        Error::General(text) => (text.clone(), hints::SERVER_CERTIFICATE),
        _ => (
            "the server violated the TLS protocol".to_owned(),
            hints::SERVER_CERTIFICATE,
        ),
    }
}

fn certificate(error: &CertificateError, roots: bool) -> (String, Hint) {
    use CertificateError as E;
    let (why, hint) = match error {
        E::UnknownIssuer if roots => (
            "none of the certificate authorities that are trusted here issued the server's certificate",
            hints::INTERMEDIATE,
        ),
        E::UnknownIssuer => (
            "the server's certificate was issued by a certificate authority that is not trusted here",
            hints::ROOTS,
        ),
        E::Expired | E::ExpiredContext { .. } => (
            "the server's certificate expired",
            "have it renewed, and check this machine's clock".into(),
        ),
        E::NotValidYet | E::NotValidYetContext { .. } => (
            "the server's certificate is not valid yet",
            "check this machine's clock".into(),
        ),
        E::Revoked => (
            "the server's certificate was revoked",
            "have it replaced".into(),
        ),
        E::BadSignature => (
            "the server's certificate does not bear the signature of the certificate authority that it names",
            hints::SERVER_CERTIFICATE,
        ),
        E::BadEncoding => (
            "the server's certificate is damaged",
            hints::SERVER_CERTIFICATE,
        ),
        E::NotValidForNameContext {
            expected,
            presented,
        } => {
            let why = format!(
                "the server's certificate is not valid for `{}`, only for {}",
                expected.to_str(),
                names(presented)
            );
            return (why, hints::SERVER_CERTIFICATE);
        }
        E::NotValidForName => (
            "the server's certificate is for another name",
            hints::SERVER_CERTIFICATE,
        ),
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => (
            "the server's certificate is not valid for server authentication",
            hints::SERVER_CERTIFICATE,
        ),
        E::UnsupportedSignatureAlgorithmContext { .. }
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => (
            "the server's certificate, or one above it, is signed by an algorithm that is not supported",
            "have it issued again with SHA-256 or better".into(),
        ),
        E::Other(other) => return describe_verifier_error(&format!("{:?}", other.0)),
        _ => (
            "the server's certificate cannot be verified",
            hints::SERVER_CERTIFICATE,
        ),
    };
    (why.to_owned(), hint)
}

/// Lists the names of a certificate, from the library's debug output: `DnsName("login.example")`.
fn names(presented: &[String]) -> String {
    /// More names would hide the hint after them.
    const MAX_SHOWN_NAMES: usize = 5;
    let inner = |name: &String| {
        let name = name.split_once('(').map_or(&**name, |(_, inner)| inner);
        TextFilter::new().clean(name.trim_end_matches(')').trim_matches('"'))
    };
    let shown: Vec<_> = presented.iter().take(MAX_SHOWN_NAMES).map(inner).collect();
    match presented.len().saturating_sub(MAX_SHOWN_NAMES) {
        _ if shown.is_empty() => "names that it does not list".to_owned(),
        0 => format!("`{}`", shown.join("`, `")),
        more => format!("`{}` and {more} more", shown.join("`, `")),
    }
}

/// Describes errors without a variant in the library: this crate cannot name the verifier's type, and its text is a
/// variant's name.
fn describe_verifier_error(text: &str) -> (String, Hint) {
    let (why, hint) = match text {
        "CaUsedAsEndEntity" => (
            "the server presents the certificate of a certificate authority (`CA:TRUE`) as its own",
            "have one issued for the server with `basicConstraints=CA:FALSE`; `openssl req -x509` makes those of authorities".into(),
        ),
        "EndEntityUsedAsCa" => (
            "one of the certificates above the server's is not that of a certificate authority (`CA:TRUE`)",
            "have the chain of the server's certificate checked".into(),
        ),
        "UnsupportedCertVersion" => (
            "the server's certificate is of X.509 version 1, and version 3 is required",
            "have it issued again with extensions; `openssl x509 -req` adds those of `-extfile`".into(),
        ),
        _ => ("the server's certificate cannot be verified", hints::SERVER_CERTIFICATE),
    };
    (why.to_owned(), hint)
}

/// Converts `HandshakeFailure` to the spelling of RFC 8446 section 6.
fn snake_case(name: &str) -> String {
    let mut text = String::new();
    for (at, char) in name.char_indices() {
        if char.is_ascii_uppercase() && at > 0 {
            text.push('_');
        }
        text.push(char.to_ascii_lowercase());
    }
    text
}

/// Describes text that is not PEM certificates, and how to convert it.
pub(crate) fn not_pem(text: &[u8]) -> &'static str {
    /// The start of a long DER sequence, such as a certificate.
    const SEQUENCE: [u8; 2] = [0x30, 0x82];
    let contains = |words: &str| {
        text.windows(words.len())
            .any(|window| window == words.as_bytes())
    };
    if text.starts_with(&SEQUENCE) {
        return "it is a certificate in DER, and PEM is required; `openssl x509 -inform der -in FILE -out FILE.pem` converts it";
    }
    if contains("-----BEGIN TRUSTED CERTIFICATE-----") {
        return "it contains a TRUSTED CERTIFICATE, an OpenSSL-specific format; `openssl x509 -in FILE -out FILE.pem` converts it";
    }
    if contains("-----BEGIN PKCS7-----") {
        return "it contains PKCS#7; `openssl pkcs7 -print_certs -in FILE -out FILE.pem` converts it";
    }
    if text.trim_ascii().is_empty() {
        return "it is empty";
    }
    "the text contains no certificate"
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{AlertDescription, InvalidMessage, OtherError};

    use super::*;

    /// The verifier's errors: their text is the name of a variant.
    #[derive(Debug, thiserror::Error)]
    #[error("{self:?}")]
    enum Webpki {
        CaUsedAsEndEntity,
        UnsupportedCertVersion,
        MaximumPathDepthExceeded,
    }

    fn other(error: Webpki) -> Error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
    }

    /// A certificate that is valid for this many other names.
    fn another_name(names: usize) -> Error {
        let presented = (0..names).map(|at| format!("DnsName(\"host-{at}.example\")"));
        let error = CertificateError::NotValidForNameContext {
            expected: "login.example".try_into().unwrap(),
            presented: presented.collect(),
        };
        error.into()
    }

    #[test]
    fn errors_of_the_library_are_explained() {
        for (error, roots, says) in [
            (other(Webpki::CaUsedAsEndEntity), true, "CA:TRUE"),
            (other(Webpki::UnsupportedCertVersion), true, "version 1"),
            (
                other(Webpki::MaximumPathDepthExceeded),
                true,
                "cannot be verified",
            ),
            (
                CertificateError::UnknownIssuer.into(),
                false,
                "a private certificate authority",
            ),
            (
                CertificateError::UnknownIssuer.into(),
                true,
                "intermediate certificates",
            ),
            (
                CertificateError::Expired.into(),
                true,
                "certificate expired",
            ),
            (CertificateError::BadEncoding.into(), true, "damaged"),
            (
                another_name(1),
                true,
                "is not valid for `login.example`, only for `host-0.example`; check",
            ),
            (
                another_name(7),
                true,
                "`host-3.example`, `host-4.example` and 2 more; check",
            ),
            (
                another_name(0),
                true,
                "only for names that it does not list",
            ),
            (
                Error::AlertReceived(AlertDescription::HandshakeFailure),
                true,
                "`handshake_failure`",
            ),
            (
                InvalidMessage::InvalidContentType.into(),
                true,
                "does not speak TLS",
            ),
            (Error::General("in words".into()), true, "in words"),
        ] {
            let (why, hint) = in_words(&error, roots);
            let text = format!("{why}; {hint}");
            assert!(text.contains(says), "{text}");
            for name in [
                "UnknownIssuer",
                "Other",
                "UsedAs",
                "CertVersion",
                "PathDepth",
                "DnsName",
                "Invalid",
            ] {
                assert!(!text.contains(name), "{text}");
            }
        }
    }

    #[test]
    fn what_is_no_pem_is_named() {
        for (text, says) in [
            (&b"\x30\x82\x01\x0a"[..], "DER"),
            (
                b"-----BEGIN TRUSTED CERTIFICATE-----\n",
                "TRUSTED CERTIFICATE",
            ),
            (b"-----BEGIN PKCS7-----\n", "PKCS#7"),
            (b" \n", "empty"),
            (b"hello", "no certificate"),
        ] {
            assert!(not_pem(text).contains(says), "{}", not_pem(text));
        }
    }
}
