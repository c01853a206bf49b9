use http::{
    HeaderMap, Method, StatusCode,
    header::{AUTHORIZATION, HOST},
};

use super::{
    authorizer::{AllowedOrigin, Authorizer},
    forbidden::ForbiddenAction,
    head::RequestHead,
};
use crate::{
    AccessToken, Proof, Proofs, TokenError, TokenRequest, TokenType,
    origin::{Origin, Target, is_loopback_host},
    refusal::{ApiRefusal, Reading},
    text::safe_text,
};

/// The permission of one request to have a token: an integration gets the token from it, and
/// evaluates each response with it.
#[derive(Clone, Debug)]
pub struct Permit {
    authorizer: Authorizer,
    /// The index of the allowed origin.
    place: usize,
    request: TokenRequest,
    refused: bool,
    /// The proofs of a token of type DPoP. Boxed, because they are rare and every request carries a permit.
    proofs: Option<Box<Proofs>>,
}

/// The action that an integration takes on a response.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// Return the response: it says nothing about the token.
    Pass,
    /// The API refused the token, which was dropped, or demands another proof with it. If the request can be sent
    /// again, get a [`replacement`](Permit::replacement) and send it; otherwise treat this as
    /// [`Refused`](Self::Refused). A request may get this several times, up to a limit.
    Retry(ApiRefusal),
    /// Return the response with this in its extensions: a retry would not help.
    Refused(ApiRefusal),
}

impl Authorizer {
    /// Returns a permit if a request with this head may have a token.
    ///
    /// `None` means that the request is sent as it is: it already has an `Authorization` header, or its origin is not
    /// on the list and [`pass_other_origins`](super::AuthorizerBuilder::pass_other_origins) is set. `wanted` overrides the
    /// token request that the origin was allowed with. An unknown target (the request has only a path) is not on the list.
    ///
    /// # Errors
    ///
    /// A [`TokenError`] of kind [`Configuration`](crate::ErrorKind::Configuration) if the origin is not on the list, or
    /// if a `Host` header names a host other than the target; and the errors of the function that chooses the token
    /// request: the request must not be sent.
    #[inline]
    pub fn permit(
        &self,
        head: RequestHead<'_>,
        wanted: Option<&TokenRequest>,
    ) -> Result<Option<Permit>, TokenError> {
        let inner = &*self.0;
        let (target, headers) = (head.target(), head.headers());
        let has_own = !headers.is_empty() && headers.contains_key(AUTHORIZATION);
        if has_own && !inner.replace_authorization {
            return Ok(None);
        }
        let place = target.and_then(|target| {
            let mut allowed = inner.allowed.iter();
            allowed.position(|allowed| allowed.origin.is_at(target))
        });
        match place {
            Some(place) => {
                let AllowedOrigin {
                    origin, request, ..
                } = &inner.allowed[place];
                let mut hosts = headers.get_all(HOST).iter();
                if !headers.is_empty() && !hosts.all(|host| origin.is_named_by(host)) {
                    inner.observe.other_host(target);
                    return Err(other_host(origin));
                }
                let request = wanted.map_or_else(|| request.request(head), |own| Ok(own.clone()));
                let request = request.inspect_err(|error| inner.observe.no_token(origin, error))?;
                Ok(Some(Permit::new(self.clone(), place, request)))
            }
            None if inner.pass_other_origins => Ok(None),
            None => {
                inner.observe.origin_not_allowed(target);
                Err(self.not_allowed(target))
            }
        }
    }

    #[cold]
    fn not_allowed(&self, target: Option<Target<'_>>) -> TokenError {
        let Some(target) = target else {
            let error = TokenError::configuration("no token for a request that names no origin");
            return error.with_hint("use an absolute URL, or set the connection's origin");
        };
        let error = TokenError::configuration(format!(
            "no token for `{}`: this origin is not allowed",
            safe_text(&target.to_string())
        ))
        .with_host(&target.authority());
        let https = target.with_https();
        error.with_hint(if !target.is_http() {
            "add it with `allow_origin` if tokens are meant for it; `pass_other_origins` sends such requests without one"
        } else if self.origins().any(|origin| origin.is_at(https)) {
            "use `https://`, which was allowed for this host"
        } else if is_loopback_host(target.host()) {
            "if tokens are meant for it, add it with `allow_origin`, over `https://` or with `danger_allow_http_on_loopback`"
        } else {
            "if tokens are meant for it, use `https://` and add it with `allow_origin`"
        })
    }
}

/// Returns the error for a `Host` header that differs. Its value is not repeated: in a gateway it may be untrusted.
#[cold]
fn other_host(origin: &Origin) -> TokenError {
    let error = TokenError::configuration(format!(
        "no token for this request: its `Host` header does not name the host of its URL, `{origin}`"
    ));
    error.with_hint(
        "leave the header out, since the HTTP client sets it; do not copy it from another request",
    )
}

impl Permit {
    #[inline]
    fn new(authorizer: Authorizer, place: usize, request: TokenRequest) -> Self {
        Self {
            authorizer,
            place,
            request,
            refused: false,
            proofs: None,
        }
    }

    /// Returns the origin that the token may go to.
    #[inline]
    pub fn origin(&self) -> &Origin {
        &self.authorizer.0.allowed[self.place].origin
    }

    /// Returns the token request that is passed to the source.
    pub fn request(&self) -> &TokenRequest {
        &self.request
    }

    /// Returns true if a response came from the origin that the token was sent to. An HTTP client that follows
    /// redirects may return a response from another origin, which says nothing about this token: do not
    /// [evaluate](Self::evaluate_response) it.
    #[inline]
    pub fn is_same_origin(&self, target: Target<'_>) -> bool {
        self.origin().is_at(target)
    }

    /// Returns the token if it is available without waiting.
    #[inline]
    pub fn ready_token(&self) -> Option<AccessToken> {
        let source = &self.authorizer.0.source;
        let token = source.ready_token(&self.request)?;
        // `token` returns the error.
        is_usable(&token).then_some(token)
    }

    /// Returns the token.
    ///
    /// # Errors
    ///
    /// The source's errors, and one of kind [`Configuration`](crate::ErrorKind::Configuration) for a token that
    /// requires a proof but has no [`prover`](AccessToken::prover).
    ///
    /// # Cancellation
    ///
    /// As [`TokenSource::token`](crate::TokenSource::token).
    pub async fn token(&self) -> Result<AccessToken, TokenError> {
        if let Some(token) = self.ready_token() {
            return Ok(token);
        }
        let token = self.authorizer.0.source.token(&self.request).await;
        let token = token.and_then(require_usable);
        if let Err(error) = &token {
            self.authorizer.0.observe.no_token(self.origin(), error);
        }
        token
    }

    /// Returns true if `token` has expired in the meantime. An integration that waits between getting a token and
    /// sending the request, for a connection or a proof, checks this last.
    pub fn is_expired(&self, token: &AccessToken) -> bool {
        token.is_expired(self.authorizer.0.clock.now())
    }

    /// Returns the value of the `DPoP` header for `token`, marked sensitive: a new proof for each attempt to send the
    /// request. `None` for a bearer token, which needs no proof.
    ///
    /// The proof is for this method, and for this path at the [`origin`](Self::origin) of the permit. Query and
    /// fragment are removed.
    ///
    /// # Errors
    ///
    /// The prover's errors, and one of kind [`Unavailable`](crate::ErrorKind::Unavailable) if the token expired while
    /// its proof was created: the request must not be sent.
    ///
    /// # Cancellation
    ///
    /// As [`Prover::prove`](crate::Prover::prove).
    pub async fn proof(
        &mut self,
        token: &AccessToken,
        method: &Method,
        path: &str,
    ) -> Result<Option<Proof>, TokenError> {
        let Some(prover) = token.prover() else {
            return Ok(None);
        };
        let proofs = self.proofs.take();
        let mut proofs = proofs.unwrap_or_else(|| {
            // `OPTIONS *` has no path (RFC 9110 section 7.1).
            let path = if path == "*" { "" } else { path };
            let url = format!("{}{path}", self.origin());
            Box::new(Proofs::new(method.clone(), url))
        });
        let mut proof = proofs.next(&**prover, Some(token)).await;
        self.proofs = Some(proofs);
        if proof.is_ok() && self.is_expired(token) {
            proof = Err(
                TokenError::unavailable("the token expired while its proof was created").with_hint(
                    "try again, which fetches another one; in a test give the authorizer the clock of its source",
                ),
            );
        }
        if let Err(error) = &proof {
            self.authorizer.0.observe.no_token(self.origin(), error);
        }
        proof.map(Some)
    }

    /// Returns the token to retry the request with: one other than `refused`, or the same one if the API demands
    /// another [`proof`](Self::proof) with it. `None` if the source returns the same token again, so that a retry would
    /// change nothing.
    ///
    /// # Errors
    ///
    /// As [`token`](Self::token).
    pub async fn replacement(
        &self,
        refused: &AccessToken,
    ) -> Result<Option<AccessToken>, TokenError> {
        if self
            .proofs
            .as_ref()
            .is_some_and(|proofs| proofs.is_demanded())
        {
            let observe = &self.authorizer.0.observe;
            observe.sent_again_with_nonce(self.origin());
            return Ok(Some(refused.clone()));
        }
        let token = self.token().await?;
        if token.is_same(refused) {
            return Ok(None);
        }
        self.authorizer.0.observe.sent_again(self.origin());
        Ok(Some(token))
    }

    /// Evaluates the response to a request with `token` (RFC 6750 section 3.1, RFC 9449 section 7.1).
    ///
    /// 401 with `invalid_token`, or without a reason, drops the token from its source and requests one retry. So does
    /// gRPC's UNAUTHENTICATED in a response without a body. 401 with `use_dpop_nonce` requests a retry with the same
    /// token, as long as the API sends nonces that were not tried, at most five times. Other challenges for a token of
    /// this type in a 401 or 403, such as `insufficient_scope`, are returned with their reason. A 403 without a reason is
    /// treated like a 401 if [`treat_forbidden_as_refused`](super::AuthorizerBuilder::treat_forbidden_as_refused) names the
    /// origin.
    #[inline]
    pub fn evaluate_response(
        &mut self,
        token: &AccessToken,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Decision {
        // Nearly all responses end here.
        if self.proofs.is_none() && ApiRefusal::says_nothing(status, headers) {
            self.authorizer.0.observe.accepted(self.origin(), status);
            return Decision::Pass;
        }
        self.evaluate_unusual_response(token, status, headers)
    }

    /// Evaluates the trailers of a gRPC response to a request with `token`, whose headers were
    /// [evaluated](Self::evaluate_response) before.
    ///
    /// UNAUTHENTICATED drops the token from its source, so that the next call has another one, and is returned. There is
    /// no retry: the response has begun.
    pub fn evaluate_trailers(
        &mut self,
        token: &AccessToken,
        trailers: &HeaderMap,
    ) -> Option<ApiRefusal> {
        let refusal = ApiRefusal::in_trailers(trailers)?;
        let observe = &self.authorizer.0.observe;
        observe.token_refused(self.origin(), &refusal, self.refused);
        self.refused = true;
        self.authorizer.0.source.invalidate(token);
        Some(refusal)
    }

    #[cold]
    fn evaluate_unusual_response(
        &mut self,
        token: &AccessToken,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Decision {
        let observe = &self.authorizer.0.observe;
        if let (Some(proofs), Some(prover)) = (&self.proofs, token.prover()) {
            proofs.store_nonce(&**prover, Some(token), headers);
        }
        let reading = ApiRefusal::read(token, status, headers);
        match self.read_forbidden(token, status, reading) {
            Reading::Nothing => {
                observe.accepted(self.origin(), status);
                Decision::Pass
            }
            Reading::CallRefused(refusal)
                if refusal.demands_nonce()
                    && self
                        .proofs
                        .as_mut()
                        .is_some_and(|proofs| proofs.accept_nonce(headers)) =>
            {
                Decision::Retry(refusal)
            }
            Reading::CallRefused(refusal) => {
                observe.surfaced(self.origin(), &refusal);
                Decision::Refused(refusal)
            }
            Reading::TokenRefused(refusal) => {
                observe.token_refused(self.origin(), &refusal, self.refused);
                self.authorizer.0.source.invalidate(token);
                self.retry_once(refusal)
            }
            Reading::TokenReplaced(refusal) => self.retry_once(refusal),
        }
    }

    fn retry_once(&mut self, refusal: ApiRefusal) -> Decision {
        if std::mem::replace(&mut self.refused, true) {
            return Decision::Refused(refusal);
        }
        Decision::Retry(refusal)
    }

    /// Returns the meaning of a 403 that gives no reason, at an origin where it may stand for a refused token.
    fn read_forbidden(&self, token: &AccessToken, status: StatusCode, reading: Reading) -> Reading {
        let inner = &*self.authorizer.0;
        let Some(forbidden) = &inner.allowed[self.place].forbidden else {
            return reading;
        };
        if status != StatusCode::FORBIDDEN || !reading.may_mean_refused_token() {
            return reading;
        }
        let now = inner.clock.now();
        match forbidden.action(&self.request, token, self.refused, now) {
            ForbiddenAction::Drop => Reading::TokenRefused(reading.into_refusal(status)),
            ForbiddenAction::Replace => Reading::TokenReplaced(reading.into_refusal(status)),
            ForbiddenAction::Keep => reading,
        }
    }
}

fn require_usable(token: AccessToken) -> Result<AccessToken, TokenError> {
    if is_usable(&token) {
        return Ok(token);
    }
    let error = TokenError::configuration(format!(
        "the token is of type {}, without its DPoP prover",
        token.token_type()
    ));
    Err(error
        .with_hint("attach one with `AccessToken::with_prover`, or have tokens of type Bearer issued to this client"))
}

#[inline]
fn is_usable(token: &AccessToken) -> bool {
    token.token_type() == TokenType::Bearer || token.prover().is_some()
}
