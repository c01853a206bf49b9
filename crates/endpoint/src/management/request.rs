//! The requests for issued tokens.

use async_trait::async_trait;
use hallpass_core::{AccessToken, TokenError};

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
    missing: "there is no introspection endpoint at this address",
    refused: "the server refused the introspection request",
    address_hint: &hints::INTROSPECTION_ENDPOINT,
    redirect_hint: &hints::MANAGEMENT_REDIRECT,
};
const INTROSPECTION: Wording = Wording::of_the_client(INTROSPECTION_ENDPOINT, "");

const REVOCATION_ENDPOINT: EndpointWording = EndpointWording {
    request: "revocation request",
    missing: "there is no revocation endpoint at this address",
    refused: "the server refused the revocation request",
    address_hint: &hints::REVOCATION_ENDPOINT,
    redirect_hint: &hints::MANAGEMENT_REDIRECT,
};
const REVOCATION: Wording = Wording::of_the_client(REVOCATION_ENDPOINT, "");

/// An introspection of an access token (RFC 7662 section 2.1).
pub(super) struct Introspect<'a> {
    pub(super) token: &'a AccessToken,
}

/// A revocation of a token of the type that the hint names (RFC 7009 section 2.1).
pub(super) struct Revoke<T> {
    pub(super) token: T,
    pub(super) hint: &'static str,
}

fn form(token: Input, hint: &str) -> Form {
    let pairs = [("token_type_hint", hint), ("token", token.expose())];
    Form::new(encoding::parameters(&pairs), vec![token])
}

#[async_trait]
impl ServerRequest for Introspect<'_> {
    type Output = Introspection;

    fn wording(&self) -> Wording {
        INTROSPECTION
    }

    fn check(&self, addresses: &ServerAddresses) -> Result<(), TokenError> {
        addresses.require(ManagementEndpoint::Introspection)
    }

    fn address<'a>(
        &self,
        addresses: &'a ServerAddresses,
        with_certificate: bool,
    ) -> Result<&'a Address, TokenError> {
        addresses.address_for(ManagementEndpoint::Introspection, with_certificate)
    }

    async fn form(&self, _: &AuthenticationContext<'_>) -> Result<Form, TokenError> {
        Ok(form(Input::Token(self.token.clone()), "access_token"))
    }

    async fn read(&self, reply: &Reply<'_>) -> Result<Introspection, TokenError> {
        reply.check_success(&INTROSPECTION, false)?;
        Introspection::read(&reply.answer.body)
    }
}

#[async_trait]
impl<T: Fn() -> Input + Send + Sync> ServerRequest for Revoke<T> {
    type Output = ();

    fn wording(&self) -> Wording {
        REVOCATION
    }

    fn check(&self, addresses: &ServerAddresses) -> Result<(), TokenError> {
        addresses.require(ManagementEndpoint::Revocation)
    }

    fn address<'a>(
        &self,
        addresses: &'a ServerAddresses,
        with_certificate: bool,
    ) -> Result<&'a Address, TokenError> {
        addresses.address_for(ManagementEndpoint::Revocation, with_certificate)
    }

    async fn form(&self, _: &AuthenticationContext<'_>) -> Result<Form, TokenError> {
        Ok(form((self.token)(), self.hint))
    }

    async fn read(&self, reply: &Reply<'_>) -> Result<(), TokenError> {
        reply.check_success(&REVOCATION, false)
    }
}
