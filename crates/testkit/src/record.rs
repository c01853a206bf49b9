use std::fmt;

use url::form_urlencoded;
use wiremock::Request;

use crate::client::AuthMethod;

/// A token request with the status of its response. If the client sent the secret in the form, `form` holds it.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct TokenRequestRecord {
    /// The client's authentication method, if it could be read.
    pub method: Option<AuthMethod>,
    /// The client identifier in the request.
    pub client_id: Option<String>,
    /// The decoded form, in the order of the body.
    pub form: Vec<(String, String)>,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The HTTP status of the response.
    pub status: u16,
}

impl TokenRequestRecord {
    /// Returns the form's first parameter of this name.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.form.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns the first header of this name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl fmt::Debug for TokenRequestRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.form.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("TokenRequestRecord")
            .field("method", &self.method)
            .field("client_id", &self.client_id)
            .field("form", &names)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// Reads a request without checking it.
pub(crate) fn record(request: &Request) -> TokenRequestRecord {
    let headers = request.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    });
    TokenRequestRecord {
        headers: headers.collect(),
        form: form_urlencoded::parse(&request.body).into_owned().collect(),
        ..TokenRequestRecord::default()
    }
}

/// A refusal: HTTP status, code of RFC 6749 section 5.2, and a sentence for people.
pub(crate) type Refusal = (u16, &'static str, &'static str);
