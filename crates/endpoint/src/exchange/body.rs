//! The HTTP request of one attempt: the request's parameters and the client's credentials, as a form or as JSON.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use hallpass_core::{Secret, SecretSource, TokenError};
use http::{HeaderName, HeaderValue, Method, header};
use serde::{Serializer as _, ser::SerializeMap as _};
use serde_json::value::RawValue;
use url::form_urlencoded;
use zeroize::Zeroizing;

use crate::{
    authentication::credentials::{Credentials, Presentation},
    encoding::{AUTHORIZATION_DETAILS, max_length},
};

/// The format of a request's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum BodyFormat {
    #[default]
    Form,
    Json,
}

/// A header of every request, whose value is a secret.
#[derive(Clone, Debug)]
pub(crate) struct ExtraHeader {
    name: HeaderName,
    value: Arc<dyn SecretSource>,
}

/// A header with the value that one attempt has.
#[derive(Clone, Debug)]
pub(crate) struct SentHeader {
    name: HeaderName,
    value: HeaderValue,
    pub(crate) secret: Secret,
}

impl ExtraHeader {
    /// Headers that the client sets itself, or HTTP does.
    const OWN: [HeaderName; 11] = [
        header::ACCEPT,
        header::ACCEPT_ENCODING,
        header::AUTHORIZATION,
        header::CONNECTION,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::HOST,
        header::PROXY_AUTHORIZATION,
        header::TRANSFER_ENCODING,
        header::USER_AGENT,
    ];

    /// Checks the name of a header; `Err` says what is wrong.
    pub(crate) fn new(name: &str, value: Arc<dyn SecretSource>) -> Result<Self, String> {
        let name: HeaderName = name.parse().map_err(|_| "it is not a valid header name")?;
        if Self::OWN.contains(&name) || name == "dpop" {
            return Err(format!("the client sets the header `{name}` itself"));
        }
        Ok(Self { name, value })
    }

    pub(crate) fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Reads the value for one attempt.
    pub(crate) async fn read(&self) -> Result<SentHeader, TokenError> {
        let secret = self.value.secret().await?;
        let legal = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        let value = secret.expose().bytes().all(legal);
        let value = value.then(|| HeaderValue::from_str(secret.expose()).ok());
        let Some(mut value) = value.flatten() else {
            return Err(TokenError::configuration(format!(
                "the value of the header `{}` has a character other than visible ASCII",
                self.name
            )));
        };
        value.set_sensitive(true);
        Ok(SentHeader {
            name: self.name.clone(),
            value,
            secret,
        })
    }

    /// Returns a number that changes with the value.
    pub(crate) fn epoch(&self) -> u64 {
        self.value.epoch()
    }

    /// Reports that the server refused a request with this value.
    pub(crate) fn refused(&self, sent: &SentHeader) {
        self.value.refused(&sent.secret);
    }
}

/// Creates a request with these parameters, in form encoding, and the client's credentials.
pub(crate) fn post(
    url: url::Url,
    parameters: &[u8],
    credentials: &Credentials,
    format: BodyFormat,
    extra: &[SentHeader],
) -> reqwest::Request {
    const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let mut post = reqwest::Request::new(Method::POST, url);
    let headers = post.headers_mut();
    headers.insert(header::ACCEPT, JSON);
    for header in extra {
        headers.insert(header.name.clone(), header.value.clone());
    }
    if let Presentation::Header(value) = &credentials.presentation {
        headers.insert(header::AUTHORIZATION, value.clone());
    }
    let form = form(parameters, credentials);
    let (content_type, body) = match format {
        BodyFormat::Form => (FORM, form),
        BodyFormat::Json => (JSON, json(&form)),
    };
    headers.insert(header::CONTENT_TYPE, content_type);
    *post.body_mut() = Some(Bytes::from_owner(body).into());
    post
}

/// Joins the request's parameters and the client's credentials; wiped from memory after sending.
fn form(parameters: &[u8], credentials: &Credentials) -> Zeroizing<Vec<u8>> {
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

/// A name with its values.
type Member<'a> = (Cow<'a, str>, Vec<Zeroizing<String>>);

/// Writes a form as a JSON object; a repeated name has an array, and the value that is JSON stays as it is.
fn json(form: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut members: Vec<Member<'_>> = Vec::new();
    for (name, value) in form_urlencoded::parse(form) {
        let value = Zeroizing::new(value.into_owned());
        match members.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value),
            None => members.push((name, vec![value])),
        }
    }
    // Each byte of the form takes at most six bytes of JSON, so that it is never reallocated.
    let mut json = Zeroizing::new(Vec::with_capacity(6 * form.len() + 2));
    // Writing texts to memory cannot fail.
    let _ = write(&mut json, &members);
    json
}

fn write(json: &mut Vec<u8>, members: &[Member<'_>]) -> serde_json::Result<()> {
    let mut writer = serde_json::Serializer::new(json);
    let mut object = writer.serialize_map(Some(members.len()))?;
    for (name, values) in members {
        match &values[..] {
            [value] if name == AUTHORIZATION_DETAILS => {
                let value: &RawValue = serde_json::from_str(value)?;
                object.serialize_entry(name, value)?;
            }
            [value] => object.serialize_entry(name, value.as_str())?,
            values => {
                let values: Vec<&str> = values.iter().map(|value| value.as_str()).collect();
                object.serialize_entry(name, &values)?;
            }
        }
    }
    object.end()
}

#[cfg(test)]
mod tests {
    use hallpass_core::{ScopeSet, TokenRequest};
    use proptest::prelude::*;

    use super::*;
    use crate::encoding::token_request;

    const DETAILS: &str = r#"[{"type":"=&+ü"}]"#;
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
            .with_authorization_details(DETAILS.parse().unwrap())
            .with_parameter("tenant", "t&1")
            .unwrap()
    }

    // covers: C-08, C-09, C-10, C-11, C-12, C-14, C-61
    #[test]
    fn everything_that_was_asked_is_sent_once() {
        let request = of_all_kinds();
        let credentials =
            Credentials::parameters([("client_id", "i d"), ("client_secret", "=&+%ü")]);
        let body = form(&token_request(&GRANT, &request), &credentials);
        assert_eq!(
            decode(&body),
            pairs(&[
                ("grant_type", "client_credentials"),
                ("scope", "a b"),
                ("resource", "https://x.example/"),
                ("resource", "https://y.example/"),
                ("audience", "orders"),
                ("authorization_details", DETAILS),
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
            ("authorization_details", DETAILS),
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
        assert_eq!(*form(b"grant_type=x", &credentials), b"grant_type=x");
    }

    #[test]
    fn a_form_becomes_a_json_object() {
        let value =
            |form: &[u8]| -> serde_json::Value { serde_json::from_slice(&json(form)).unwrap() };
        assert_eq!(
            value(b"grant_type=x&resource=a&scope=b+c&resource=%22d%22&empty=&resource=%0A"),
            serde_json::json!({
                "grant_type": "x",
                "resource": ["a", "\"d\"", "\n"],
                "scope": "b c",
                "empty": "",
            })
        );
        assert_eq!(value(b""), serde_json::json!({}));
    }

    #[test]
    fn authorization_details_are_an_array_in_json() {
        let body = json(&token_request(&GRANT, &of_all_kinds()));
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            value["authorization_details"],
            serde_json::json!([{"type": "=&+ü"}])
        );
    }

    #[tokio::test]
    async fn a_header_of_the_client_or_of_http_is_refused() {
        let header = |name, value: &str| {
            ExtraHeader::new(name, Arc::new(Secret::new(value.to_owned()).unwrap()))
        };
        for name in [
            "Authorization",
            "HOST",
            "content-length",
            "DPoP",
            "",
            "a b",
            "x:y",
        ] {
            assert!(header(name, "v").is_err(), "{name}");
        }
        let sent = header("X-Api-Key", "k3y-canary")
            .unwrap()
            .read()
            .await
            .unwrap();
        assert_eq!(sent.name, "x-api-key");
        assert_eq!(sent.value, "k3y-canary");
        assert!(!format!("{sent:?}").contains("k3y-canary"));
        for wrong in ["k3y-canary\nb: c", "k3y-canary\u{fc}"] {
            let read = header("x-api-key", wrong).unwrap().read().await;
            let error = read.unwrap_err().to_string();
            assert!(
                error.contains("`x-api-key`") && !error.contains("k3y-canary"),
                "{error}"
            );
        }
    }

    proptest! {
        // covers: F-115, C-09
        #[test]
        fn values_survive_the_form(id in "\\PC{1,12}", secret in any::<String>(), value in ".{1,12}") {
            let request = TokenRequest::new().with_parameter("x", &value).unwrap();
            let credentials = Credentials::parameters([("client_id", id.as_str()), ("client_secret", &secret)]);
            let body = form(&token_request(&GRANT, &request), &credentials);
            let expected = pairs(&[
                ("grant_type", "client_credentials"), ("x", &value), ("client_id", &id), ("client_secret", &secret),
            ]);
            prop_assert_eq!(decode(&body), expected);
            let object: serde_json::Value = serde_json::from_slice(&json(&body)).unwrap();
            prop_assert_eq!(object["x"].as_str(), Some(&*value));
            prop_assert_eq!(object["client_secret"].as_str(), Some(&*secret));
        }
    }
}
