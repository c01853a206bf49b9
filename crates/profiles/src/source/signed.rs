//! Client authentication by signed assertions.

use std::sync::Arc;

use hallpass_core::SecretSource;
use hallpass_endpoint::{BuildError, ClientAuthentication, SecurityProfile};
use hallpass_jwt::{
    Algorithm, AssertionSettings, ClientSecretJwt, PrivateKeyJwt, Signer as _, SigningKey,
    WorkloadIdentity,
};

use super::key_with_certificate::SEPARATOR;
#[cfg(not(feature = "unstable-spiffe"))]
use super::not_built::not_built;
use crate::{
    audience::Audience, authentication::AuthenticationSettings, error::ProfileError,
    settings::Settings,
};

pub(crate) fn client_secret_jwt(
    settings: &Settings,
    secret: Arc<dyn SecretSource>,
) -> Result<Arc<dyn ClientAuthentication>, ProfileError> {
    Ok(Arc::new(ClientSecretJwt::new(
        assertion_settings(settings)?,
        secret,
    )))
}

/// Creates the method from a source of the key's text, followed by its certificate if there is one.
pub(crate) fn private_key_jwt(
    settings: &Settings,
    text: Arc<dyn SecretSource>,
) -> Result<Arc<dyn ClientAuthentication>, ProfileError> {
    let description = KeyDescription::new(settings)?;
    let named = locations(settings);
    let read = move |text: &str| {
        let key = description.parse(text);
        key.map_err(|error| with_location(error, &named))
    };
    Ok(Arc::new(PrivateKeyJwt::from_source(
        assertion_settings(settings)?,
        text,
        read,
    )))
}

#[allow(clippy::unnecessary_wraps)] // As without the feature.
pub(crate) fn workload_identity(
    assertion: Arc<dyn SecretSource>,
) -> Result<Arc<dyn ClientAuthentication>, ProfileError> {
    Ok(Arc::new(WorkloadIdentity::new(assertion)))
}

#[cfg(feature = "unstable-spiffe")]
#[allow(clippy::unnecessary_wraps)] // As without the feature.
pub(crate) fn spiffe_jwt(
    svid: Arc<dyn SecretSource>,
) -> Result<Arc<dyn ClientAuthentication>, ProfileError> {
    Ok(Arc::new(hallpass_jwt::SpiffeJwt::new(svid)))
}

#[cfg(not(feature = "unstable-spiffe"))]
pub(crate) fn spiffe_jwt(
    _: Arc<dyn SecretSource>,
) -> Result<Arc<dyn ClientAuthentication>, ProfileError> {
    Err(not_built("spiffe_jwt", "unstable-spiffe"))
}

/// The settings of a private key.
struct KeyDescription {
    key_id: Option<String>,
    algorithm: Option<Algorithm>,
    has_certificate: bool,
    send_chain: bool,
    profile: Option<SecurityProfile>,
}

impl KeyDescription {
    fn new(settings: &Settings) -> Result<Self, ProfileError> {
        let AuthenticationSettings::PrivateKeyJwt {
            key_id,
            algorithm,
            certificate,
            send_chain,
            ..
        } = &settings.authentication
        else {
            return Err(ProfileError::new("the client has no private key"));
        };
        Ok(Self {
            key_id: key_id.clone(),
            algorithm: algorithm.as_deref().map(parse_algorithm).transpose()?,
            has_certificate: certificate.is_some(),
            send_chain: *send_chain,
            profile: settings.security_profile,
        })
    }

    fn parse(&self, text: &str) -> Result<SigningKey, BuildError> {
        let (key, certificate) = text.split_once(SEPARATOR).unwrap_or((text, text));
        let key = parse_key_of_set(key, self.key_id.as_deref())?;
        let key = match self.algorithm {
            Some(algorithm) => key.with_algorithm(algorithm)?,
            // The other algorithm of an RSA key, if only that one is allowed.
            None if self.profile.is_some() && key.algorithm() == Algorithm::Rs256 => {
                key.with_algorithm(Algorithm::Ps256)?
            }
            None => key,
        };
        let key = match (self.has_certificate, self.send_chain) {
            (true, true) => key.with_certificate_chain(certificate)?,
            (true, false) => key.with_certificate(certificate)?,
            (false, _) => key,
        };
        Ok(match &self.key_id {
            Some(key_id) => key.with_key_id(key_id),
            // A JWK has its own `kid`, or none on purpose; a server that identifies certificates needs no other name.
            None if is_jwk(text) || self.has_certificate => key,
            None => key.with_thumbprint_as_key_id(),
        })
    }
}

impl Settings {
    /// Parses the private key in this text, as the settings describe it.
    ///
    /// # Errors
    ///
    /// A [`ProfileError`] if the client has no private key, or the text contains none that fits.
    pub fn parse_signing_key(&self, text: &str) -> Result<SigningKey, ProfileError> {
        let key = KeyDescription::new(self)?.parse(text);
        Ok(key.map_err(|error| with_location(error, &locations(self)))?)
    }
}

/// The settings of a private key and its certificate, by the names in the library's errors, and their references.
type Locations = Vec<(&'static str, &'static str, String)>;

fn locations(settings: &Settings) -> Locations {
    let AuthenticationSettings::PrivateKeyJwt {
        key, certificate, ..
    } = &settings.authentication
    else {
        return Vec::new();
    };
    let key = ("key", "private_key", key.to_string());
    let certificate = certificate.as_ref().map(ToString::to_string);
    let certificate = certificate.map(|certificate| ("certificate", "certificate", certificate));
    [key].into_iter().chain(certificate).collect()
}

/// Names the setting and the reference of the text with the error.
fn with_location(error: BuildError, locations: &Locations) -> BuildError {
    let known = locations.iter().find(|(name, ..)| *name == error.setting());
    match known {
        Some((_, setting, reference)) => {
            BuildError::new(setting, format!("`{reference}`: {}", error.message()))
        }
        None => error,
    }
}

/// Parses the private key in this text: a PEM, a JWK, or a JWK set with one private key.
///
/// # Errors
///
/// A [`BuildError`] if the text contains none, or several.
pub fn parse_private_key(text: &str) -> Result<SigningKey, BuildError> {
    parse_key_of_set(text, None)
}

/// Parses the private key in this text; `key_id` chooses it in a JWK set.
fn parse_key_of_set(text: &str, key_id: Option<&str>) -> Result<SigningKey, BuildError> {
    if is_jwk(text) {
        SigningKey::from_jwk_set(text, key_id)
    } else {
        SigningKey::from_pem(text)
    }
}

fn is_jwk(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

fn parse_algorithm(name: &str) -> Result<Algorithm, ProfileError> {
    let known = Algorithm::ALL.iter().copied();
    let mut fit = known.filter(|known| known.name().eq_ignore_ascii_case(name));
    fit.next().ok_or_else(|| {
        ProfileError::new(
            "`algorithm` must be one of `ES256`, `ES384`, `EdDSA`, `PS256` and `RS256`",
        )
    })
}

fn assertion_settings(settings: &Settings) -> Result<AssertionSettings, ProfileError> {
    let renamed = |setting: &'static str| {
        move |error: BuildError| BuildError::new(setting, error.message().to_owned())
    };
    let chosen = match &settings.audience {
        Audience::Issuer(issuer) => AssertionSettings::new(issuer)?,
        Audience::Other(text) => {
            AssertionSettings::for_audience(text).map_err(renamed("assertion_audience"))?
        }
        Audience::Discovered => AssertionSettings::for_discovered_issuer(),
        Audience::TokenEndpoint => {
            AssertionSettings::for_discovered_issuer().danger_token_endpoint_as_audience()
        }
    };
    Ok(match &settings.assertion_typ {
        Some(typ) => chosen.typ(typ).map_err(renamed("assertion_typ"))?,
        None => chosen,
    })
}
