//! The wording of errors about the requests of one kind.

use hallpass_core::Hint;

use crate::hints;

/// The wording of errors about the requests of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Wording {
    /// The endpoint that receives them.
    pub(crate) endpoint: EndpointWording,
    /// The grant's name at servers, for hints; empty for a request about a token.
    pub(crate) grant: &'static str,
    /// The input of the form, for errors.
    pub(crate) input: &'static str,
    /// The error codes with which a server refuses the input, which counts as a credential then.
    pub(crate) input_refusals: &'static [&'static str],
    /// The message of such a refusal, and its hint.
    pub(crate) input_refused: &'static str,
    pub(crate) input_hint: &'static str,
}

/// The wording of errors about an endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndpointWording {
    /// One of its requests.
    pub(crate) request: &'static str,
    /// The message for a wrong address.
    pub(crate) missing: &'static str,
    /// The message for a refused request.
    pub(crate) refused: &'static str,
    /// The message for a request that the server cannot process now.
    pub(crate) unavailable: &'static str,
    /// The setting of its address.
    pub(crate) setting: &'static str,
    /// The hint for a wrong address.
    pub(crate) address_hint: &'static Hint,
    /// The hint for a redirect.
    pub(crate) redirect_hint: &'static Hint,
}

/// The token endpoint.
pub(crate) const TOKEN_ENDPOINT: EndpointWording = EndpointWording {
    request: "token request",
    missing: "no token endpoint at this address",
    refused: "the server refused the token request",
    unavailable: "the server temporarily cannot issue tokens",
    setting: "token_endpoint",
    address_hint: &hints::TOKEN_ENDPOINT,
    redirect_hint: &hints::REDIRECT,
};

impl Wording {
    /// Creates the wording of requests without an input besides the client's credentials.
    pub(crate) const fn for_client(endpoint: EndpointWording, grant: &'static str) -> Self {
        Self {
            endpoint,
            grant,
            input: endpoint.request,
            input_refusals: &[],
            input_refused: "",
            input_hint: "",
        }
    }

    /// Returns true if the requests are about an issued token, and not for one.
    pub(crate) fn is_about_token(&self) -> bool {
        self.grant.is_empty()
    }

    /// Returns true if the server refused the request's own input (such as an assertion), not the client.
    pub(crate) fn is_input_refused(&self, error: &hallpass_core::TokenError) -> bool {
        let code = error.oauth_error().map(hallpass_core::OAuthError::code);
        code.is_some_and(|code| self.input_refusals.contains(&code))
    }
}
