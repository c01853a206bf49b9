//! A JSON service that a credential depends on.

use std::{fmt, time::Duration};

use hallpass_core::{
    AccessToken, ErrorKind, Proof, TextFilter, TokenError,
    authorize::{Authorizer, Decision, RequestHead, Target},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use url::Url;

use crate::{
    BuildError, HttpTransport,
    exchange::request::web_page,
    response::refusal::ServerMessage,
    transport::{
        answer::{self, Answer},
        error, redirect,
    },
};

const CERTIFICATE: &str = "use an address of the service that requests no client certificate, or set a transport whose client presents one (`HttpTransport::danger_from_client`)";

/// A service's own hints for its errors, by the status and the body: a hint, or `None`.
pub type ServiceHints = fn(StatusCode, &[u8]) -> Option<&'static str>;

/// A client of a JSON service that a credential depends on, such as a key management service: for signers and secret
/// sources.
///
/// Each request has the token of an [`Authorizer`]. A token that the service refuses is replaced, and the request sent
/// once more, as a lost connection is. The [`HttpTransport`] limits time and size; redirects are errors.
///
/// ```
/// use hallpass_core::authorize::Authorizer;
/// use hallpass_endpoint::ServiceClient;
///
/// # async fn example(authorizer: Authorizer) -> Result<(), Box<dyn std::error::Error>> {
/// let service = ServiceClient::new("the signing service", authorizer)?;
/// let reply: serde_json::Value = service.get("https://sign.example/keys/orders").await?;
/// # let _ = reply;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ServiceClient {
    name: &'static str,
    authorizer: Authorizer,
    transport: HttpTransport,
    hints: ServiceHints,
}

impl ServiceClient {
    /// Creates a client with the default transport. `name` is that of the service in errors.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] if the transport cannot be set up.
    pub fn new(name: &'static str, authorizer: Authorizer) -> Result<Self, BuildError> {
        Ok(Self {
            name,
            authorizer,
            transport: HttpTransport::or_default(None)?,
            hints: |_, _| None,
        })
    }

    /// Sets the transport.
    #[must_use]
    pub fn transport(mut self, transport: HttpTransport) -> Self {
        self.transport = transport;
        self
    }

    /// Sets the service's own hints.
    #[must_use]
    pub fn hints(mut self, hints: ServiceHints) -> Self {
        self.hints = hints;
        self
    }

    /// Sends a GET and reads the JSON of the response.
    ///
    /// # Errors
    ///
    /// A [`TokenError`] of kind [`Unavailable`](ErrorKind::Unavailable) if a retry may succeed: after a failed connection
    /// and a status 408, 429 or 5xx, with the service's `Retry-After`. Of kind [`Configuration`](ErrorKind::Configuration)
    /// after other statuses, and [`UnusableResponse`](ErrorKind::UnusableResponse) if the response is not the expected
    /// JSON. A refusal by the server of the token's source, or of this client in TLS, becomes one of kind
    /// [`Configuration`](ErrorKind::Configuration), whose source it is.
    ///
    /// # Cancellation
    ///
    /// Dropping the future drops the request.
    pub async fn get<T: DeserializeOwned>(&self, url: &str) -> Result<T, TokenError> {
        self.send(Method::GET, url, Vec::new()).await
    }

    /// Sends a POST with a JSON body and reads the JSON of the response. The service may get it twice.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    ///
    /// # Cancellation
    ///
    /// Dropping the future drops the request, which the service may already have processed.
    pub async fn post<T: DeserializeOwned>(
        &self,
        url: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T, TokenError> {
        let body = serde_json::to_vec(body);
        let body = body.map_err(|_| {
            TokenError::configuration("the service's request could not be encoded as JSON")
        })?;
        self.send(Method::POST, url, body).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        url: &str,
        body: Vec<u8>,
    ) -> Result<T, TokenError> {
        let url = self.address(url)?;
        let host = url.host_str().unwrap_or_default();
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let none = HeaderMap::new();
        let target = Target::new(url.scheme(), host, url.port());
        let head = RequestHead::new(&method, Some(target), url.path(), &none);
        let permit = self.authorizer.permit(head, None)?;
        let mut permit = permit.ok_or_else(|| {
            let message = format!("there is no token for {}", self.name);
            TokenError::configuration(message)
                .with_host(&authority)
                .with_hint("allow this origin with `allow_origin`")
        })?;
        let token = permit.token().await;
        let mut token = token.map_err(|error| self.failed("token", error))?;
        let mut reconnected = false;
        loop {
            let proof = permit.proof(&token, &method, url.path()).await;
            let proof = proof.map_err(|error| self.failed("DPoP proof", error))?;
            let request = request(&method, &url, &body, &token, proof.as_ref());
            let answer = match self.transport.exchange(request, Duration::MAX).await {
                Ok(answer) => answer,
                Err(error) if !reconnected && error::can_resend(&error, true) => {
                    reconnected = true;
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::CredentialsRefused => {
                    let error = error.with_hint(CERTIFICATE);
                    return Err(self.failed("connection", error).with_host(&authority));
                }
                Err(error) => return Err(error.with_host(&authority)),
            };
            if let Decision::Retry(_) =
                permit.evaluate_response(&token, answer.status, &answer.headers)
            {
                let other = permit.replacement(&token).await;
                if let Some(other) = other.map_err(|error| self.failed("token", error))? {
                    token = other;
                    continue;
                }
            }
            return self
                .read(&answer, &token)
                .map_err(|error| error.with_status(answer.status).with_host(&authority));
        }
    }

    /// Converts the error of a part of a request. A refusal of the credentials for this service is none of the
    /// credentials that depend on it, which a cache must not treat as refused.
    fn failed(&self, part: &str, error: TokenError) -> TokenError {
        let kind = match error.kind() {
            ErrorKind::CredentialsRefused | ErrorKind::RequestRefused => ErrorKind::Configuration,
            _ => return error,
        };
        // The host and the status in the message are those of another request.
        let message = format!("there is no {part} for {}: {}", self.name, error.message());
        let converted = TokenError::new(kind, message);
        let converted = match error.hint() {
            Some(hint) => converted.with_hint(hint.to_owned()),
            None => converted,
        };
        converted.with_source(error)
    }

    fn address(&self, url: &str) -> Result<Url, TokenError> {
        let parsed = Url::parse(url).ok().filter(Url::has_host);
        parsed.ok_or_else(|| {
            TokenError::configuration(format!("the address of {} is not a URL", self.name))
        })
    }

    fn read<T: DeserializeOwned>(
        &self,
        answer: &Answer,
        token: &AccessToken,
    ) -> Result<T, TokenError> {
        let filter = || TextFilter::new().with_secret(token.expose());
        if answer.status.is_redirection() {
            let target = redirect::target(answer, &filter());
            return Err(TokenError::configuration(format!(
                "{} redirects to {target}",
                self.name
            )));
        }
        if !answer.status.is_success() {
            return Err(self.refused(answer, &filter()));
        }
        if answer::is_compressed(answer) {
            return Err(answer::compressed(&answer.headers, &filter()));
        }
        serde_json::from_slice(&answer.body).map_err(|_| {
            // The library's error may quote the response.
            match ServerMessage::from_answer(answer, &filter()) {
                ServerMessage::Page(title) => web_page(title.as_deref()),
                _ => TokenError::unusable_response(format!(
                    "the response of {} is not the expected JSON",
                    self.name
                )),
            }
        })
    }

    fn refused(&self, answer: &Answer, filter: &TextFilter) -> TokenError {
        let name = self.name;
        let (kind, message) = match answer.status.as_u16() {
            429 => (
                ErrorKind::Unavailable,
                format!("{name} limits the request rate"),
            ),
            408 | 500 | 502..=599 => (ErrorKind::Unavailable, format!("{name} is unavailable")),
            401 => (
                ErrorKind::Configuration,
                format!("{name} refused the access token"),
            ),
            _ => (
                ErrorKind::Configuration,
                format!("{name} refused the request"),
            ),
        };
        let mut error = TokenError::new(kind, message);
        if let Some(hint) = (self.hints)(answer.status, &answer.body) {
            error = error.with_hint(hint);
        }
        error = match ServerMessage::from_answer(answer, filter) {
            ServerMessage::OAuth(said) => error.with_server_message(&said.to_string()),
            ServerMessage::Vendor(said) | ServerMessage::Page(Some(said)) => {
                error.with_server_message(&said)
            }
            ServerMessage::Page(None) | ServerMessage::Nothing => error,
        };
        answer::with_wait(error, &answer.headers, std::time::SystemTime::now())
    }
}

fn request(
    method: &Method,
    url: &Url,
    body: &[u8],
    token: &AccessToken,
    proof: Option<&Proof>,
) -> reqwest::Request {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let mut request = reqwest::Request::new(method.clone(), url.clone());
    let headers = request.headers_mut();
    headers.insert(header::ACCEPT, JSON);
    headers.insert(header::AUTHORIZATION, token.header_value().clone());
    if let Some(proof) = proof {
        headers.insert("dpop", proof.header_value().clone());
    }
    if *method == Method::POST {
        headers.insert(header::CONTENT_TYPE, JSON);
        *request.body_mut() = Some(body.to_vec().into());
    }
    request
}

impl fmt::Debug for ServiceClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceClient")
            .field("name", &self.name)
            .field("authorizer", &self.authorizer)
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
