//! A request to a server's endpoint, and the response to it.

use std::{sync::Arc, time::SystemTime};

use async_trait::async_trait;
use hallpass_core::{Moment, Prover, TextFilter, TokenError};
use http::{HeaderValue, StatusCode};

use super::{body::SentHeader, form::Form};
use crate::{
    AuthenticationContext, Credentials, hints,
    response::{
        redact,
        refusal::{self, ServerMessage},
        wording::Wording,
    },
    server::{address::Address, addresses::ServerAddresses},
    transport::{
        answer::{self, Answer},
        redirect,
    },
};

/// A request that a client authenticates: all that differs between token requests, introspection and revocation.
#[async_trait]
pub(crate) trait ServerRequest: Send + Sync {
    /// The result of a successful response.
    type Output: Send;

    /// True if processing the request twice does no harm (RFC 9110 section 9.2.2).
    const IDEMPOTENT: bool;

    /// Returns the wording of errors about it.
    fn wording(&self) -> Wording;

    /// Checks that the server has the endpoint; called before credentials are made.
    fn check(&self, addresses: &ServerAddresses) -> Result<(), TokenError> {
        let _ = addresses;
        Ok(())
    }

    /// Returns the endpoint's address.
    fn address<'a>(
        &self,
        addresses: &'a ServerAddresses,
        with_certificate: bool,
    ) -> Result<&'a Address, TokenError>;

    /// Returns the prover of DPoP proofs for the request, if it carries one.
    fn prover(&self) -> Option<&Arc<dyn Prover>> {
        None
    }

    /// Returns true if nothing but the client's certificate can bind the tokens of the response.
    fn needs_binding(&self) -> bool {
        false
    }

    /// Returns the media type that is requested in place of JSON.
    fn accept(&self) -> Option<HeaderValue> {
        None
    }

    /// Creates the form of one attempt, without the client's credentials.
    async fn form(&self, context: &AuthenticationContext<'_>) -> Result<Form, TokenError>;

    /// Returns a number that changes when the form's inputs do.
    fn epoch(&self) -> u64 {
        0
    }

    /// Reports that the server refused the inputs of the form.
    fn refused(&self, form: &Form) {
        let _ = form;
    }

    /// Reads the response.
    async fn read(&self, reply: &Reply<'_>) -> Result<Self::Output, TokenError>;
}

/// The response to one attempt, with what was sent.
pub(crate) struct Reply<'a> {
    pub(crate) answer: &'a Answer,
    pub(crate) form: &'a Form,
    pub(crate) credentials: &'a Credentials,
    pub(crate) client_id: &'a str,
    pub(crate) extra_headers: &'a [SentHeader],
    pub(crate) requested_at: Moment,
    /// Resolves a `Retry-After` that is a date.
    pub(crate) received_at: SystemTime,
}

impl Reply<'_> {
    /// Returns a filter of all secrets that were sent.
    pub(crate) fn filter(&self) -> TextFilter {
        let mut filter = redact::filter(self.credentials, self.client_id);
        for header in self.extra_headers {
            filter.add_secret(header.secret.expose());
        }
        for input in &self.form.inputs {
            filter.add_secret(input.expose());
        }
        for assertion in self.form.assertions() {
            redact::add_signature(&mut filter, assertion.expose());
        }
        filter
    }

    /// Returns the error of a response whose status is not 2xx.
    pub(crate) fn check_status(&self, wording: &Wording) -> Result<(), TokenError> {
        let status = self.answer.status;
        if status.is_success() {
            return Ok(());
        }
        if status.is_redirection() {
            return Err(self.redirected(wording));
        }
        let error = refusal::read(self.answer, &self.filter(), wording);
        Err(answer::with_wait(
            error,
            &self.answer.headers,
            self.received_at,
        ))
    }

    /// Checks all but the body of a successful response. `accept_created`: the status 201 is accepted too.
    pub(crate) fn check_success(
        &self,
        wording: &Wording,
        accept_created: bool,
    ) -> Result<(), TokenError> {
        self.check_status(wording)?;
        let (status, headers) = (self.answer.status, &self.answer.headers);
        let created = status == StatusCode::CREATED;
        if status == StatusCode::OK || created && accept_created {
            return if answer::is_compressed(self.answer) {
                Err(answer::compressed(headers, &self.filter()))
            } else {
                Ok(())
            };
        }
        let error = TokenError::unusable_response(
            "the server reported success with a status other than 200 (RFC 6749 section 5.1)",
        );
        Err(if created {
            error.with_hint(hints::LENIENT)
        } else {
            error
        })
    }

    /// Returns the error that a successful response holds, if any.
    pub(crate) fn refusal_in_success(&self, wording: &Wording) -> Option<TokenError> {
        let filter = self.filter();
        let words = ServerMessage::from_answer(self.answer, &filter);
        matches!(words, ServerMessage::OAuth(_))
            .then(|| refusal::read(self.answer, &filter, wording))
    }

    /// Explains `error`, which is about a successful response without the expected content, with the response's own
    /// words.
    pub(crate) fn explain_success(&self, error: TokenError, wording: &Wording) -> TokenError {
        match ServerMessage::from_answer(self.answer, &self.filter()) {
            ServerMessage::OAuth(_) => refusal::read(self.answer, &self.filter(), wording),
            ServerMessage::Page(title) => web_page(title.as_deref()),
            ServerMessage::Vendor(message) => error.with_server_message(&message),
            ServerMessage::Nothing => error,
        }
    }

    fn redirected(&self, wording: &Wording) -> TokenError {
        let request = wording.endpoint.request;
        let target = redirect::target(self.answer, &self.filter());
        let message = format!("the server redirects {request}s to {target}");
        TokenError::configuration(message).with_hint(wording.endpoint.redirect_hint.clone())
    }
}

/// Returns the error for a web page with this title. It comes from an intermediary, and may not come back on the next
/// attempt.
pub(crate) fn web_page(title: Option<&str>) -> TokenError {
    let error = TokenError::unusable_response("the server answered with a web page, not with JSON")
        .with_hint(hints::WEB_PAGE)
        .with_transient(true);
    match title {
        Some(title) => error.with_server_message(title),
        None => error,
    }
}
