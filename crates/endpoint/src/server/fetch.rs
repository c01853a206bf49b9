//! The request for a metadata document, and the checks of its response that do not depend on the content.

use std::time::{Duration, SystemTime};

use hallpass_core::{Hint, TextFilter, TokenError};
use http::{HeaderValue, Method, StatusCode, header};
use url::Url;

use crate::{
    HttpTransport, hints,
    transport::{
        answer::{self, Answer, MediaType},
        redirect,
    },
};

/// The wording of errors about a kind of document.
pub(super) struct DocumentKind {
    /// The document, after "the server's" or "the".
    pub(super) name: &'static str,
    /// The setting of the address.
    pub(super) setting: &'static str,
    pub(super) redirect_hint: &'static str,
    /// The section of the RFC about the response.
    pub(super) response_section: &'static str,
    /// The hint if the address has no such document.
    pub(super) missing_hint: Hint,
}

/// Reads a document, and returns its JSON text.
///
/// The URL's path is shown in errors, its query is not.
pub(super) async fn read(
    transport: &HttpTransport,
    url: &Url,
    kind: &DocumentKind,
    limit: Duration,
    now: impl Fn() -> SystemTime,
) -> Result<Answer, TokenError> {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let mut get = reqwest::Request::new(Method::GET, url.clone());
    get.headers_mut().insert(header::ACCEPT, JSON);
    let answer = transport.exchange(get, limit).await;
    let answer = answer.and_then(|answer| {
        let status = answer.status;
        check(&answer, kind, now).map_err(|error| error.with_status(status))?;
        Ok(answer)
    });
    answer.map_err(|error| hints::for_address(error, kind.setting))
}

fn check(
    answer: &Answer,
    kind: &DocumentKind,
    now: impl Fn() -> SystemTime,
) -> Result<(), TokenError> {
    let Answer {
        status, headers, ..
    } = answer;
    let name = kind.name;
    if status.is_redirection() {
        let target = redirect::target(answer, &TextFilter::new());
        let message = format!("the server redirects requests for its {name} to {target}");
        return Err(TokenError::configuration(message).with_hint(kind.redirect_hint));
    }
    if status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS {
        let message = format!("the server's {name} is temporarily unavailable");
        let error = TokenError::unavailable(message);
        return Err(answer::with_wait(error, headers, now()));
    }
    if *status != StatusCode::OK {
        let message = format!("the server has no {name} at {}", shown(&answer.url));
        return Err(TokenError::configuration(message).with_hint(kind.missing_hint.clone()));
    }
    if MediaType::from_headers(headers) != MediaType::Json || answer::is_encoded(headers) {
        return Err(TokenError::unusable_response(format!(
            "the {name}'s content type is not `application/json`, or it is compressed ({})",
            kind.response_section
        ))
        .with_hint(kind.missing_hint.clone()));
    }
    Ok(())
}

/// Returns the URL without its query, which may hold anything.
pub(super) fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.to_string()
}
