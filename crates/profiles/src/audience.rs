//! The audience of the client's assertions, as the settings choose it.

use std::path::PathBuf;

use crate::{
    authentication::AuthenticationSettings, error::ProfileError, missing::missing_setting,
    server::ServerAddress, unit::ServerUnit,
};

/// The audience of the client's assertions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Audience {
    /// This issuer.
    Issuer(String),
    /// Another text, which the server documents.
    Other(String),
    /// The issuer found by discovery.
    Discovered,
    /// The URL of the token endpoint.
    TokenEndpoint,
}

/// Returns the audience that the settings name: by default the issuer.
pub(crate) fn audience(
    unit: &ServerUnit,
    address: &ServerAddress,
    authentication: &AuthenticationSettings,
    file: Option<&PathBuf>,
) -> Result<Audience, ProfileError> {
    let chosen = unit
        .assertion
        .as_deref()
        .and_then(|set| set.audience.as_deref());
    let is_endpoint = unit.danger_token_endpoint_as_audience.unwrap_or(false);
    if chosen.is_some() && is_endpoint {
        return Err(ProfileError::new(
            "both `assertion_audience` and `danger_token_endpoint_as_audience` set the audience of assertions",
        )
        .with_hint("remove one of them"));
    }
    if is_endpoint {
        return Ok(Audience::TokenEndpoint);
    }
    match (chosen, &unit.issuer, address) {
        (None | Some("issuer"), Some(issuer), _) => Ok(Audience::Issuer(issuer.clone())),
        // A URL that the operator chose: metadata cannot replace it.
        (Some("token_endpoint"), _, ServerAddress::TokenEndpoint(url)) => {
            Ok(Audience::Other(url.clone()))
        }
        (Some("token_endpoint"), ..) => Err(ProfileError::new(
            "`assertion_audience` is `token_endpoint`, but the token endpoint is not set",
        )
        .with_hint(
            "set `token_endpoint`; with a discovered one, a hostile server could obtain assertions for another: `danger_token_endpoint_as_audience` allows that",
        )),
        (Some("issuer"), None, _) => Err(missing_issuer(file)),
        (Some(text), ..) => Ok(Audience::Other(text.to_owned())),
        // A registered provider may discover the issuer, or sign nothing.
        (None, None, ServerAddress::OfProvider) => Ok(Audience::Discovered),
        (None, None, _) if authentication.signs_assertions() => Err(missing_issuer(file)),
        (None, None, _) => Ok(Audience::Discovered),
    }
}

fn missing_issuer(file: Option<&PathBuf>) -> ProfileError {
    missing_setting(
        "the issuer, the audience of the client's assertions,",
        "`issuer` as in the server's metadata, or `assertion_audience` as in its documentation,",
        "`HALLPASS_ISSUER`",
        file,
    )
}
