//! Client authentication, built from the settings.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use hallpass::{
    Secret, camall,
    core::{SecretError, SecretSource, async_trait},
    endpoint::{
        BuildError, ClientAuthentication, ClientSecretBasic, ClientSecretPost, MutualTls,
        PublicClient,
    },
    jwt::{
        Algorithm, AssertionSettings, ClientSecretJwt, PrivateKeyJwt, SigningKey, WorkloadIdentity,
    },
};

use crate::{
    config::{Audience, Proof, SecretReference, Sent, Settings},
    failure::Failure,
};

/// Creates the client authentication, which reads the credential at each attempt; nothing is read yet.
pub(crate) fn authentication(
    settings: &Settings,
) -> Result<Arc<dyn ClientAuthentication>, Failure> {
    Ok(match &settings.proof {
        Proof::Secret { way, secret } => {
            let secret = open(settings, "client_secret", secret)?;
            match way {
                Some(Sent::Form) => Arc::new(ClientSecretPost::new(secret)),
                Some(Sent::RawBasic) => Arc::new(ClientSecretBasic::raw(secret)),
                Some(Sent::Basic) | None => Arc::new(ClientSecretBasic::new(secret)),
            }
        }
        Proof::SecretJwt { secret } => {
            let secret = open(settings, "client_secret", secret)?;
            Arc::new(ClientSecretJwt::new(assertions(settings)?, secret))
        }
        Proof::Key {
            key_id, algorithm, ..
        } => {
            let text = open_key(settings)?;
            let algorithm = algorithm.as_deref().map(known_algorithm).transpose()?;
            let (key_id, certified) = (key_id.clone(), has_certificate(settings));
            let read = move |text: &str| key_of(text, key_id.as_deref(), algorithm, certified);
            Arc::new(PrivateKeyJwt::from_source(
                assertions(settings)?,
                text,
                read,
            ))
        }
        Proof::Workload { assertion } => Arc::new(WorkloadIdentity::new(open(
            settings,
            "assertion",
            assertion,
        )?)),
        Proof::Certificate { .. } => Arc::new(certificate(settings)?),
        Proof::Nothing => Arc::new(PublicClient::new()),
    })
}

/// Opens the certificate of a client that has one.
pub(crate) fn certificate(settings: &Settings) -> Result<MutualTls, Failure> {
    let Proof::Certificate {
        certificate,
        key,
        self_signed,
        bound_tokens,
    } = &settings.proof
    else {
        return Err(Failure::configuration("the client has no certificate"));
    };
    let certificate = open(settings, "certificate", certificate)?;
    let mut how = match key {
        Some(key) => MutualTls::from_pair(certificate, open(settings, "private_key", key)?),
        None => MutualTls::new(certificate),
    };
    if *self_signed {
        how = how.self_signed();
    }
    Ok(if *bound_tokens {
        how
    } else {
        how.unbound_tokens()
    })
}

/// Builds camall.io's source, whose documentation supports client secrets only.
pub(super) fn of_camall(
    settings: &Settings,
) -> Result<(Option<camall::Authentication>, Arc<dyn SecretSource>), Failure> {
    let Proof::Secret { way, secret } = &settings.proof else {
        return Err(
            Failure::configuration("camall.io takes client secrets, and no other proof")
                .with_remedy("set `client_secret`, and `authentication` to `form` or `basic`"),
        );
    };
    let way = way.map(|way| match way {
        Sent::Form => camall::Authentication::Form,
        Sent::Basic => camall::Authentication::Basic,
        Sent::RawBasic => camall::Authentication::RawBasic,
    });
    Ok((way, open(settings, "client_secret", secret)?))
}

/// Opens the secret source that a reference names.
pub(crate) fn open(
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
pub(crate) fn open_key(settings: &Settings) -> Result<Arc<dyn SecretSource>, Failure> {
    let Proof::Key {
        key, certificate, ..
    } = &settings.proof
    else {
        return Err(Failure::configuration("the client has no private key"));
    };
    let source = open(settings, "private_key", key)?;
    Ok(match certificate {
        Some(certificate) if certificate != key => Arc::new(KeyWithCertificate {
            key: source,
            certificate: open(settings, "certificate", certificate)?,
            last: Mutex::default(),
        }),
        _ => source,
    })
}

fn has_certificate(settings: &Settings) -> bool {
    let certificate = match &settings.proof {
        Proof::Key { certificate, .. } => certificate.as_ref(),
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
        let both = Secret::new(format!("{}\n{}", key.expose(), certificate.expose()))?;
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
pub(crate) fn key(text: &str, settings: &Settings) -> Result<SigningKey, Failure> {
    let Proof::Key {
        key_id, algorithm, ..
    } = &settings.proof
    else {
        return Err(Failure::configuration("the client has no private key"));
    };
    let algorithm = algorithm.as_deref().map(known_algorithm).transpose()?;
    let certified = has_certificate(settings);
    Ok(key_of(text, key_id.as_deref(), algorithm, certified)?)
}

fn key_of(
    text: &str,
    key_id: Option<&str>,
    algorithm: Option<Algorithm>,
    certified: bool,
) -> Result<SigningKey, BuildError> {
    // A JWK is the whole text.
    let (jwk, certificate) = match text.find(CERTIFICATE) {
        Some(at) if is_jwk(text) => text.split_at(at),
        _ => (text, text),
    };
    let key = read_key(jwk)?;
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

/// The first line of a PEM certificate.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE";

/// Extracts the private key from this text, a PEM or a JWK.
pub(crate) fn read_key(text: &str) -> Result<SigningKey, BuildError> {
    if is_jwk(text) {
        SigningKey::from_jwk(text)
    } else {
        SigningKey::from_pem(text)
    }
}

fn is_jwk(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

fn known_algorithm(name: &str) -> Result<Algorithm, Failure> {
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
            "`algorithm` is none of `ES256`, `ES384`, `EdDSA`, `PS256` and `RS256`",
        )
    })
}

fn assertions(settings: &Settings) -> Result<AssertionSettings, Failure> {
    Ok(match &settings.audience {
        Audience::Issuer(issuer) => AssertionSettings::new(issuer)?,
        Audience::Discovered => AssertionSettings::for_discovered_issuer(),
        Audience::TokenEndpoint => {
            AssertionSettings::for_discovered_issuer().danger_token_endpoint_as_audience()
        }
    })
}
