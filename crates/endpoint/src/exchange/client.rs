//! A client of a token endpoint: attempts, retries and changed credentials, shared by all grants.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use hallpass_core::{AccessToken, Clock, ErrorKind, Prover, TokenError, TokenRequest};
use http::{HeaderValue, Method, header};

use crate::{
    AuthenticationContext, ClientAuthentication, Credentials, Hints, HttpTransport, Retry,
    authentication::Proof,
    exchange::answer::Asked,
    exchange::dpop::{self, Proving},
    exchange::form,
    exchange::grant::{Form, Grant},
    exchange::retry::Tries,
    hints,
    response::skew,
    response::token::ResponseRules,
    server::endpoint::{Located, Place},
};

/// The inner type of every source in this crate.
#[allow(clippy::struct_field_names)] // `client_id` is what the RFC calls it.
pub struct Client<G> {
    pub(crate) grant: G,
    pub(crate) endpoint: Located,
    pub(crate) client_id: Box<str>,
    pub(crate) allow_utf8: bool,
    pub(crate) authentication: Box<dyn ClientAuthentication>,
    pub(crate) prover: Option<Arc<dyn Prover>>,
    pub(crate) defaults: TokenRequest,
    pub(crate) transport: HttpTransport,
    pub(crate) retry: Retry,
    pub(crate) rules: ResponseRules,
    pub(crate) require_scopes: bool,
    pub(crate) hints: Option<Hints>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// The inputs of one attempt.
struct Attempt {
    place: Arc<Place>,
    /// The client authentication's epoch, read before its credentials were made.
    epoch: u64,
    /// The grant's epoch, read before its form was made.
    grant_epoch: u64,
    credentials: Credentials,
    form: Form,
}

impl<G: Grant> Client<G> {
    /// Repeats attempts until one succeeds, a failure is permanent, or the retries or the time run out.
    pub(crate) async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        let request = request.or(&self.defaults);
        let mut tries = self.retry.tries();
        let mut renewed = false;
        loop {
            match self.attempt(&request, &mut renewed, &tries).await {
                Ok(token) => return Ok(token),
                Err(error) => tries.after(error, self.endpoint.host()).await?,
            }
        }
    }

    /// Checks a token from elsewhere as [`exchange`](Self::exchange) checks the server's tokens.
    pub(crate) fn check_token(
        &self,
        request: &TokenRequest,
        token: &AccessToken,
    ) -> Result<(), TokenError> {
        self.rules.check(token, self.clock.now())?;
        self.check_scopes(&request.or(&self.defaults), token)
    }

    fn check_scopes(&self, request: &TokenRequest, token: &AccessToken) -> Result<(), TokenError> {
        if self.require_scopes {
            token.require_scopes(request.scopes())?;
        }
        Ok(())
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.authentication.epoch().wrapping_add(self.grant.epoch())
    }

    /// Runs one exchange, or two if the server refuses credentials that have changed since they were made: the new ones
    /// are tried at once, and at most once per call, unless the policy allows one request only.
    pub(crate) async fn attempt(
        &self,
        request: &TokenRequest,
        renewed: &mut bool,
        tries: &Tries,
    ) -> Result<AccessToken, TokenError> {
        let sent = self.prepare(request, tries).await?;
        let (sent, result) = self.exchange_proven(sent, request, tries).await;
        let refused = self.tell_refusal(&result, &sent);
        if !refused || !tries.may_repeat() || std::mem::replace(renewed, true) {
            return result;
        }
        let Some(renewed) = self.changed(&sent, request, tries).await else {
            return result;
        };
        tracing::info!(
            host = renewed.place.host(),
            "the credentials changed meanwhile, trying the new ones"
        );
        let (renewed, result) = self.exchange_proven(renewed, request, tries).await;
        self.tell_refusal(&result, &renewed);
        result
    }

    /// Prepares an attempt, within the remaining time.
    async fn prepare(&self, request: &TokenRequest, tries: &Tries) -> Result<Attempt, TokenError> {
        let place = self.endpoint.place_within(tries).await?;
        let context = AuthenticationContext::at(&self.client_id, &place, self.allow_utf8);
        let epoch = self.authentication.epoch();
        let credentials = self.authentication.credentials(&context);
        let credentials = tries.within(credentials, || late_credentials(&*self.authentication));
        let credentials = credentials.await?;
        let grant_epoch = self.grant.epoch();
        let form = self.grant.form(request, &context);
        let form = tries.within(form, || late(G::ABOUT.material)).await?;
        Ok(Attempt {
            place: place.clone(),
            epoch,
            grant_epoch,
            credentials,
            form,
        })
    }

    /// Reports a refusal to the makers of the refused parts; returns true if there was one.
    fn tell_refusal(&self, result: &Result<AccessToken, TokenError>, sent: &Attempt) -> bool {
        let Err(error) = result else {
            return false;
        };
        let refused = error.kind() == ErrorKind::CredentialsRefused;
        if refused && G::ABOUT.is_refused(error) {
            self.grant.refused(&sent.form);
        } else if refused {
            self.authentication.refused(&sent.credentials);
        }
        refused
    }

    /// Prepares the attempt again, and returns it if its inputs differ from the refused ones.
    async fn changed(
        &self,
        refused: &Attempt,
        request: &TokenRequest,
        tries: &Tries,
    ) -> Option<Attempt> {
        // If this fails, the server's error is more useful.
        let renewed = self.prepare(request, tries).await.ok()?;
        let epoch_changed = self.authentication.epoch() != refused.epoch;
        let changed = renewed
            .credentials
            .differ(&refused.credentials, epoch_changed);
        let epoch_changed = self.grant.epoch() != refused.grant_epoch;
        (changed || renewed.form.differs(&refused.form, epoch_changed)).then_some(renewed)
    }

    /// Runs one exchange for unbound tokens, or one per nonce that the server demands (RFC 9449 section 8).
    async fn exchange_proven(
        &self,
        mut sent: Attempt,
        request: &TokenRequest,
        tries: &Tries,
    ) -> (Attempt, Result<AccessToken, TokenError>) {
        let address = sent.place.token_endpoint_for(&sent.credentials);
        let mut proving = match address {
            Ok(address) => Proving::new(self.prover.as_ref(), address.url(), tries.may_repeat()),
            Err(error) => return (sent, Err(error)),
        };
        loop {
            let proved = tries
                .within(proving.prove(), || late("the DPoP proof"))
                .await;
            if let Err(error) = proved {
                return (sent, Err(error));
            }
            let deadline = tries.left();
            let result = self.exchange(&sent, request, &mut proving, deadline).await;
            if !proving.is_demanded() {
                return (sent, result);
            }
            let host = sent.place.host();
            tracing::debug!(host, "the server demands a nonce, trying again with it");
            // An assertion may be used for one request only.
            sent = match self.prepare(request, tries).await {
                Ok(renewed) => renewed,
                Err(error) => return (sent, Err(error)),
            };
        }
    }

    async fn exchange(
        &self,
        sent: &Attempt,
        request: &TokenRequest,
        proving: &mut Proving<'_>,
        deadline: Duration,
    ) -> Result<AccessToken, TokenError> {
        let Attempt {
            place,
            credentials,
            form,
            ..
        } = sent;
        let address = place.token_endpoint_for(credentials)?;
        let named = |error: TokenError| error.with_host(address.host());
        let mut post = post(address.url().clone(), form.bytes(), credentials);
        proving.put_on(post.headers_mut());

        // Taken before sending: after a slow response, the token must not live longer here than at the server.
        let requested_at = self.clock.moment();
        let answer = self.transport.exchange_as(post, credentials, deadline);
        let answer = answer.await.map_err(named)?;
        let status = answer.status;
        let headers = proving.answered(&answer.headers);
        // The response's date, moved back to the time at which the credentials were made.
        let elapsed = self.clock.now().saturating_since(requested_at.timestamp);
        let [skew, form_skew, proofs_skew] = [credentials.dated, form.dated(), proving.dated()]
            .map(|made| made.and_then(|made| skew::Skew::of(&answer.headers, made, elapsed)));
        let mut rules = Cow::Borrowed(&self.rules);
        if let Some(ends) = form.ends {
            let left = ends.saturating_since(requested_at.timestamp);
            rules.to_mut().bound_lifetime(left);
        }
        let asked = Asked {
            scopes: request.scopes(),
            requested_at,
            credentials,
            form,
            client_id: &self.client_id,
            about: G::ABOUT,
        };
        let granted = asked
            .read(&answer, &rules, self.clock.wall())
            .map_err(|error| {
                let error = proving.refused(error.with_status(status), &headers);
                let skew = if dpop::is_proof_refused(&error) {
                    proofs_skew
                } else if G::ABOUT.is_refused(&error) {
                    form_skew
                } else {
                    skew
                };
                self.advise(named(error), skew)
            })?;
        let told = |error: TokenError| self.advise(named(error.with_status(status)), None);
        let token = self.grant.accept(granted, form).await.map_err(told)?;
        let token = proving.bind(token);
        let token = match credentials.binding() {
            Some(binding) => token.with_binding(binding.clone()),
            None => token,
        };
        self.check_scopes(request, &token).map_err(told)?;
        if !token.lifetime().is_zero() && token.is_expired(self.clock.now()) {
            let late = "the token expired before it arrived";
            return Err(named(
                TokenError::unusable_response(late).with_transient(true),
            ));
        }
        Ok(token)
    }

    /// Replaces the general hint with the adapter's, and both with the clock skew if there is any.
    fn advise(&self, error: TokenError, skew: Option<skew::Skew>) -> TokenError {
        let dated = error.kind() == ErrorKind::CredentialsRefused || dpop::is_proof_refused(&error);
        if dated && let Some(skew) = skew {
            return error.with_hint(skew.to_string());
        }
        match self.hints.and_then(|hints| hints(&error)) {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

/// Returns the error for a part of the request that used up the call's time.
#[cold]
fn late(part: &str) -> TokenError {
    TokenError::unavailable(format!("{part} was not ready within the call's deadline"))
        .with_local(true)
}

/// Returns the same error for the client's credentials, naming their method.
#[cold]
pub(crate) fn late_credentials(authentication: &dyn ClientAuthentication) -> TokenError {
    let method = authentication.method().unwrap_or("client authentication");
    late(&format!("the credential for `{method}`")).with_hint(hints::LATE_CREDENTIALS)
}

/// Creates a request with a form and the client's credentials.
pub(crate) fn post(url: url::Url, form: &[u8], credentials: &Credentials) -> reqwest::Request {
    const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let mut post = reqwest::Request::new(Method::POST, url);
    let headers = post.headers_mut();
    headers.insert(header::CONTENT_TYPE, FORM);
    headers.insert(header::ACCEPT, JSON);
    if let Proof::Header(value) = &credentials.proof {
        headers.insert(header::AUTHORIZATION, value.clone());
    }
    let body = form::body(form, credentials);
    *post.body_mut() = Some(Bytes::from_owner(body).into());
    post
}

impl<G: fmt::Debug> fmt::Debug for Client<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("host", &self.endpoint.host())
            .field("client_id", &self.client_id)
            .field("authentication", &self.authentication)
            .field("grant", &self.grant)
            .field("defaults", &self.defaults)
            .finish_non_exhaustive()
    }
}
