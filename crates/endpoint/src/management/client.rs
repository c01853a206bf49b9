//! Management of issued tokens: introspection and revocation.

use std::{fmt, sync::Arc};

use hallpass_core::{
    AccessToken, Clock as _, ErrorKind, Secret, SystemClock, TokenError, TokenSource,
};
use http::StatusCode;

use crate::{
    AuthenticationContext, BuildError, ClientAuthentication, Credentials, Endpoint, HttpTransport,
    Introspection, Retry, RevokeOnShutdown,
    authentication::check_client_id,
    exchange::answer::{compressed, is_encoded},
    exchange::client,
    exchange::form,
    exchange::grant::About,
    exchange::retry::Tries,
    response::refusal,
    response::{redact, redirect},
    server::address::AddressRules,
    server::endpoint::{Located, Place},
    transport::Answer,
};

/// A client for token introspection (RFC 7662) and revocation (RFC 7009).
///
/// Neither is needed to use a token: introspect to find out why an API rejects one, revoke if a program's tokens must
/// not outlive it. Many servers let a client introspect only its own tokens, or require a registration for it.
///
/// ```no_run
/// use hallpass_core::{Secret, TokenRequest, TokenSource};
/// use hallpass_endpoint::{ClientCredentials, ClientSecretBasic, Endpoint, TokenManagement};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let login = Endpoint::discover("https://login.example").build()?;
/// let how = ClientSecretBasic::new(Secret::new(std::env::var("CLIENT_SECRET")?)?);
/// let source = ClientCredentials::builder(login.clone(), "orders-service", how.clone()).build()?;
/// let tokens = TokenManagement::builder(login, "orders-service", how).build()?;
///
/// let token = source.token(&TokenRequest::default()).await?;
/// let known = tokens.introspect(&token).await?;
/// println!("active: {}, scopes: {}", known.is_active(), known.scopes());
/// tokens.revoke(&token).await?;
/// # Ok(())
/// # }
/// ```
/// For a server that is not discovered, set the addresses:
/// For a server that is not discovered, name the addresses:
/// [`Endpoint::with_introspection_endpoint`], [`Endpoint::with_revocation_endpoint`].
pub struct TokenManagement {
    endpoint: Located,
    client_id: Box<str>,
    allow_utf8: bool,
    authentication: Box<dyn ClientAuthentication>,
    transport: HttpTransport,
    retry: Retry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Introspect,
    Revoke,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Introspect => "introspection endpoint",
            Self::Revoke => "revocation endpoint",
        }
    }

    /// Returns the endpoint's name in the metadata.
    pub(crate) fn endpoint(self) -> &'static str {
        match self {
            Self::Introspect => "introspection_endpoint",
            Self::Revoke => "revocation_endpoint",
        }
    }
}

/// Neither action has a grant.
const ABOUT: About = About::of_the_client("");

impl TokenManagement {
    /// Creates a builder; the required settings are its arguments, as for the tokens' source.
    pub fn builder(
        endpoint: impl Into<Endpoint>,
        client_id: impl Into<String>,
        authentication: impl ClientAuthentication + 'static,
    ) -> TokenManagementBuilder {
        TokenManagementBuilder {
            endpoint: endpoint.into(),
            client_id: client_id.into(),
            authentication: Box::new(authentication),
            rules: AddressRules::default(),
            allow_utf8: false,
            transport: None,
            retry: Retry::default(),
        }
    }

    /// Introspects this token (RFC 7662 section 2).
    ///
    /// # Errors
    ///
    /// A [`TokenError`] as for a token request. An inactive token is not an error.
    ///
    /// # Cancellation
    ///
    /// Dropping the future drops the request.
    pub async fn introspect(&self, token: &AccessToken) -> Result<Introspection, TokenError> {
        let answer = self
            .call(Action::Introspect, token.expose(), "access_token")
            .await?;
        Introspection::read(&answer.body).map_err(|error| error.with_host(self.endpoint.host()))
    }

    /// Revokes this token (RFC 7009 section 2). APIs that validate tokens locally accept it until it expires.
    ///
    /// Revoking a token that the server does not know, such as an expired one, succeeds. Drop it from its cache too,
    /// with [`TokenSource::invalidate`].
    ///
    /// # Errors
    ///
    /// A [`TokenError`] as for a token request; the token may still be valid then.
    ///
    /// # Cancellation
    ///
    /// Dropping the future drops the request, which the server may already have processed.
    pub async fn revoke(&self, token: &AccessToken) -> Result<(), TokenError> {
        let answer = self.call(Action::Revoke, token.expose(), "access_token");
        answer.await.map(|_| ())
    }

    /// Revokes a refresh token, and with it the access tokens issued from it (RFC 7009 section 2.1).
    ///
    /// # Errors
    ///
    /// As [`revoke`](Self::revoke).
    ///
    /// # Cancellation
    ///
    /// As [`revoke`](Self::revoke).
    pub async fn revoke_refresh_token(&self, token: &Secret) -> Result<(), TokenError> {
        let answer = self.call(Action::Revoke, token.expose(), "refresh_token");
        answer.await.map(|_| ())
    }

    /// Wraps `source` to record its tokens and revoke them when the program ends.
    ///
    /// Place it between the source and its cache; see [`RevokeOnShutdown`].
    pub fn revoke_on_shutdown<S: TokenSource>(self: &Arc<Self>, source: S) -> RevokeOnShutdown<S> {
        RevokeOnShutdown::new(source, self.clone())
    }

    /// Repeats attempts until one succeeds, a failure is permanent, or the retries or the time run out.
    async fn call(&self, action: Action, token: &str, hint: &str) -> Result<Answer, TokenError> {
        let form = form::of(&[("token_type_hint", hint), ("token", token)]);
        let mut tries = self.retry.tries();
        let mut renewed = false;
        loop {
            let answer = self.attempt(action, &form, token, &mut renewed, &tries);
            match answer.await {
                Ok(answer) => return Ok(answer),
                Err(error) => tries.after(error, self.endpoint.host()).await?,
            }
        }
    }

    /// Runs one exchange, or two: credentials that have changed since they were made are tried at once, once per call.
    async fn attempt(
        &self,
        action: Action,
        form: &[u8],
        token: &str,
        renewed: &mut bool,
        tries: &Tries,
    ) -> Result<Answer, TokenError> {
        let place = self.endpoint.place_within(tries).await?;
        place.require(action)?;
        let exchange = async |sent: &Credentials| {
            let address = place.address_for(action, sent)?;
            let named = |error: TokenError| error.with_host(address.host());
            let post = client::post(address.url().clone(), form, sent);
            let answer = self.transport.exchange_as(post, sent, tries.left());
            let answer = answer.await.map_err(named)?;
            self.judge(action, answer, sent, token).map_err(named)
        };
        let epoch = self.authentication.epoch();
        let sent = self.credentials(&place, tries).await?;
        let result = exchange(&sent).await;
        let refusal = |error: &TokenError| error.kind() == ErrorKind::CredentialsRefused;
        if !result.as_ref().is_err_and(refusal) {
            return result;
        }
        self.authentication.refused(&sent);
        if !tries.may_repeat() || std::mem::replace(renewed, true) {
            return result;
        }
        let Ok(renewed) = self.credentials(&place, tries).await else {
            return result;
        };
        if !renewed.differ(&sent, self.authentication.epoch() != epoch) {
            return result;
        }
        exchange(&renewed).await
    }

    async fn credentials(&self, place: &Place, tries: &Tries) -> Result<Credentials, TokenError> {
        let context = AuthenticationContext::at(&self.client_id, place, self.allow_utf8);
        let credentials = self.authentication.credentials(&context);
        let late = || client::late_credentials(&*self.authentication);
        tries.within(credentials, late).await
    }

    fn judge(
        &self,
        action: Action,
        answer: Answer,
        sent: &Credentials,
        token: &str,
    ) -> Result<Answer, TokenError> {
        let Answer {
            status, headers, ..
        } = &answer;
        let at = |error: TokenError| Err(error.with_status(*status));
        let filter = || redact::filter(sent, &self.client_id).with_secret(token);
        match *status {
            StatusCode::OK if is_encoded(headers) => at(compressed(headers, &filter())),
            StatusCode::OK => Ok(answer),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::GONE => {
                let message = format!("there is no {} at this address", action.name());
                let hint = format!("check `{}`", action.endpoint());
                at(TokenError::configuration(message).with_hint(hint))
            }
            status if status.is_redirection() => {
                let target = redirect::target(&answer, &filter());
                let message = format!("the server redirects such requests to {target}");
                at(TokenError::configuration(message)
                    .with_hint("credentials and tokens are never sent along a redirect"))
            }
            status if status.is_success() => at(TokenError::unusable_response(
                "the server reported success with a status other than 200",
            )),
            _ => {
                let error = refusal::read(&answer, &filter(), &ABOUT);
                let error = refusal::with_wait(error, headers, SystemClock.wall());
                at(refusal::with_hint(error, sent.hint.as_ref()))
            }
        }
    }
}

impl fmt::Debug for TokenManagement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenManagement")
            .field("host", &self.endpoint.host())
            .field("client_id", &self.client_id)
            .field("authentication", &self.authentication)
            .finish_non_exhaustive()
    }
}

/// A builder of [`TokenManagement`]. [`build`](Self::build) reports invalid settings, before any I/O.
#[must_use]
pub struct TokenManagementBuilder {
    endpoint: Endpoint,
    client_id: String,
    authentication: Box<dyn ClientAuthentication>,
    rules: AddressRules,
    allow_utf8: bool,
    transport: Option<HttpTransport>,
    retry: Retry,
}

impl TokenManagementBuilder {
    /// Sets the transport, such as the source's, to share its connections. Default: one with default settings.
    pub fn transport(mut self, transport: HttpTransport) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Sets the retry policy; see [`Retry`] for the default.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Does the same as [`SourceBuilder::allow_utf8_credentials`](crate::SourceBuilder::allow_utf8_credentials).
    pub fn allow_utf8_credentials(mut self) -> Self {
        self.allow_utf8 = true;
        self
    }

    /// Does the same as [`SourceBuilder::refuse_local_endpoint`](crate::SourceBuilder::refuse_local_endpoint).
    pub fn refuse_local_endpoint(mut self) -> Self {
        self.rules.refuse_local = true;
        self
    }

    /// Allows plain HTTP to a server on this machine, for tests and development.
    ///
    /// Danger: other processes on this machine may listen. HTTP to any other host stays forbidden.
    pub fn danger_allow_http_on_loopback(mut self) -> Self {
        self.rules.allow_http_on_loopback = true;
        self
    }

    /// Builds it without connecting to anything.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] that names the first invalid setting. A missing address is reported when it is needed.
    pub fn build(self) -> Result<TokenManagement, BuildError> {
        check_client_id(&self.client_id, self.allow_utf8)?;
        let transport = HttpTransport::or_default(self.transport)?;
        Ok(TokenManagement {
            endpoint: self.endpoint.locate(self.rules)?,
            client_id: self.client_id.into(),
            allow_utf8: self.allow_utf8,
            authentication: self.authentication,
            transport,
            retry: self.retry,
        })
    }
}

impl fmt::Debug for TokenManagementBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenManagementBuilder")
            .field("client_id", &self.client_id)
            .field("authentication", &self.authentication)
            .finish_non_exhaustive()
    }
}
