//! A complete response and its outside: media type, compression, redirect target, and the time to wait.

use std::time::{Duration, SystemTime};

use hallpass_core::{TextFilter, TokenError};
use http::{HeaderMap, header};
use zeroize::Zeroizing;

use crate::hints;

/// A complete response.
pub(crate) struct Answer {
    pub(crate) status: http::StatusCode,
    /// The address of the request.
    pub(crate) url: url::Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

/// Returns true if the body is compressed, by its header or by its first bytes.
pub(crate) fn is_compressed(answer: &Answer) -> bool {
    is_encoded(&answer.headers) || answer.body.starts_with(&GZIP_MAGIC)
}

/// Returns true if the header says that the body is encoded.
pub(crate) fn is_encoded(headers: &HeaderMap) -> bool {
    let encoding = headers.get(header::CONTENT_ENCODING);
    encoding.is_some_and(|encoding| encoding != "identity")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MediaType {
    Absent,
    Json,
    Html,
    Text,
    Other,
}

impl MediaType {
    /// Reads the media type, ignoring case and parameters (RFC 9110 section 8.3.1).
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let Some(value) = headers.get(header::CONTENT_TYPE) else {
            return Self::Absent;
        };
        let text = value.to_str().unwrap_or_default();
        let essence = text.split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "application/json" | "application/jwk-set+json" => Self::Json,
            "text/html" | "application/xhtml+xml" => Self::Html,
            "text/plain" => Self::Text,
            _ => Self::Other,
        }
    }
}

/// The magic number of gzip, the most common compression; some servers send it without a `Content-Encoding`.
pub(super) const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

pub(crate) fn compressed(headers: &HeaderMap, filter: &TextFilter) -> TokenError {
    let encoding = headers.get(header::CONTENT_ENCODING);
    let named = encoding.and_then(|encoding| encoding.to_str().ok());
    let named = named.map(|encoding| format!(" as `{}`", filter.clean(encoding)));
    TokenError::unusable_response(format!(
        "the response is compressed{}, which was not requested",
        named.unwrap_or_default()
    ))
    .with_hint(hints::COMPRESSED)
}

/// Adds the server's `Retry-After`, if there is one.
pub(crate) fn with_wait(error: TokenError, headers: &HeaderMap, now: SystemTime) -> TokenError {
    match retry_after(headers, now) {
        Some(wait) => error.with_retry_after(wait),
        None => error,
    }
}

/// Returns the delay that the server requests (RFC 9110 section 10.2.3): seconds, or a date, which is compared with the
/// server's own `Date` so that clock skew does no harm. An invalid value is ignored.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok();
    let wanted = text(header::RETRY_AFTER)?.trim();
    if is_digits(wanted) {
        return Some(Duration::from_secs(wanted.parse().unwrap_or(u64::MAX)));
    }
    let until = httpdate::parse_http_date(wanted).ok()?;
    let server_now = date(headers).unwrap_or(now);
    Some(until.duration_since(server_now).unwrap_or_default())
}

/// Returns the server's time, by its `Date`.
pub(crate) fn date(headers: &HeaderMap) -> Option<SystemTime> {
    let date = headers.get(header::DATE)?.to_str().ok()?;
    httpdate::parse_http_date(date).ok()
}

pub(crate) fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: F-52, F-53, F-54
    #[test]
    fn retry_after_is_read_in_both_forms() {
        let now = httpdate::parse_http_date("Tue, 24 Nov 2026 10:00:00 GMT").unwrap();
        let check = |retry_after: &str, date: Option<&str>, expect: Option<u64>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, retry_after.parse().unwrap());
            if let Some(date) = date {
                headers.insert(header::DATE, date.parse().unwrap());
            }
            let expect = expect.map(Duration::from_secs);
            assert_eq!(super::retry_after(&headers, now), expect, "{retry_after}");
        };
        check("2", None, Some(2));
        check(" 120 ", None, Some(120));
        check("86400", None, Some(86_400));
        check("99999999999999999999999", None, Some(u64::MAX));
        check("Tue, 24 Nov 2026 10:00:30 GMT", None, Some(30));
        // The server's clock is an hour ahead of the local one: the difference is taken from its own `Date`.
        check(
            "Tue, 24 Nov 2026 11:00:30 GMT",
            Some("Tue, 24 Nov 2026 11:00:00 GMT"),
            Some(30),
        );
        check("Tue, 24 Nov 2026 09:00:00 GMT", None, Some(0));
        for garbage in ["soon", "-1", "1.5", "", "2 seconds"] {
            check(garbage, None, None);
        }
        assert_eq!(super::retry_after(&HeaderMap::new(), now), None);
    }
}
