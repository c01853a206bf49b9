//! Management of issued tokens: introspection and revocation.

use std::{fmt, sync::Arc};

use hallpass_core::{AccessToken, Clock, Secret, TokenError};

use super::{
    introspection::Introspection,
    request::ManagementRequest,
    signed::{CheckedVerifier, ResponseVerifier, SignedResponses},
};
use crate::{
    BuildError, ClientAuthentication, Endpoint, Hints, HttpTransport, Retry, SecurityProfile,
    exchange::{client::ServerClient, form::Input, settings::ClientSettings},
};

/// A client for token introspection (RFC 7662) and revocation (RFC 7009).
///
/// Neither is needed to use a token: introspect to find out why an API refuses one, revoke if a program's tokens must
/// not outlive it. Many servers let a client introspect only its own tokens, or require a registration for it.
///
/// ```no_run
/// use hallpass_core::{Secret, TokenRequest, TokenSource};
/// use hallpass_endpoint::{ClientCredentials, ClientSecretBasic, Endpoint, TokenManagement};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let login = Endpoint::discover("https://login.example").build()?;
/// let authentication = ClientSecretBasic::new(Secret::new(std::env::var("CLIENT_SECRET")?)?);
/// let source = ClientCredentials::builder(login.clone(), "orders-service", authentication.clone()).build()?;
/// let tokens = TokenManagement::builder(login, "orders-service", authentication).build()?;
///
/// let token = source.token(&TokenRequest::default()).await?;
/// let known = tokens.introspect(&token).await?;
/// println!("active: {}, scopes: {}", known.is_active(), known.scopes());
/// tokens.revoke(&token).await?;
/// # Ok(())
/// # }
/// ```
///
/// For a server that is not discovered, set the addresses:
/// [`Endpoint::with_introspection_endpoint`], [`Endpoint::with_revocation_endpoint`].
#[derive(Debug)]
pub struct TokenManagement {
    client: ServerClient,
    pub(super) signed: Option<SignedResponses>,
}

impl TokenManagement {
    /// Creates a builder; the required settings are its arguments, as for the tokens' source.
    pub fn builder(
        endpoint: impl Into<Endpoint>,
        client_id: impl Into<String>,
        authentication: impl ClientAuthentication + 'static,
    ) -> TokenManagementBuilder {
        TokenManagementBuilder {
            client: ClientSettings::new(
                endpoint.into(),
                client_id.into(),
                Box::new(authentication),
            ),
            verifier: None,
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
        let Some(signed) = &self.signed else {
            let request = ManagementRequest::introspection(token);
            return self.client.send(&request).await;
        };
        let request = ManagementRequest::signed_introspection(token);
        let jwt = self.client.send(&request).await?;
        signed.read(&jwt, &self.client).await
    }

    /// Revokes this token (RFC 7009 section 2). APIs that validate tokens locally accept it until it expires.
    ///
    /// Revoking a token that the server does not know, such as an expired one, succeeds. Drop it from its cache too,
    /// with [`TokenSource::invalidate`](hallpass_core::TokenSource::invalidate).
    ///
    /// # Errors
    ///
    /// A [`TokenError`] as for a token request; the token may still be valid then.
    ///
    /// # Cancellation
    ///
    /// Dropping the future drops the request, which the server may already have processed.
    pub async fn revoke(&self, token: &AccessToken) -> Result<(), TokenError> {
        let token = Input::Token(token.clone());
        let request = ManagementRequest::revocation(token, "access_token");
        self.client.send(&request).await
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
        let token = Input::Secret(token.clone());
        let request = ManagementRequest::revocation(token, "refresh_token");
        self.client.send(&request).await
    }
}

/// A builder of [`TokenManagement`]. [`build`](Self::build) reports invalid settings, before any I/O.
#[must_use]
pub struct TokenManagementBuilder {
    client: ClientSettings,
    verifier: Option<Box<dyn ResponseVerifier>>,
}

impl TokenManagementBuilder {
    /// Sets the transport, such as the source's, to share its connections. Default: one with default settings.
    pub fn transport(mut self, transport: HttpTransport) -> Self {
        self.client.transport = Some(transport);
        self
    }

    /// Sets the retry policy; see [`Retry`] for the default.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.client.retry = retry;
        self
    }

    /// Does the same as [`SourceBuilder::allow_utf8_credentials`](crate::SourceBuilder::allow_utf8_credentials).
    pub fn allow_utf8_credentials(mut self) -> Self {
        self.client.allow_utf8 = true;
        self
    }

    /// Does the same as [`SourceBuilder::refuse_local_endpoint`](crate::SourceBuilder::refuse_local_endpoint).
    pub fn refuse_local_endpoint(mut self) -> Self {
        self.client.address_rules.refuse_local = Some("refuse_local_endpoint");
        self
    }

    /// Allows plain HTTP to a server on this machine, for tests and development.
    ///
    /// Danger: other processes on this machine may listen. HTTP to any other host stays forbidden.
    pub fn danger_allow_http_on_loopback(mut self) -> Self {
        self.client.address_rules.allow_http_on_loopback = true;
        self
    }

    /// Requires signed introspection responses (RFC 9701): the response is a JWT, whose signature this verifier checks by
    /// the keys at the `jwks_uri` of the server's metadata; issuer, audience and time are checked as well. A response
    /// without a signature is an error.
    ///
    /// It needs an endpoint that is [discovered](Endpoint::discover), and a client for which the server signs responses
    /// (`introspection_signed_response_alg`). The keys are cached for an hour, and read again for an unknown key, at most
    /// once a minute.
    pub fn require_signed_responses(mut self, verifier: impl ResponseVerifier + 'static) -> Self {
        self.verifier = Some(Box::new(verifier));
        self
    }

    /// Does the same as [`SourceBuilder::security_profile`](crate::SourceBuilder::security_profile), for the settings and
    /// credentials of these requests, and for the algorithms of signed responses.
    pub fn security_profile(mut self, profile: SecurityProfile) -> Self {
        self.client.profile = Some(profile);
        self
    }

    /// Sets an adapter's own hints for errors.
    pub fn hints(mut self, hints: Hints) -> Self {
        self.client.hints = Some(hints);
        self
    }

    /// Sets the clock, for tests.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.client.clock = Arc::new(clock);
        self
    }

    /// Builds it without connecting to anything.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] that names the first invalid setting. A missing address is reported when it is needed.
    pub fn build(self) -> Result<TokenManagement, BuildError> {
        let rules = self.client.address_rules;
        let profile = self.client.profile;
        if self.verifier.is_some() {
            let need = "the keys of the server are named by its metadata";
            let endpoint = &self.client.endpoint;
            endpoint.check_discovered("require_signed_responses", need)?;
        }
        let signed = |verifier| {
            let verifier = match profile {
                Some(profile) => Box::new(CheckedVerifier { verifier, profile }),
                None => verifier,
            };
            SignedResponses::new(verifier, rules)
        };
        Ok(TokenManagement {
            signed: self.verifier.map(signed),
            client: self.client.build()?,
        })
    }
}

impl fmt::Debug for TokenManagementBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenManagementBuilder")
            .field("client_id", &self.client.client_id)
            .field("authentication", &self.client.authentication)
            .finish_non_exhaustive()
    }
}
