//! Client authentication, built from the settings.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use hallpass::{
    Secret, SecretError, SecretSource, async_trait, camall,
    endpoint::{
        BuildError, ClientAuthentication, ClientSecretBasic, ClientSecretPost, MutualTls,
        PublicClient,
    },
    jwt::{
        Algorithm, AssertionSettings, ClientSecretJwt, PrivateKeyJwt, SigningKey, WorkloadIdentity,
    },
};

use crate::{
    config::{Audience, AuthenticationSettings, SecretEncoding, SecretReference, Settings},
    failure::Failure,
};

/// Creates the client authentication, which reads the credential at each attempt; nothing is read yet.
pub(crate) fn client_authentication(
    settings: &Settings,
) -> Result<Arc<dyn ClientAuthentication>, Failure> {
    Ok(match &settings.authentication {
        AuthenticationSettings::ClientSecret { encoding, secret } => {
            let secret = open_secret(settings, "client_secret", secret)?;
            match encoding {
                Some(SecretEncoding::Post) => Arc::new(ClientSecretPost::new(secret)),
                Some(SecretEncoding::BasicRaw) => Arc::new(ClientSecretBasic::raw(secret)),
                Some(SecretEncoding::Basic) | None => Arc::new(ClientSecretBasic::new(secret)),
            }
        }
        AuthenticationSettings::ClientSecretJwt { secret } => {
            let secret = open_secret(settings, "client_secret", secret)?;
            Arc::new(ClientSecretJwt::new(assertion_settings(settings)?, secret))
        }
        AuthenticationSettings::PrivateKeyJwt {
            key_id, algorithm, ..
        } => {
            let text = open_private_key(settings)?;
            let algorithm = algorithm.as_deref().map(parse_algorithm).transpose()?;
            let (key_id, certified) = (key_id.clone(), has_certificate(settings));
            let named = locations(settings);
            let read = move |text: &str| {
                let key = parse_key(text, key_id.as_deref(), algorithm, certified);
                key.map_err(|error| with_location(error, &named))
            };
            Arc::new(PrivateKeyJwt::from_source(
                assertion_settings(settings)?,
                text,
                read,
            ))
        }
        AuthenticationSettings::WorkloadIdentity { assertion } => Arc::new(WorkloadIdentity::new(
            open_secret(settings, "assertion", assertion)?,
        )),
        AuthenticationSettings::MutualTls { .. } => Arc::new(client_certificate(settings)?),
        AuthenticationSettings::None => Arc::new(PublicClient::new()),
    })
}

/// Opens the certificate of a client that has one.
pub(crate) fn client_certificate(settings: &Settings) -> Result<MutualTls, Failure> {
    let AuthenticationSettings::MutualTls {
        certificate,
        key,
        self_signed,
        bound_tokens,
    } = &settings.authentication
    else {
        return Err(Failure::configuration("the client has no certificate"));
    };
    let certificate = open_secret(settings, "certificate", certificate)?;
    let mut tls = match key {
        Some(key) => MutualTls::from_pair(certificate, open_secret(settings, "private_key", key)?),
        None => MutualTls::new(certificate),
    };
    if *self_signed {
        tls = tls.self_signed();
    }
    Ok(if *bound_tokens {
        tls
    } else {
        tls.unbound_tokens()
    })
}

/// Builds camall.io's source, whose documentation supports client secrets only.
pub(super) fn camall_authentication(
    settings: &Settings,
) -> Result<(Option<camall::Authentication>, Arc<dyn SecretSource>), Failure> {
    let AuthenticationSettings::ClientSecret { encoding, secret } = &settings.authentication else {
        return Err(
            Failure::configuration("camall.io supports no client authentication method without a client secret")
                .with_remedy("set `client_secret`, and `authentication` to `client_secret_post` or `client_secret_basic`"),
        );
    };
    let encoding = encoding.map(|encoding| match encoding {
        SecretEncoding::Post => camall::Authentication::Post,
        SecretEncoding::Basic => camall::Authentication::Basic,
        SecretEncoding::BasicRaw => camall::Authentication::BasicRaw,
    });
    Ok((encoding, open_secret(settings, "client_secret", secret)?))
}

/// Opens the secret source that a reference names.
pub(crate) fn open_secret(
    settings: &Settings,
    setting: &str,
    reference: &SecretReference,
) -> Result<Arc<dyn SecretSource>, Failure> {
    let mut reference = reference.clone();
    if let Some(timeout) = settings.command_timeout {
        reference = reference.command_timeout(timeout);
    }
    if settings.danger_allow_http_on_loopback {
        reference = reference.danger_allow_http_on_loopback();
    }
    let source = reference.open();
    source.map_err(|error| Failure::configuration(format!("{setting}: {error}")))
}

/// Returns a source of the private key's text, followed by its certificate if that is stored separately.
pub(crate) fn open_private_key(settings: &Settings) -> Result<Arc<dyn SecretSource>, Failure> {
    let AuthenticationSettings::PrivateKeyJwt {
        key, certificate, ..
    } = &settings.authentication
    else {
        return Err(Failure::configuration("the client has no private key"));
    };
    let source = open_secret(settings, "private_key", key)?;
    Ok(match certificate {
        Some(certificate) if certificate != key => Arc::new(KeyWithCertificate {
            key: source,
            certificate: open_secret(settings, "certificate", certificate)?,
            last: Mutex::default(),
        }),
        _ => source,
    })
}

fn has_certificate(settings: &Settings) -> bool {
    let certificate = match &settings.authentication {
        AuthenticationSettings::PrivateKeyJwt { certificate, .. } => certificate.as_ref(),
        _ => None,
    };
    certificate.is_some()
}

/// A source that reads a private key and its certificate as one text.
struct KeyWithCertificate {
    key: Arc<dyn SecretSource>,
    certificate: Arc<dyn SecretSource>,
    last: Mutex<Option<[Secret; 3]>>,
}

#[async_trait]
impl SecretSource for KeyWithCertificate {
    async fn secret(&self) -> Result<Secret, SecretError> {
        let key = self.key.secret().await?;
        let certificate = self.certificate.secret().await?;
        let both = format!("{}{SEPARATOR}{}", key.expose(), certificate.expose());
        let both = Secret::new(both)?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some([both.clone(), key, certificate]);
        Ok(both)
    }

    fn epoch(&self) -> u64 {
        self.key.epoch().wrapping_add(self.certificate.epoch())
    }

    fn refused(&self, secret: &Secret) {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some([both, key, certificate]) = &*last
            && both.is_clone_of(secret)
        {
            self.key.refused(key);
            self.certificate.refused(certificate);
        }
    }
}

impl fmt::Debug for KeyWithCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyWithCertificate")
            .field("key", &self.key)
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// Parses the key in this text, as the settings describe it.
pub(crate) fn parse_signing_key(text: &str, settings: &Settings) -> Result<SigningKey, Failure> {
    let AuthenticationSettings::PrivateKeyJwt {
        key_id, algorithm, ..
    } = &settings.authentication
    else {
        return Err(Failure::configuration("the client has no private key"));
    };
    let algorithm = algorithm.as_deref().map(parse_algorithm).transpose()?;
    let certified = has_certificate(settings);
    let key = parse_key(text, key_id.as_deref(), algorithm, certified);
    Ok(key.map_err(|error| with_location(error, &locations(settings)))?)
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

fn parse_key(
    text: &str,
    key_id: Option<&str>,
    algorithm: Option<Algorithm>,
    certified: bool,
) -> Result<SigningKey, BuildError> {
    let (key, certificate) = text.split_once(SEPARATOR).unwrap_or((text, text));
    let key = parse_private_key(key)?;
    let key = match algorithm {
        Some(algorithm) => key.with_algorithm(algorithm)?,
        None => key,
    };
    let key = if certified {
        key.with_certificate(certificate)?
    } else {
        key
    };
    Ok(match key_id {
        Some(key_id) => key.with_key_id(key_id),
        // A JWK has its own `kid`, or none on purpose; a server that identifies certificates needs no other name.
        None if is_jwk(text) || certified => key,
        None => key.with_thumbprint_as_key_id(),
    })
}

/// The line between a private key and a certificate that is stored separately: damage to one is not seen in the other.
const SEPARATOR: &str = "\n# hallpass: the certificate of this key\n";

/// Extracts the private key from this text, a PEM or a JWK.
pub(crate) fn parse_private_key(text: &str) -> Result<SigningKey, BuildError> {
    if is_jwk(text) {
        SigningKey::from_jwk(text)
    } else {
        SigningKey::from_pem(text)
    }
}

fn is_jwk(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

fn parse_algorithm(name: &str) -> Result<Algorithm, Failure> {
    const ALL: [Algorithm; 5] = [
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::EdDsa,
        Algorithm::Ps256,
        Algorithm::Rs256,
    ];
    let known = ALL.into_iter();
    let mut fit = known.filter(|known| known.name().eq_ignore_ascii_case(name));
    fit.next().ok_or_else(|| {
        Failure::configuration(
            "`algorithm` must be one of `ES256`, `ES384`, `EdDSA`, `PS256` and `RS256`",
        )
    })
}

fn assertion_settings(settings: &Settings) -> Result<AssertionSettings, Failure> {
    Ok(match &settings.audience {
        Audience::Issuer(issuer) => AssertionSettings::new(issuer)?,
        Audience::Discovered => AssertionSettings::for_discovered_issuer(),
        Audience::TokenEndpoint => {
            AssertionSettings::for_discovered_issuer().danger_token_endpoint_as_audience()
        }
    })
}
