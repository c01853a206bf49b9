//! The requirements of a security profile for the credentials of one attempt, also if another crate makes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hallpass_core::TokenError;
use serde::Deserialize;
use serde_json::Value;

use super::{
    context::AuthenticationContext,
    credentials::{Credentials, Presentation},
};
use crate::{Metadata, Requirement, SecurityProfile, security_profile::jws::Jws};

/// The longest lifetime of an assertion from now on. The specification requires a short one without a number.
const MAX_LIFETIME: Duration = Duration::from_secs(300);
/// The longest time in the future from which servers accept an assertion (FAPI 2.0 Security Profile, section 5.3.2.1).
const MAX_AHEAD: Duration = Duration::from_secs(10);

/// Checks the credentials of one attempt before they are sent.
///
/// `bind`: the tokens of the request must be bound to the certificate, since no DPoP proof binds them.
///
/// # Errors
///
/// A [`TokenError`] of kind [`Configuration`](hallpass_core::ErrorKind::Configuration) that names the section.
pub(crate) fn check(
    profile: SecurityProfile,
    credentials: &Credentials,
    context: &AuthenticationContext<'_>,
    bind: bool,
    now: SystemTime,
) -> Result<(), TokenError> {
    let Presentation::Parameters(parameters) = &credentials.presentation else {
        return Err(profile.violated(
            "the credentials are an `Authorization` header",
            &Requirement::METHODS,
        ));
    };
    let mut assertion = None;
    for (name, value) in parameters {
        match *name {
            "client_assertion" if assertion.is_none() => assertion = Some(value),
            "client_id" | "client_assertion_type" => {}
            _ => {
                let fault = format!("the credentials have the parameter `{name}`");
                return Err(profile.violated(&fault, &Requirement::METHODS));
            }
        }
    }
    match assertion {
        // `build` does not see it if another implementation wraps the method.
        Some(_) if credentials.provenance().repeatable => {
            return Err(
                profile.violated("the assertion may be sent again", &Requirement::ASSERTIONS)
            );
        }
        Some(assertion) => check_assertion(profile, assertion, context, now)?,
        None if credentials.identity().is_some() => {}
        None => {
            let fault = "the credentials are neither an assertion nor a certificate";
            return Err(profile.violated(fault, &Requirement::METHODS));
        }
    }
    if bind {
        check_binding(profile, credentials, context)?;
    }
    Ok(())
}

fn check_binding(
    profile: SecurityProfile,
    credentials: &Credentials,
    context: &AuthenticationContext<'_>,
) -> Result<(), TokenError> {
    if credentials.binding().is_none() {
        let fault = "the token would be bound neither to a key nor to a certificate";
        return Err(profile.violated(fault, &Requirement::CONSTRAINED));
    }
    if !context
        .metadata()
        .is_some_and(Metadata::binds_tokens_to_certificates)
    {
        let fault = "the server's metadata does not have `tls_client_certificate_bound_access_tokens`, so that the token may be bound to nothing";
        return Err(profile.violated(fault, &Requirement::CONSTRAINED));
    }
    Ok(())
}

/// The claims of an assertion that the profile restricts.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Value,
    jti: String,
    exp: u64,
    iat: Option<u64>,
    nbf: Option<u64>,
}

fn check_assertion(
    profile: SecurityProfile,
    assertion: &str,
    context: &AuthenticationContext<'_>,
    now: SystemTime,
) -> Result<(), TokenError> {
    let odd =
        |fault: &str| profile.violated(&format!("the assertion {fault}"), &Requirement::ASSERTIONS);
    let jws = Jws::read(assertion).ok_or_else(|| odd("is not a signed JWT"))?;
    jws.check(profile, "assertion")?;
    let claims: Claims = serde_json::from_slice(&jws.payload).map_err(|_| {
        odd("does not have `iss`, `sub`, `aud`, `jti` and `exp` once each, or not in their types")
    })?;
    let issuer = context.metadata().map(Metadata::issuer);
    if issuer.is_none() || claims.aud.as_str() != issuer {
        let fault = "the audience of the assertion is another than the issuer identifier";
        return Err(profile.violated(fault, &Requirement::AUDIENCE));
    }
    if claims.jti.is_empty() {
        return Err(odd("has an empty `jti`"));
    }
    if [claims.iss, claims.sub] != [context.client_id(); 2] {
        return Err(odd("names another issuer or subject than the `client_id`"));
    }
    let at = |seconds: u64| UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    if at(claims.exp).is_none_or(|end| end <= now || end > now + MAX_LIFETIME) {
        return Err(odd("expires at once, or later than in 5 minutes"));
    }
    let starts = [claims.iat, claims.nbf].into_iter().flatten();
    if starts
        .map(at)
        .any(|start| start.is_none_or(|start| start > now + MAX_AHEAD))
    {
        return Err(odd("is dated more than 10 seconds ahead"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
