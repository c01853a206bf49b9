//! Grants: the only part in which the sources of this crate differ.

use std::fmt;

use async_trait::async_trait;
use hallpass_core::{AccessToken, TokenError, TokenRequest};

use super::form::Form;
use crate::{
    AuthenticationContext, BuildError, Requirement, Retry, SecurityProfile,
    response::{token::IssuedTokens, wording::Wording},
};

/// A grant: how its requests are written and its responses read. Sealed: used in public bounds only.
#[async_trait]
pub trait Grant: Send + Sync + fmt::Debug {
    /// The wording of errors about its requests.
    const WORDING: Wording;

    /// True if processing a request twice does no harm. False for a grant whose input may be valid once only, such as a
    /// refresh token or an assertion.
    const IDEMPOTENT: bool;

    /// Creates the form of one attempt, without the client's credentials.
    async fn form(
        &self,
        request: &TokenRequest,
        context: &AuthenticationContext<'_>,
    ) -> Result<Form, TokenError>;

    /// Checks that the grant, with its settings, is one of this security profile.
    fn check_profile(&self, profile: SecurityProfile) -> Result<(), BuildError> {
        let fault = format!("the grant is `{}`", Self::WORDING.grant);
        Err(profile.excludes("grant_type", &fault, &Requirement::GRANTS))
    }

    /// Returns true if an input needs the server's metadata.
    fn needs_discovery(&self) -> bool {
        false
    }

    /// Sets the retry policy of the source, for a grant whose input is a request too.
    fn set_retry(&mut self, retry: Retry) {
        let _ = retry;
    }

    /// Returns a number that changes when the grant's inputs do.
    fn epoch(&self) -> u64 {
        0
    }

    /// Returns a digest of each input, which a refusal may concern as well as the client's credentials; `None` if one
    /// has no digest.
    async fn digests(&self, client_id: &str) -> Option<Vec<[u8; 32]>>;

    /// Reports that the server refused the inputs of the form.
    fn refused(&self, form: &Form) {
        let _ = form;
    }

    /// Accepts the response to a form; an error if it lacks what this grant needs.
    async fn accept(&self, granted: IssuedTokens, form: &Form) -> Result<AccessToken, TokenError> {
        let _ = form;
        granted.token
    }
}
