use std::time::Duration;

use google_cloud_gax::{
    error::{Error, rpc::Code},
    retry_policy::RetryPolicy,
    retry_result::RetryResult,
    retry_state::RetryState,
    throttle_result::ThrottleResult,
};
use hallpass_core::authorize::ApiRefusal;

use crate::SourceCredentials;

/// A retry policy that invalidates a token that a service refused, and retries the request with a new one, once.
///
/// Set it with `with_retry_policy` of a client whose credentials are the same [`SourceCredentials`], around the policy for
/// all other errors. A refusal is a 401 whose `WWW-Authenticate` header has no error or `invalid_token` for a bearer token, or
/// that has no such header (RFC 6750 section 3.1); or the gRPC status UNAUTHENTICATED.
///
/// A request is retried if its first attempt was refused, also if it is not idempotent: it was not carried out. The client
/// waits for its backoff first, up to a second by default.
///
/// The SDK does not report which token it sent. If the credentials have changed to another token since the call began, none
/// is invalidated, since the new one may be valid.
#[derive(Clone, Debug)]
pub struct RefusedTokenRetry<P> {
    credentials: SourceCredentials,
    inner: P,
}

impl<P: RetryPolicy> RefusedTokenRetry<P> {
    /// Creates a policy that reports refusals to the source of these credentials, around the one for all other errors.
    pub fn new(credentials: &SourceCredentials, inner: P) -> Self {
        Self {
            credentials: credentials.clone(),
            inner,
        }
    }
}

impl<P: RetryPolicy> RetryPolicy for RefusedTokenRetry<P> {
    fn on_error(&self, state: &RetryState, error: Error) -> RetryResult {
        if !refuses_token(&error) {
            return self.inner.on_error(state, error);
        }
        self.credentials.report_refusal(state.start);
        if state.attempt_count <= 1 {
            RetryResult::Continue(error)
        } else {
            RetryResult::Permanent(error)
        }
    }

    fn on_throttle(&self, state: &RetryState, error: Error) -> ThrottleResult {
        self.inner.on_throttle(state, error)
    }

    fn remaining_time(&self, state: &RetryState) -> Option<Duration> {
        self.inner.remaining_time(state)
    }
}

fn refuses_token(error: &Error) -> bool {
    let status = error.http_status_code();
    let code = error.status().map(|status| status.code);
    if status != Some(401) && (status.is_some() || code != Some(Code::Unauthenticated)) {
        return false;
    }
    error
        .http_headers()
        .is_none_or(ApiRefusal::refuses_bearer_token)
}
