//! The form of one attempt: the request's parameters, then the client's credentials.

use std::{fmt, time::SystemTime};

use bytes::Bytes;
use hallpass_core::{AccessToken, Hint, Secret, Timestamp};
use http::{HeaderValue, Method, header};
use url::form_urlencoded;
use zeroize::Zeroizing;

use crate::{
    Assertion,
    authentication::credentials::{Credentials, Presentation},
    encoding::max_length,
};

/// The form of one attempt.
pub struct Form {
    body: Zeroizing<Vec<u8>>,
    /// The grant's inputs, for comparison after a refusal and for redaction of echoes.
    pub(crate) inputs: Vec<Input>,
    /// The latest expiry among the inputs: a token must not outlive it.
    pub(crate) ends: Option<Timestamp>,
}

/// An input of a grant, besides the client's own credentials.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    Assertion(Assertion),
    Secret(Secret),
    Token(AccessToken),
}

impl Form {
    pub(crate) fn new(body: Zeroizing<Vec<u8>>, inputs: Vec<Input>) -> Self {
        Self {
            body,
            inputs,
            ends: None,
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// Returns true if this form has other inputs than the one before.
    pub(crate) fn differs(&self, before: &Self, epoch_changed: bool) -> bool {
        let mut pairs = self.inputs.iter().zip(&before.inputs);
        pairs.any(|(now, before)| now.differs(before, epoch_changed))
    }

    /// Returns true if another form has the same inputs, or inputs signed with the same keys, while the epoch stays the
    /// same.
    pub(crate) fn is_fixed(&self) -> bool {
        self.inputs.iter().all(
            |input| matches!(input, Input::Assertion(assertion) if assertion.provenance().fixed),
        )
    }

    /// Returns the time at which it was made, if it is valid only around that time.
    pub(crate) fn created_at(&self) -> Option<SystemTime> {
        self.assertions()
            .find_map(|assertion| assertion.provenance().created_at)
    }

    /// Returns the hint that is shown if it is refused.
    pub(crate) fn refusal_hint(&self) -> Option<&Hint> {
        self.assertions()
            .find_map(|assertion| assertion.provenance().refusal_hint.as_ref())
    }

    pub(crate) fn assertions(&self) -> impl Iterator<Item = &Assertion> {
        self.inputs.iter().filter_map(|input| match input {
            Input::Assertion(assertion) => Some(assertion),
            Input::Secret(_) | Input::Token(_) => None,
        })
    }
}

impl Input {
    pub(crate) fn expose(&self) -> &str {
        match self {
            Self::Assertion(assertion) => assertion.expose(),
            Self::Secret(secret) => secret.expose(),
            Self::Token(token) => token.expose(),
        }
    }

    fn differs(&self, before: &Self, epoch_changed: bool) -> bool {
        match (self, before) {
            (Self::Assertion(now), Self::Assertion(before)) => now.differs(before, epoch_changed),
            (Self::Secret(now), Self::Secret(before)) => !now.matches(before),
            (Self::Token(now), Self::Token(before)) => !now.is_same(before),
            _ => true,
        }
    }
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Form")
            .field("inputs", &self.inputs)
            .field("ends", &self.ends)
            .finish_non_exhaustive()
    }
}

/// Creates a request with a form and the client's credentials.
pub(crate) fn post(url: url::Url, form: &[u8], credentials: &Credentials) -> reqwest::Request {
    const FORM_CONTENT_TYPE: HeaderValue =
        HeaderValue::from_static("application/x-www-form-urlencoded");
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let mut post = reqwest::Request::new(Method::POST, url);
    let headers = post.headers_mut();
    headers.insert(header::CONTENT_TYPE, FORM_CONTENT_TYPE);
    headers.insert(header::ACCEPT, JSON);
    if let Presentation::Header(value) = &credentials.presentation {
        headers.insert(header::AUTHORIZATION, value.clone());
    }
    let body = body(form, credentials);
    *post.body_mut() = Some(Bytes::from_owner(body).into());
    post
}

/// Joins the request's parameters and the client's credentials; wiped from memory after sending.
fn body(parameters: &[u8], credentials: &Credentials) -> Zeroizing<Vec<u8>> {
    let Presentation::Parameters(credentials) = &credentials.presentation else {
        return Zeroizing::new(parameters.to_vec());
    };
    // Never reallocated, so no copy remains in memory.
    let length: usize = credentials
        .iter()
        .map(|(name, value)| max_length((name, value)))
        .sum();
    let mut body = String::with_capacity(parameters.len() + length);
    body.push_str(std::str::from_utf8(parameters).unwrap_or_default());
    let mut form = form_urlencoded::Serializer::for_suffix(body, 0);
    for (name, value) in credentials {
        form.append_pair(name, value);
    }
    Zeroizing::new(form.finish().into_bytes())
}

#[cfg(test)]
mod tests {
    use hallpass_core::{ScopeSet, TokenRequest};
    use proptest::prelude::*;

    use super::*;
    use crate::encoding::token_request;

    const GRANT: [(&str, &str); 1] = [("grant_type", "client_credentials")];

    fn decode(body: &[u8]) -> Vec<(String, String)> {
        form_urlencoded::parse(body).into_owned().collect()
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        list.iter().map(owned).collect()
    }

    /// Returns a request with every kind of parameter.
    fn of_all_kinds() -> TokenRequest {
        TokenRequest::new()
            .with_scopes("b a".parse::<ScopeSet>().unwrap())
            .with_resource("https://x.example/")
            .unwrap()
            .with_resource("https://y.example/")
            .unwrap()
            .with_audience("orders")
            .unwrap()
            .with_parameter("tenant", "t&1")
            .unwrap()
    }

    // covers: C-08, C-09, C-10, C-11, C-12, C-14, C-61
    #[test]
    fn everything_that_was_asked_is_sent_once() {
        let request = of_all_kinds();
        let credentials =
            Credentials::parameters([("client_id", "i d"), ("client_secret", "=&+%ü")]);
        let body = body(&token_request(&GRANT, &request), &credentials);
        assert_eq!(
            decode(&body),
            pairs(&[
                ("grant_type", "client_credentials"),
                ("scope", "a b"),
                ("resource", "https://x.example/"),
                ("resource", "https://y.example/"),
                ("audience", "orders"),
                ("tenant", "t&1"),
                ("client_id", "i d"),
                ("client_secret", "=&+%ü"),
            ])
        );
    }

    // covers: C-10, C-61
    #[test]
    fn every_grant_sends_what_was_asked_once() {
        let request = of_all_kinds();
        let form = token_request(&[("grant_type", "urn:x"), ("assertion", "=&+%ü")], &request);
        let expected = pairs(&[
            ("grant_type", "urn:x"),
            ("assertion", "=&+%ü"),
            ("scope", "a b"),
            ("resource", "https://x.example/"),
            ("resource", "https://y.example/"),
            ("audience", "orders"),
            ("tenant", "t&1"),
        ]);
        assert_eq!(decode(&form), expected);
        let form = token_request(&[("grant_type", "x")], &TokenRequest::default());
        assert_eq!(*form, b"grant_type=x");
    }

    // covers: C-08
    #[test]
    fn a_header_leaves_the_form_alone() {
        let credentials = Credentials::authorization(http::HeaderValue::from_static("Basic eA=="));
        assert_eq!(*body(b"grant_type=x", &credentials), b"grant_type=x");
    }

    proptest! {
        // covers: F-115, C-09
        #[test]
        fn values_survive_the_form(id in "\\PC{1,12}", secret in any::<String>(), value in ".{1,12}") {
            let request = TokenRequest::new().with_parameter("x", &value).unwrap();
            let credentials = Credentials::parameters([("client_id", id.as_str()), ("client_secret", &secret)]);
            let body = body(&token_request(&GRANT, &request), &credentials);
            let expected = pairs(&[
                ("grant_type", "client_credentials"), ("x", &value), ("client_id", &id), ("client_secret", &secret),
            ]);
            prop_assert_eq!(decode(&body), expected);
        }
    }
}
