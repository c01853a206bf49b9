//! The server of a security profile: an issuer whose metadata is discovered, and which is the audience of assertions.

use hallpass_endpoint::{Requirement, SecurityProfile};

use crate::{
    error::ProfileError,
    server::{Server, ServerAddress},
};

/// Refuses another address than that of an issuer, and another audience. This precedes the checks of other settings,
/// whose hints would name settings that the profile excludes.
pub(crate) fn check(
    profile: SecurityProfile,
    server: Server,
    address: &ServerAddress,
    audience: Option<&str>,
) -> Result<(), ProfileError> {
    if let ServerAddress::TokenEndpoint(_) = address {
        let setting = match server {
            Server::Any | Server::Registered => "token_endpoint",
            Server::Camall | Server::Preset(_) => "provider",
        };
        let fault = "the address of the server is set";
        let error = profile.excludes(setting, fault, &Requirement::METADATA);
        return Err(error.with_hint("set `issuer` in its place").into());
    }
    if audience.is_some_and(|audience| audience != "issuer") {
        let fault = "the audience of assertions is another text than the issuer";
        let error = profile.excludes("assertion_audience", fault, &Requirement::AUDIENCE);
        return Err(error.with_hint("remove one of the two").into());
    }
    Ok(())
}
