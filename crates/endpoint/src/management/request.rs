//! The requests for issued tokens.

use async_trait::async_trait;
use hallpass_core::{AccessToken, TokenError};
use http::{HeaderValue, header};

use super::introspection::Introspection;
use crate::{
    AuthenticationContext, encoding,
    exchange::{
        form::{Form, Input},
        request::{Reply, ServerRequest},
    },
    hints,
    response::wording::{EndpointWording, Wording},
    server::{
        address::Address,
        addresses::{ManagementEndpoint, ServerAddresses},
    },
};

const INTROSPECTION_ENDPOINT: EndpointWording = EndpointWording {
    request: "introspection request",
    missing: "no introspection endpoint at this address",
    refused: "the server refused the introspection request",
    unavailable: "the server temporarily cannot introspect tokens",
    setting: "Endpoint::with_introspection_endpoint",
    address_hint: &hints::INTROSPECTION_ENDPOINT,
    redirect_hint: &hints::MANAGEMENT_REDIRECT,
};
static INTROSPECTION: Wording = Wording::for_client(INTROSPECTION_ENDPOINT, "");

const REVOCATION_ENDPOINT: EndpointWording = EndpointWording {
    request: "revocation request",
    missing: "no revocation endpoint at this address",
    refused: "the server refused the revocation request",
    unavailable: "the server temporarily cannot revoke tokens",
    setting: "Endpoint::with_revocation_endpoint",
    address_hint: &hints::REVOCATION_ENDPOINT,
    redirect_hint: &hints::MANAGEMENT_REDIRECT,
};
static REVOCATION: Wording = Wording::for_client(REVOCATION_ENDPOINT, "");

const SIGNED: HeaderValue = HeaderValue::from_static("application/token-introspection+jwt");

/// A request about an issued token.
pub(super) struct ManagementRequest<O> {
    wording: &'static Wording,
    endpoint: ManagementEndpoint,
    token: Input,
    /// The `token_type_hint`.
    hint: &'static str,
    /// The media type of a signed response.
    accept: Option<HeaderValue>,
    read: fn(&Reply<'_>, &Wording) -> Result<O, TokenError>,
}

impl ManagementRequest<Introspection> {
    /// Creates an introspection of an access token (RFC 7662 section 2.1).
    pub(super) fn introspection(token: &AccessToken) -> Self {
        Self {
            wording: &INTROSPECTION,
            endpoint: ManagementEndpoint::Introspection,
            token: Input::Token(token.clone()),
            hint: "access_token",
            accept: None,
            read: |reply, wording| {
                reply.check_success(wording, false)?;
                Introspection::read(&reply.answer.body)
                    .map_err(|error| reply.explain_success(error, wording))
            },
        }
    }
}

impl ManagementRequest<String> {
    /// Creates an introspection with a signed response (RFC 9701 section 4), which is not verified yet. Any other
    /// response is refused: it could come from anyone between the server and this client.
    pub(super) fn signed_introspection(token: &AccessToken) -> Self {
        Self {
            wording: &INTROSPECTION,
            endpoint: ManagementEndpoint::Introspection,
            token: Input::Token(token.clone()),
            hint: "access_token",
            accept: Some(SIGNED),
            read: |reply, wording| {
                reply.check_success(wording, false)?;
                let media_type = reply.answer.headers.get(header::CONTENT_TYPE);
                let media_type = media_type.and_then(|value| value.to_str().ok());
                let essence = media_type.and_then(|value| value.split(';').next());
                let signed = essence.is_some_and(|essence| {
                    essence
                        .trim()
                        .eq_ignore_ascii_case("application/token-introspection+jwt")
                });
                let text = std::str::from_utf8(&reply.answer.body).ok();
                text.filter(|_| signed).map(str::to_owned).ok_or_else(|| {
                    let error = TokenError::unusable_response(
                        "the response is not signed, although a signed one is required (RFC 9701)",
                    );
                    let error = error.with_hint(
                        "register this client at the server for signed introspection responses (RFC 9701 section 6); or do not require them",
                    );
                    reply.explain_success(error, wording)
                })
            },
        }
    }
}

impl ManagementRequest<()> {
    /// Creates a revocation of a token of the type that the hint names (RFC 7009 section 2.1).
    pub(super) fn revocation(token: Input, hint: &'static str) -> Self {
        Self {
            wording: &REVOCATION,
            endpoint: ManagementEndpoint::Revocation,
            token,
            hint,
            accept: None,
            // The content of a successful response has no meaning (RFC 7009 section 2.2), unless it is an error. Neither
            // do its compression and its status, if that is 2xx.
            read: |reply, wording| {
                reply.check_status(wording)?;
                reply.refusal_in_success(wording).map_or(Ok(()), Err)
            },
        }
    }
}

#[async_trait]
impl<O: Send> ServerRequest for ManagementRequest<O> {
    type Output = O;

    const IDEMPOTENT: bool = true;

    fn wording(&self) -> Wording {
        *self.wording
    }

    fn check(&self, addresses: &ServerAddresses) -> Result<(), TokenError> {
        addresses.require(self.endpoint)
    }

    fn address<'a>(
        &self,
        addresses: &'a ServerAddresses,
        with_certificate: bool,
    ) -> Result<&'a Address, TokenError> {
        addresses.address_for(self.endpoint, with_certificate)
    }

    fn accept(&self) -> Option<HeaderValue> {
        self.accept.clone()
    }

    async fn form(&self, _: &AuthenticationContext<'_>) -> Result<Form, TokenError> {
        let pairs = [
            ("token_type_hint", self.hint),
            ("token", self.token.expose()),
        ];
        Ok(Form::new(
            encoding::parameters(&pairs),
            vec![self.token.clone()],
        ))
    }

    async fn read(&self, reply: &Reply<'_>) -> Result<O, TokenError> {
        (self.read)(reply, self.wording)
    }
}
