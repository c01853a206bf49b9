//! Classification of a token endpoint's response: a token, an OAuth error, or anything else.

use std::time::SystemTime;

use hallpass_core::{Moment, ScopeSet, TextFilter, TokenError};
use http::{HeaderMap, StatusCode, header};

use crate::{
    Credentials,
    exchange::grant::{About, Form},
    hints,
    response::refusal::{self, Words},
    response::token::{self, Granted, ResponseRules},
    response::{redact, redirect},
    transport::Answer,
};

/// The context of the attempt that was answered.
pub(crate) struct Asked<'a> {
    pub(crate) scopes: &'a ScopeSet,
    pub(crate) requested_at: Moment,
    pub(crate) credentials: &'a Credentials,
    pub(crate) form: &'a Form,
    pub(crate) client_id: &'a str,
    pub(crate) about: About,
}

impl Asked<'_> {
    fn filter(&self) -> TextFilter {
        let mut filter = redact::filter(self.credentials, self.client_id);
        for ground in &self.form.grounds {
            filter.add_secret(ground.expose());
        }
        for assertion in self.form.assertions() {
            redact::add_signature(&mut filter, assertion.expose());
        }
        filter
    }

    /// Reads the answer (RFC 6749 sections 5.1 and 5.2). `now` resolves a `Retry-After` that is a date.
    pub(crate) fn read(
        &self,
        answer: &Answer,
        rules: &ResponseRules,
        now: SystemTime,
    ) -> Result<Granted, TokenError> {
        let (status, headers, body) = (answer.status, &answer.headers, &answer.body);
        let media = MediaType::of(headers);
        let created = status == StatusCode::CREATED && rules.lenient;
        if status == StatusCode::OK || created {
            if is_encoded(headers) || body.starts_with(&GZIP) {
                return Err(compressed(headers, &self.filter()));
            }
            let filter = || self.filter();
            let (scopes, at) = (self.scopes, self.requested_at);
            let granted = token::read(body, rules, scopes, at, filter, &self.about);
            // The content type of a page that an intermediary sends may be wrong too.
            let is_page = || matches!(Words::of(answer, &self.filter()), Words::Page(_));
            let right = media == MediaType::Json || rules.lenient && media != MediaType::Html;
            if right && (granted.is_ok() || !is_page()) {
                return granted;
            }
            let failure = match &granted {
                Ok(granted) => granted.token.as_ref().err(),
                Err(error) => Some(error),
            };
            let lenient = hints::LENIENT.name();
            let good = failure.is_none_or(|error| error.hint_name() == lenient);
            let mut wrong = wrong_media(answer, good, &self.filter());
            if let Some(said) = failure.and_then(TokenError::server_message) {
                wrong = wrong.with_server_message(said);
            }
            return match granted {
                // An error of RFC 6749 counts with any content type.
                Err(error) if error.oauth_error().is_some() => Err(error),
                // The rotated refresh token must not be lost because of a wrong header.
                Ok(granted) if granted.refresh_token.is_some() => Ok(Granted {
                    token: Err(wrong),
                    ..granted
                }),
                _ => Err(wrong),
            };
        }
        if status.is_redirection() {
            let target = redirect::target(answer, &self.filter());
            let message = format!("the server redirects token requests to {target}");
            return Err(TokenError::configuration(message).with_hint(hints::REDIRECT));
        }
        if status.is_success() {
            let error = TokenError::unusable_response(
                "the server reported success with a status other than 200 (RFC 6749 section 5.1)",
            );
            return Err(if status == StatusCode::CREATED {
                error.with_hint(hints::LENIENT)
            } else {
                error
            });
        }
        let error = refusal::read(answer, &self.filter(), &self.about);
        let error = refusal::with_wait(error, headers, now);
        let hint = if self.about.is_refused(&error) {
            self.form.hint()
        } else {
            self.credentials.hint.as_ref()
        };
        Err(refusal::with_hint(error, hint))
    }
}

impl About {
    /// Returns true if the server refused the grant's own input (such as an assertion), not the client.
    pub(crate) fn is_refused(&self, error: &TokenError) -> bool {
        let code = error.oauth_error().map(hallpass_core::OAuthError::code);
        code.is_some_and(|code| self.refused.contains(&code))
    }
}

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
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let Some(value) = headers.get(header::CONTENT_TYPE) else {
            return Self::Absent;
        };
        let text = value.to_str().unwrap_or_default();
        let essence = text.split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "application/json" => Self::Json,
            "text/html" | "application/xhtml+xml" => Self::Html,
            "text/plain" => Self::Text,
            _ => Self::Other,
        }
    }
}

/// The magic number of gzip, the most common compression; some servers send it without a `Content-Encoding`.
const GZIP: [u8; 2] = [0x1f, 0x8b];

pub(crate) fn compressed(headers: &HeaderMap, filter: &TextFilter) -> TokenError {
    let encoding = headers.get(header::CONTENT_ENCODING);
    let named = encoding.and_then(|encoding| encoding.to_str().ok());
    let named = named.map(|encoding| format!(" as `{}`", filter.clean(encoding)));
    TokenError::unusable_response(format!(
        "the response is compressed{}, which was not asked for",
        named.unwrap_or_default()
    ))
    .with_hint("have the server, or a gateway in between, compress only what asks for it")
}

/// Returns the error for a wrong content type. `good`: the body is a valid token response nevertheless.
fn wrong_media(answer: &Answer, good: bool, filter: &TextFilter) -> TokenError {
    // A web page comes from an intermediary and may not come back on the next attempt.
    if answer.body.is_empty() {
        return TokenError::unusable_response("the response is empty").with_transient(true);
    }
    let words = Words::of(answer, filter);
    if matches!(words, Words::Page(_)) || MediaType::of(&answer.headers) == MediaType::Html {
        let error =
            TokenError::unusable_response("the server answered with a web page, not with JSON")
                .with_hint(hints::WEB_PAGE)
                .with_transient(true);
        return match words {
            Words::Page(Some(title)) => error.with_server_message(&title),
            _ => error,
        };
    }
    let content_type = answer.headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let is = match content_type {
        Some(text) if !text.is_empty() => format!("is `{}`", filter.clean(text)),
        _ => "is missing".to_owned(),
    };
    let message = format!(
        "the response's content type {is} and not `application/json` (RFC 6749 section 5.1)"
    );
    let error = TokenError::unusable_response(message);
    if good {
        error.with_hint(hints::LENIENT)
    } else {
        error.with_hint("the response is no token response in JSON under another name either: check `token_endpoint`")
    }
}
