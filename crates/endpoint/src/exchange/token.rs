//! Token requests: a grant's request and its response.

use std::{borrow::Cow, fmt, sync::Arc};

use async_trait::async_trait;
use hallpass_core::{AccessToken, Prover, TextFilter, TokenError, TokenRequest};
use http::header;

use super::{
    client::ServerClient,
    form::Form,
    grant::Grant,
    request::{Reply, ServerRequest, web_page},
};
use crate::{
    AuthenticationContext, credential_digest, hints,
    response::{
        quota,
        refusal::ServerMessage,
        token::{self, IssuedTokens, ResponseRules},
        wording::Wording,
    },
    server::{address::Address, addresses::ServerAddresses},
    transport::answer::{self, Answer, MediaType},
};

/// A client that requests tokens with one grant: the inner type of every source in this crate.
pub struct GrantClient<G> {
    pub(crate) server: ServerClient,
    pub(crate) grant: G,
    pub(crate) prover: Option<Arc<dyn Prover>>,
    pub(crate) defaults: TokenRequest,
    pub(crate) rules: ResponseRules,
    pub(crate) require_scopes: bool,
    pub(crate) require_authorization_details: bool,
}

impl<G: Grant> GrantClient<G> {
    /// Requests a token.
    pub(crate) async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        let request = request.or(&self.defaults);
        self.server.send(&self.call(&request)).await
    }

    /// Requests a token without retries of transient failures, for a caller that repeats the call.
    #[cfg(feature = "unstable-id-jag")]
    pub(crate) async fn token_once(
        &self,
        request: &TokenRequest,
    ) -> Result<AccessToken, TokenError> {
        let request = request.or(&self.defaults);
        let tries = self.server.retry().tries(G::IDEMPOTENT);
        let call = self.call(&request);
        self.server.attempt(&call, &mut false, &tries).await
    }

    /// Returns the call for a request that has the defaults already.
    pub(crate) fn call<'a>(&'a self, request: &'a TokenRequest) -> TokenCall<'a, G> {
        TokenCall {
            client: self,
            request,
        }
    }

    /// Checks a token from elsewhere in the same way as the server's tokens.
    pub(crate) fn check_token(
        &self,
        request: &TokenRequest,
        token: &AccessToken,
    ) -> Result<(), TokenError> {
        self.rules.check(token, self.server.clock().now())?;
        self.check_granted(&request.or(&self.defaults), token)
    }

    /// Returns a number that changes when the credentials or the grant's inputs do.
    pub(crate) fn epoch(&self) -> u64 {
        self.server.epoch().wrapping_add(self.grant.epoch())
    }

    /// Returns a digest of all that a refusal may concern: the client's credentials, the grant's inputs, and what this
    /// source adds to each request and requires of its response.
    pub(crate) async fn digest(&self) -> Option<[u8; 32]> {
        let client = self.server.digest().await?;
        let inputs = self.grant.digests(&self.server.client_id).await?;
        let defaults = self.defaults.canonical();
        let requires =
            u8::from(self.require_scopes) + 2 * u8::from(self.require_authorization_details);
        let request = credential_digest("request", &[&defaults, &[requires]]);
        let all = [client, request].into_iter().chain(inputs);
        let all: Vec<_> = all.collect();
        let parts: Vec<&[u8]> = all.iter().map(<[u8; 32]>::as_slice).collect();
        Some(credential_digest(G::WORDING.grant, &parts))
    }

    /// Returns true if its tokens are bound to a certificate, or to a key that no other process has.
    pub(crate) fn binds_tokens(&self) -> bool {
        let has_own_key = |prover: &Arc<dyn Prover>| prover.shared_key().is_none();
        self.prover.as_ref().is_some_and(has_own_key) || self.server.binds_tokens()
    }

    /// Checks what was granted. Authorization details that were requested must be readable.
    fn check_granted(&self, request: &TokenRequest, token: &AccessToken) -> Result<(), TokenError> {
        if self.require_scopes {
            token.require_scopes(request.scopes())?;
        }
        match request.authorization_details() {
            Some(wanted) if self.require_authorization_details => {
                token.require_authorization_details(wanted)
            }
            Some(_) => token.authorization_details().map(drop),
            None => Ok(()),
        }
    }
}

/// One call of a [`GrantClient`].
pub(crate) struct TokenCall<'a, G> {
    client: &'a GrantClient<G>,
    request: &'a TokenRequest,
}

#[async_trait]
impl<G: Grant> ServerRequest for TokenCall<'_, G> {
    type Output = AccessToken;

    const IDEMPOTENT: bool = G::IDEMPOTENT;

    fn wording(&self) -> Wording {
        G::WORDING
    }

    /// Checks that the server has the types of the requested authorization details, if its metadata lists any.
    fn check(&self, addresses: &ServerAddresses) -> Result<(), TokenError> {
        let (Some(details), Some(metadata)) =
            (self.request.authorization_details(), addresses.metadata())
        else {
            return Ok(());
        };
        let unsupported =
            |kind: &&str| metadata.supports_authorization_details_type(kind) == Some(false);
        match details.types().find(unsupported) {
            None => Ok(()),
            Some(kind) => Err(TokenError::request_refused(format!(
                "the server's metadata does not list the type `{}` of authorization details (RFC 9396 section 10)",
                TextFilter::new().clean(kind)
            ))
            .with_hint(hints::DETAILS_TYPE)
            .with_host(addresses.host())),
        }
    }

    fn address<'a>(
        &self,
        addresses: &'a ServerAddresses,
        with_certificate: bool,
    ) -> Result<&'a Address, TokenError> {
        addresses.token_endpoint_for(with_certificate)
    }

    fn prover(&self) -> Option<&Arc<dyn Prover>> {
        self.client.prover.as_ref()
    }

    fn needs_binding(&self) -> bool {
        self.client.prover.is_none()
    }

    async fn form(&self, context: &AuthenticationContext<'_>) -> Result<Form, TokenError> {
        self.client.grant.form(self.request, context).await
    }

    fn epoch(&self) -> u64 {
        self.client.grant.epoch()
    }

    fn refused(&self, form: &Form) {
        self.client.grant.refused(form);
    }

    async fn read(&self, reply: &Reply<'_>) -> Result<AccessToken, TokenError> {
        let granted = self.read_grant(reply)?;
        let mut token = self.client.grant.accept(granted, reply.form).await?;
        if let Some(prover) = self.prover() {
            token = token.with_prover(prover.clone());
        }
        if let Some(binding) = reply.credentials.binding() {
            token = token.with_binding(binding.clone());
        }
        let quotas = quota::read(&reply.answer.headers, reply.received_at);
        if !quotas.is_empty() {
            token = token.with_quotas(quotas);
        }
        self.client.check_granted(self.request, &token)?;
        let now = self.client.server.clock().now();
        if !token.lifetime().is_zero() && token.is_expired(now) {
            let late = "the token expired before it arrived";
            return Err(TokenError::unusable_response(late).with_transient(true));
        }
        Ok(token)
    }
}

impl<G: Grant> TokenCall<'_, G> {
    /// Reads the response (RFC 6749 sections 5.1 and 5.2).
    fn read_grant(&self, reply: &Reply<'_>) -> Result<IssuedTokens, TokenError> {
        let mut rules = Cow::Borrowed(&self.client.rules);
        if let Some(ends) = reply.form.ends {
            let left = ends.saturating_since(reply.requested_at.timestamp);
            rules.to_mut().bound_lifetime(left);
        }
        reply.check_success(&G::WORDING, rules.lenient)?;
        let granted = token::read(
            &reply.answer.body,
            &rules,
            reply.form.scopes.as_ref().unwrap_or(self.request.scopes()),
            reply.requested_at,
            answer::date(&reply.answer.headers).unwrap_or(reply.received_at),
            || reply.filter(),
            &G::WORDING,
        );
        let media = MediaType::from_headers(&reply.answer.headers);
        // The content type of a page that an intermediary sends may be wrong too.
        let is_page = || {
            matches!(
                ServerMessage::from_answer(reply.answer, &reply.filter()),
                ServerMessage::Page(_)
            )
        };
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
        let mut wrong = wrong_media(reply.answer, good, &reply.filter());
        if let Some(said) = failure.and_then(TokenError::server_message) {
            wrong = wrong.with_server_message(said);
        }
        match granted {
            // An error of RFC 6749 counts with any content type.
            Err(error) if error.oauth_error().is_some() => Err(error),
            // The rotated refresh token must not be lost because of a wrong header.
            Ok(granted) if granted.refresh_token.is_some() => Ok(IssuedTokens {
                token: Err(wrong),
                ..granted
            }),
            _ => Err(wrong),
        }
    }
}

/// Returns the error for a wrong content type. `good`: the body is a valid token response nevertheless.
fn wrong_media(answer: &Answer, good: bool, filter: &TextFilter) -> TokenError {
    if answer.body.is_empty() {
        return TokenError::unusable_response("the response is empty").with_transient(true);
    }
    let words = ServerMessage::from_answer(answer, filter);
    if matches!(words, ServerMessage::Page(_))
        || MediaType::from_headers(&answer.headers) == MediaType::Html
    {
        return web_page(match &words {
            ServerMessage::Page(title) => title.as_deref(),
            _ => None,
        });
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
        error.with_hint("the body is not a JSON token response either: check `token_endpoint`")
    }
}

impl<G: fmt::Debug> fmt::Debug for GrantClient<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrantClient")
            .field("server", &self.server)
            .field("grant", &self.grant)
            .field("defaults", &self.defaults)
            .finish_non_exhaustive()
    }
}
