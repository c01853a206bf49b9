use http::{HeaderMap, StatusCode};

use super::{ApiRefusal, Authorizer, Origin, Target, refusal::Reading};
use crate::{AccessToken, TokenError, TokenRequest, TokenType};

/// The right of one request to have a token: an integration gets the token from it, and lets it judge the responses.
#[derive(Clone, Debug)]
pub struct Permit {
    authorizer: Authorizer,
    /// Which of the allowed origins.
    place: usize,
    request: TokenRequest,
    refused: bool,
}

/// What an integration does with a response.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Hand it on: it says nothing about the token.
    Pass,
    /// The API refused the token, which was dropped: where the request can be sent once more, ask for a
    /// [`replacement`](Permit::replacement) and do so; otherwise treat it as [`Refused`](Self::Refused).
    Retry(ApiRefusal),
    /// Hand it on, with this in its extensions: sending it again would not help.
    Refused(ApiRefusal),
}

impl Permit {
    pub(super) fn new(authorizer: Authorizer, place: usize, request: TokenRequest) -> Self {
        Self {
            authorizer,
            place,
            request,
            refused: false,
        }
    }

    /// The origin that the token may go to.
    pub fn origin(&self) -> &Origin {
        &self.authorizer.0.allowed[self.place].origin
    }

    /// What the token is asked for.
    pub fn request(&self) -> &TokenRequest {
        &self.request
    }

    /// Did a response come from where the token was sent? An HTTP client that follows redirects by itself may come
    /// back from elsewhere, and what was said there is not about this token: do not have it judged.
    pub fn is_from_here(&self, target: Target<'_>) -> bool {
        self.origin().is_at(target)
    }

    /// The token, where it can be had without waiting.
    pub fn ready_token(&self) -> Option<AccessToken> {
        let source = &self.authorizer.0.source;
        let token = source.ready_token(&self.request)?;
        // The error is told by `token`.
        is_bearer(&token).then_some(token)
    }

    /// The token.
    ///
    /// # Errors
    ///
    /// The source's, and one of kind [`Configuration`](crate::ErrorKind::Configuration) for a token that is not of
    /// type Bearer: to use another one takes a proof that is not made here.
    ///
    /// # Cancellation
    ///
    /// As [`TokenSource::token`](crate::TokenSource::token).
    pub async fn token(&self) -> Result<AccessToken, TokenError> {
        if let Some(token) = self.ready_token() {
            return Ok(token);
        }
        let token = self.authorizer.0.source.token(&self.request).await;
        let token = token.and_then(require_bearer);
        if let Err(error) = &token {
            self.authorizer.0.observe.no_token(self.origin(), error);
        }
        token
    }

    /// Another token than `refused`, to send the request once more with. `None` where the source yields the same one
    /// again, so that sending it would change nothing.
    ///
    /// # Errors
    ///
    /// As [`token`](Self::token).
    pub async fn replacement(
        &self,
        refused: &AccessToken,
    ) -> Result<Option<AccessToken>, TokenError> {
        let token = self.token().await?;
        if token.is_same(refused) {
            return Ok(None);
        }
        self.authorizer.0.observe.sent_again(self.origin());
        Ok(Some(token))
    }

    /// What the response to a request with `token` means (RFC 6750 section 3.1).
    ///
    /// 401 with `invalid_token`, or without a reason, drops the token from its source, and asks for another try once.
    /// So does gRPC's UNAUTHENTICATED in an answer without a body. Other challenges for a bearer token in a 401 or
    /// 403, `insufficient_scope` before all, are to be handed on with what they say.
    pub fn judge(
        &mut self,
        token: &AccessToken,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Verdict {
        let observe = &self.authorizer.0.observe;
        match ApiRefusal::read(token, status, headers) {
            Reading::Nothing => {
                observe.accepted(self.origin(), status);
                Verdict::Pass
            }
            Reading::Surfaced(refusal) => {
                observe.surfaced(self.origin(), &refusal);
                Verdict::Refused(refusal)
            }
            Reading::TokenRefused(refusal) => {
                observe.token_refused(self.origin(), &refusal, self.refused);
                self.authorizer.0.source.invalidate(token);
                if std::mem::replace(&mut self.refused, true) {
                    return Verdict::Refused(refusal);
                }
                Verdict::Retry(refusal)
            }
        }
    }
}

fn require_bearer(token: AccessToken) -> Result<AccessToken, TokenError> {
    if is_bearer(&token) {
        return Ok(token);
    }
    let error = TokenError::configuration(format!(
        "the token is of type {}, which takes a proof that this integration cannot make",
        token.token_type()
    ));
    Err(error.with_hint("have tokens of type Bearer issued to this client"))
}

fn is_bearer(token: &AccessToken) -> bool {
    token.token_type() == TokenType::Bearer
}
