//! What an answer of the token endpoint is: a token, a refusal, or something that a token endpoint does not send.

use std::time::SystemTime;

use hallpass_core::{Moment, ScopeSet, TextFilter, TokenError};
use http::{HeaderMap, StatusCode, header};

use crate::{
    Credentials,
    grant::{About, Form},
    redact, refusal,
    response::{self, Granted, ResponseRules},
    transport::Answer,
};

/// What is known of the attempt that was answered.
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

    /// Reads the answer (RFC 6749 sections 5.1 and 5.2). `now` is for a `Retry-After` that is a date.
    pub(crate) fn read(
        &self,
        answer: Answer,
        rules: &ResponseRules,
        now: SystemTime,
    ) -> Result<Granted, TokenError> {
        let Answer {
            status,
            headers,
            body,
        } = answer;
        let media = MediaType::of(&headers);
        if status == StatusCode::OK {
            if is_encoded(&headers) {
                return Err(TokenError::unusable_response(
                    "the response is compressed, which was not asked for",
                ));
            }
            let filter = || self.filter();
            let (scopes, at) = (self.scopes, self.requested_at);
            let granted = || response::read(&body, rules, scopes, at, filter, &self.about);
            if media == MediaType::Json || rules.lenient && media != MediaType::Html {
                return granted();
            }
            let wrong = wrong_media(media, body.is_empty());
            return match granted() {
                // Not lost for the sake of a header.
                Ok(granted) if granted.refresh_token.is_some() => Ok(Granted {
                    token: Err(wrong),
                    ..granted
                }),
                _ => Err(wrong),
            };
        }
        if status.is_redirection() {
            return Err(redirected(&headers, &self.filter()));
        }
        if status.is_success() {
            return Err(TokenError::unusable_response(
                "the server reported success with a status other than 200 (RFC 6749 section 5.1)",
            ));
        }
        let json = matches!(media, MediaType::Json | MediaType::Absent);
        let body = json.then_some(&**body);
        let error = refusal::read(status, body, &self.filter(), &self.about);
        let error = refusal::with_wait(error, &headers, now);
        let hint = if self.about.is_refused(&error) {
            self.form.hint()
        } else {
            self.credentials.hint.as_ref()
        };
        Err(refusal::with_hint(error, hint))
    }
}

impl About {
    /// Is it what the grant stands on that was refused?
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
    Other,
}

impl MediaType {
    /// Without regard to case and parameters (RFC 9110 section 8.3.1).
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let Some(value) = headers.get(header::CONTENT_TYPE) else {
            return Self::Absent;
        };
        let text = value.to_str().unwrap_or_default();
        let essence = text.split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "application/json" => Self::Json,
            "text/html" | "application/xhtml+xml" => Self::Html,
            _ => Self::Other,
        }
    }
}

fn wrong_media(media: MediaType, empty: bool) -> TokenError {
    // A page in place of an answer comes from something in between, and may be gone the next time.
    match media {
        _ if empty => TokenError::unusable_response("the response is empty").with_transient(true),
        MediaType::Html => {
            TokenError::unusable_response("the server answered with a web page, not with JSON")
                .with_hint("check `token_endpoint`; a proxy or a sign-in page may be in between")
                .with_transient(true)
        }
        _ => TokenError::unusable_response(
            "the response's content type is not `application/json` (RFC 6749 section 5.1)",
        )
        .with_hint("choose `lenient_responses` if this server never sends it"),
    }
}

fn redirected(headers: &HeaderMap, filter: &TextFilter) -> TokenError {
    let message = match redirect_host(headers, filter) {
        Some(host) => format!("the server redirects token requests to `{host}`"),
        None => "the server redirects token requests".to_owned(),
    };
    TokenError::configuration(message).with_hint(
        "credentials are never sent along a redirect; set `token_endpoint` to the final address if you trust it",
    )
}

/// Returns the target's host and nothing else: a redirect's URL may carry anything.
pub(crate) fn redirect_host(headers: &HeaderMap, filter: &TextFilter) -> Option<String> {
    let location = headers.get(header::LOCATION)?.to_str().ok()?;
    let target = url::Url::parse(location).ok()?;
    let host = target.host_str()?;
    // In Punycode, into which a percent-encoded name is turned, no secret is found.
    let hidden = host.contains("xn--") && filter.finds_secret(location);
    (!hidden).then(|| filter.clean(host))
}
