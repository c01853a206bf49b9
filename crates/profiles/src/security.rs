//! Settings that a security profile excludes; `issuer` checks those of the server.

use hallpass_endpoint::{BuildError, Requirement};

use crate::{audience::Audience, error::ProfileError, format::FormatSettings, settings::Settings};

/// Refuses settings that are weaker than their security profile, if they have one. The source checks them again when it is built; this is without
/// I/O, and names the settings of profiles.
pub(crate) fn check(settings: &Settings) -> Result<(), ProfileError> {
    let Some(profile) = settings.security_profile else {
        return Ok(());
    };
    let with_hint = |error: BuildError, hint: &'static str| Err(error.with_hint(hint).into());
    let format = settings.format.as_deref().into_iter();
    let mut formats = format.flat_map(FormatSettings::names);
    // A header is added to a request of OAuth, and changes nothing in it.
    let format = formats.find(|name| *name != "request_headers");
    let excluded = [
        (
            settings.danger_allow_http_on_loopback,
            "danger_allow_http_on_loopback",
            "plain HTTP is allowed",
            Requirement::TLS,
        ),
        (
            settings.audience == Audience::TokenEndpoint,
            "danger_token_endpoint_as_audience",
            "the audience of assertions is the token endpoint",
            Requirement::AUDIENCE,
        ),
        (
            settings.lenient_responses,
            "lenient_responses",
            "responses that deviate from RFC 6749 are accepted",
            Requirement::OAUTH,
        ),
        (
            format.is_some(),
            format.unwrap_or_default(),
            "requests or responses deviate from RFC 6749",
            Requirement::OAUTH,
        ),
    ];
    if let Some((_, setting, fault, requirement)) = excluded.iter().find(|(is_set, ..)| *is_set) {
        let error = profile.excludes(setting, fault, requirement);
        return with_hint(error, "remove one of the two");
    }
    let authentication = &settings.authentication;
    let (method, algorithm) = authentication.method();
    // The setting's case is ignored, as where a key is read.
    let algorithm = algorithm.map(|algorithm| match algorithm.to_ascii_uppercase() {
        eddsa if eddsa == "EDDSA" => "EdDSA".to_owned(),
        other => other,
    });
    if let Err(error) = profile.check_method(method, algorithm.as_deref()) {
        let hint = if method.is_some_and(|method| profile.allows_method(method)) {
            "set `algorithm` to `PS256` for an RSA key, or use a key on P-256 or Ed25519"
        } else {
            "set `private_key` or `certificate` instead, and register it at the server"
        };
        return with_hint(error, hint);
    }
    if settings.dpop.is_none() && !authentication.binds_tokens() {
        let fault = "it is not set, and no certificate binds the tokens";
        let error = profile.excludes("dpop", fault, &Requirement::CONSTRAINED);
        return with_hint(
            error,
            "generate a key with `hallpass keygen`, and set `dpop` to a reference to it",
        );
    }
    Ok(())
}
