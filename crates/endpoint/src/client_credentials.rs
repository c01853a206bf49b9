use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use hallpass_core::{AccessToken, Clock, ErrorKind, TokenError, TokenRequest, TokenSource};
use http::{HeaderValue, Method, StatusCode, header};
use tokio::time::Instant;

use crate::{
    AuthenticationContext, ClientAuthentication, ClientCredentialsBuilder, Credentials, Hints,
    HttpTransport, Retry,
    address::Address,
    authentication::Proof,
    fault,
    form::{self, GrantEncoder},
    redact::Redactor,
    refusal,
    response::{self, ResponseRules},
    skew,
    transport::Answer,
};

/// Tokens from a token endpoint with the client credentials grant (RFC 6749 section 4.4).
///
/// Each call of [`token`](TokenSource::token) asks the server: wrap it in a cache to share one token between calls.
///
/// ```no_run
/// use hallpass_core::{Secret, TokenRequest, TokenSource};
/// use hallpass_endpoint::{ClientCredentials, ClientSecretBasic};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let secret = Secret::new(std::env::var("CLIENT_SECRET")?)?;
/// let source = ClientCredentials::builder(
///     "https://login.example/oauth/token",
///     "orders-service",
///     ClientSecretBasic::new(secret),
/// )
/// .scope("orders.read")
/// .build()?;
/// let token = source.token(&TokenRequest::default()).await?;
/// println!("granted: {}", token.scopes());
/// # Ok(())
/// # }
/// ```
///
/// # Cancellation
///
/// Dropping the future of a call drops its request; the connection is closed, or kept if it is still in order.
pub struct ClientCredentials {
    pub(crate) address: Address,
    pub(crate) client_id: Box<str>,
    pub(crate) allow_utf8: bool,
    pub(crate) authentication: Box<dyn ClientAuthentication>,
    pub(crate) defaults: TokenRequest,
    pub(crate) encoder: GrantEncoder,
    /// What the encoder writes for `defaults`, which is what nearly every call asks for.
    pub(crate) default_grant: Box<[u8]>,
    pub(crate) transport: HttpTransport,
    pub(crate) retry: Retry,
    pub(crate) rules: ResponseRules,
    pub(crate) require_scopes: bool,
    pub(crate) hints: Option<Hints>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl ClientCredentials {
    /// Starts a source: what it cannot do without comes first, so that it cannot be forgotten.
    pub fn builder(
        token_endpoint: impl Into<String>,
        client_id: impl Into<String>,
        authentication: impl ClientAuthentication + 'static,
    ) -> ClientCredentialsBuilder {
        ClientCredentialsBuilder::new(
            token_endpoint.into(),
            client_id.into(),
            Box::new(authentication),
        )
    }

    /// Attempts until one succeeds, a failure is permanent, or the retries or the time run out.
    async fn fetch(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        let written;
        let grant = if *request == self.defaults {
            &*self.default_grant
        } else {
            written = self.encoder.encode(request);
            &written
        };
        let began = Instant::now();
        let left = || self.retry.total().saturating_sub(began.elapsed());
        let mut delays = self.retry.delays();
        let mut reconnected = false;
        let mut renewed = false;
        loop {
            let error = match self.attempt(grant, request, &mut renewed, &left).await {
                Ok(token) => return Ok(token),
                Err(error) => error,
            };
            if !reconnected && fault::is_connection_lost(&error) {
                reconnected = true;
                continue;
            }
            if !error.is_transient() {
                return Err(error);
            }
            let Some(delay) = delays.next() else {
                return Err(error);
            };
            let delay = delay.max(error.retry_after().unwrap_or_default());
            if delay >= left() {
                return Err(error);
            }
            tracing::debug!(host = self.address.host(), %error, ?delay, "token request failed, trying again");
            tokio::time::sleep(delay).await;
        }
    }

    /// One exchange, or two: where the server refuses credentials that have changed since they were made, the new ones
    /// are tried at once. That happens once a call, whatever the secret does.
    async fn attempt(
        &self,
        grant: &[u8],
        request: &TokenRequest,
        renewed: &mut bool,
        left: &(impl Fn() -> Duration + Sync),
    ) -> Result<AccessToken, TokenError> {
        let epoch = self.authentication.epoch();
        let credentials = self.credentials(left()).await?;
        let result = self.exchange(grant, request, &credentials, left()).await;
        if !self.tell_refusal(&result, &credentials) || std::mem::replace(renewed, true) {
            return result;
        }
        let Some(credentials) = self.changed(&credentials, epoch, left()).await else {
            return result;
        };
        let host = self.address.host();
        tracing::info!(
            host,
            "the credentials changed meanwhile, trying the new ones"
        );
        let result = self.exchange(grant, request, &credentials, left()).await;
        self.tell_refusal(&result, &credentials);
        result
    }

    /// Tells the credentials' source where they were refused; true if they were.
    fn tell_refusal(&self, result: &Result<AccessToken, TokenError>, sent: &Credentials) -> bool {
        let refusal = |error: &TokenError| error.kind() == ErrorKind::CredentialsRefused;
        let refused = result.as_ref().is_err_and(refusal);
        if refused {
            self.authentication.refused(sent);
        }
        refused
    }

    /// Makes the credentials anew, and yields them where they are others than those that were refused.
    async fn changed(
        &self,
        refused: &Credentials,
        epoch: u64,
        deadline: Duration,
    ) -> Option<Credentials> {
        // Where they cannot be made, what the server said is the better news.
        let credentials = self.credentials(deadline).await.ok()?;
        let changed = match (refused.secret(), credentials.secret()) {
            (Some(before), Some(now)) => !before.matches(now),
            // An assertion is another one each time: only its maker can tell.
            _ => self.authentication.epoch() != epoch,
        };
        changed.then_some(credentials)
    }

    async fn credentials(&self, deadline: Duration) -> Result<Credentials, TokenError> {
        let context = AuthenticationContext::new(&self.client_id, self.address.url().as_str())
            .with_utf8(self.allow_utf8);
        tokio::time::timeout(deadline, self.authentication.credentials(&context))
            .await
            .unwrap_or_else(|_| {
                Err(TokenError::unavailable(
                    "the client's credentials could not be had within the call's deadline",
                ))
            })
    }

    async fn exchange(
        &self,
        grant: &[u8],
        request: &TokenRequest,
        credentials: &Credentials,
        deadline: Duration,
    ) -> Result<AccessToken, TokenError> {
        let named = |error: TokenError| error.with_host(self.address.host());
        let body = form::body(grant, credentials);
        let mut post = reqwest::Request::new(Method::POST, self.address.url().clone());
        let headers = post.headers_mut();
        headers.insert(header::CONTENT_TYPE, FORM);
        headers.insert(header::ACCEPT, JSON);
        if let Proof::Header(value) = &credentials.proof {
            headers.insert(header::AUTHORIZATION, value.clone());
        }
        *post.body_mut() = Some(Bytes::from_owner(body).into());

        // Before it is sent: a slow answer must not make the token live longer here than at the server.
        let requested_at = self.clock.moment();
        let answer = self.transport.exchange(post, deadline).await;
        let answer = answer.map_err(named)?;
        let status = answer.status;
        let skew = credentials.dated.and_then(|made| {
            // The answer's date, taken back to when the credentials were made.
            let taken = self.clock.now().saturating_since(requested_at.timestamp);
            skew::Skew::of(&answer.headers, made, taken)
        });
        let token = self
            .read(answer, request, requested_at, credentials)
            .map_err(|error| self.advise(named(error.with_status(status)), skew))?;
        if !token.lifetime().is_zero() && token.is_expired(self.clock.now()) {
            let late = "the token expired before it arrived";
            return Err(named(
                TokenError::unusable_response(late).with_transient(true),
            ));
        }
        Ok(token)
    }

    fn read(
        &self,
        answer: Answer,
        request: &TokenRequest,
        requested_at: hallpass_core::Moment,
        credentials: &Credentials,
    ) -> Result<AccessToken, TokenError> {
        let Answer {
            status,
            headers,
            body,
        } = answer;
        let media = MediaType::of(&headers);
        if status == StatusCode::OK {
            if headers
                .get(header::CONTENT_ENCODING)
                .is_some_and(|encoding| encoding != "identity")
            {
                return Err(TokenError::unusable_response(
                    "the response is compressed, which was not asked for",
                ));
            }
            if !(media == MediaType::Json || self.rules.lenient && media != MediaType::Html) {
                return Err(wrong_media(media, body.is_empty()));
            }
            let redactor = || Redactor::new(credentials, &self.client_id);
            let token =
                response::read(&body, &self.rules, request.scopes(), requested_at, redactor)?;
            if self.require_scopes {
                token.require_scopes(request.scopes())?;
            }
            return Ok(token);
        }
        if status.is_redirection() {
            return Err(redirected(&headers));
        }
        if status.is_success() {
            return Err(TokenError::unusable_response(
                "the server reported success with a status other than 200 (RFC 6749 section 5.1)",
            ));
        }
        let redactor = Redactor::new(credentials, &self.client_id);
        let json = matches!(media, MediaType::Json | MediaType::Absent);
        let mut error = refusal::read(status, json.then_some(&**body), &redactor);
        if let Some(wait) = refusal::retry_after(&headers, self.clock.wall()) {
            error = error.with_retry_after(wait);
        }
        if error.kind() == ErrorKind::CredentialsRefused
            && let Some(hint) = &credentials.hint
        {
            error = error.with_hint(hint.clone());
        }
        Err(error)
    }

    /// Puts the adapter's own hint in place of the general one, and a clock that is off in place of both.
    fn advise(&self, error: TokenError, skew: Option<skew::Skew>) -> TokenError {
        if error.kind() == ErrorKind::CredentialsRefused
            && let Some(skew) = skew
        {
            return error.with_hint(skew.to_string());
        }
        match self.hints.and_then(|hints| hints(&error)) {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MediaType {
    Absent,
    Json,
    Html,
    Other,
}

impl MediaType {
    /// Without regard to case and parameters (RFC 9110 section 8.3.1).
    fn of(headers: &http::HeaderMap) -> Self {
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

/// Names the target's host and nothing else: a redirect's URL may carry anything.
fn redirected(headers: &http::HeaderMap) -> TokenError {
    let target = headers
        .get(header::LOCATION)
        .and_then(|location| location.to_str().ok())
        .and_then(|location| url::Url::parse(location).ok())
        .and_then(|url| url.host_str().map(str::to_owned));
    let message = match target {
        Some(host) => format!("the server redirects token requests to `{host}`"),
        None => "the server redirects token requests".to_owned(),
    };
    TokenError::configuration(message).with_hint(
        "credentials are never sent along a redirect; set `token_endpoint` to the final address if you trust it",
    )
}

#[async_trait]
impl TokenSource for ClientCredentials {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        self.fetch(&request.or(&self.defaults)).await
    }

    fn credential_epoch(&self) -> u64 {
        self.authentication.epoch()
    }
}

impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCredentials")
            .field("host", &self.address.host())
            .field("client_id", &self.client_id)
            .field("authentication", &self.authentication)
            .field("defaults", &self.defaults)
            .finish_non_exhaustive()
    }
}
