use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use azure_core::http::{
    Context, Request, StatusCode,
    headers::{AUTHORIZATION, Headers, WWW_AUTHENTICATE},
    policies::{Policy, PolicyResult},
};
use hallpass_core::{AccessToken, Clock as _, SystemClock, TokenSource, authorize::ApiRefusal};
use http::{HeaderMap, HeaderValue};

/// A policy that invalidates a token in its source when a service refuses it with 401, and sends the request again, once.
///
/// Add it to `per_call_policies` in the options of a client whose credential is a
/// [`SourceCredential`](crate::SourceCredential) of the same source. The client's own policy drops the refused token too,
/// and requests a new one from the credential for the second attempt.
///
/// A refusal is a 401 whose `WWW-Authenticate` header has no error or `invalid_token` for a bearer token, or that has no
/// such header (RFC 6750 section 3.1). Other errors, such as `insufficient_claims`, are returned at once: a new token
/// would be refused too. So is a 401 to a request whose body cannot be read again.
///
/// # Cancellation
///
/// Dropping the future drops the attempt in progress. A token that was refused before stays invalidated.
pub struct RefusedTokenPolicy {
    source: Arc<dyn TokenSource>,
}

impl RefusedTokenPolicy {
    /// Creates a policy that reports refusals to this source.
    pub fn new(source: impl TokenSource + 'static) -> Self {
        Self {
            source: Arc::new(source),
        }
    }
}

// The trait leaves the lifetime of the context out, and must be matched.
#[allow(elided_lifetimes_in_paths)]
#[async_trait]
impl Policy for RefusedTokenPolicy {
    async fn send(
        &self,
        context: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        let response = next[0].send(context, request, &next[1..]).await?;
        let refused =
            response.status() == StatusCode::Unauthorized && refuses_token(response.headers());
        let Some(token) = refused.then(|| sent_token(request)).flatten() else {
            return Ok(response);
        };
        self.source.invalidate(&token);
        if request.body_mut().reset().await.is_err() {
            return Ok(response);
        }
        request.headers_mut().remove(AUTHORIZATION);
        next[0].send(context, request, &next[1..]).await
    }
}

/// Returns the token of the request, for a comparison with that of the source.
fn sent_token(request: &Request) -> Option<AccessToken> {
    let header = request.headers().get_optional_str(&AUTHORIZATION)?;
    let token = header.strip_prefix("Bearer ")?;
    AccessToken::bearer(token, SystemClock.moment(), Duration::ZERO).ok()
}

fn refuses_token(headers: &Headers) -> bool {
    let line = headers.get_optional_str(&WWW_AUTHENTICATE);
    let line = line.and_then(|line| HeaderValue::from_bytes(line.as_bytes()).ok());
    let lines = line.map(|line| (http::header::WWW_AUTHENTICATE, line));
    ApiRefusal::refuses_bearer_token(&HeaderMap::from_iter(lines))
}

impl fmt::Debug for RefusedTokenPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefusedTokenPolicy").finish_non_exhaustive()
    }
}
