//! How the client proves itself, made of what the settings say.

use std::sync::Arc;

use hallpass::{
    camall,
    core::SecretSource,
    endpoint::{
        BuildError, ClientAuthentication, ClientSecretBasic, ClientSecretPost, MutualTls,
        PublicClient,
    },
    jwt::{
        Algorithm, AssertionSettings, ClientSecretJwt, PrivateKeyJwt, SigningKey, WorkloadIdentity,
    },
};

use crate::{
    config::{Proof, SecretReference, Sent, Settings},
    failure::Failure,
};

/// What is asked at each attempt; nothing is read yet.
pub(crate) fn authentication(
    settings: &Settings,
) -> Result<Arc<dyn ClientAuthentication>, Failure> {
    Ok(match &settings.proof {
        Proof::Secret { way, secret } => {
            let secret = open("client_secret", secret)?;
            match way {
                Some(Sent::Form) => Arc::new(ClientSecretPost::new(secret)),
                Some(Sent::RawBasic) => Arc::new(ClientSecretBasic::raw(secret)),
                Some(Sent::Basic) | None => Arc::new(ClientSecretBasic::new(secret)),
            }
        }
        Proof::SecretJwt { secret } => {
            let secret = open("client_secret", secret)?;
            Arc::new(ClientSecretJwt::new(assertions(settings)?, secret))
        }
        Proof::Key {
            key: reference,
            key_id,
            algorithm,
        } => {
            let text = open("private_key", reference)?;
            let algorithm = algorithm.as_deref().map(known_algorithm).transpose()?;
            let key_id = key_id.clone();
            let read = move |text: &str| key_of(text, key_id.as_deref(), algorithm);
            Arc::new(PrivateKeyJwt::from_source(
                assertions(settings)?,
                text,
                read,
            ))
        }
        Proof::Workload { assertion } => {
            Arc::new(WorkloadIdentity::new(open("assertion", assertion)?))
        }
        Proof::Certificate { .. } => Arc::new(certificate(settings)?),
        Proof::Nothing => Arc::new(PublicClient),
    })
}

/// The certificate of a client that has one.
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
    let certificate = open("certificate", certificate)?;
    let mut how = match key {
        Some(key) => MutualTls::from_pair(certificate, open("private_key", key)?),
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

/// camall.io's documentation knows client secrets alone.
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
    Ok((way, open("client_secret", secret)?))
}

/// The source that a reference names.
pub(crate) fn open(
    setting: &str,
    reference: &SecretReference,
) -> Result<Arc<dyn SecretSource>, Failure> {
    let source = reference.open();
    source.map_err(|error| Failure::configuration(format!("{setting}: {error}")))
}

/// The key in this text, as the settings have it.
pub(crate) fn key(text: &str, settings: &Settings) -> Result<SigningKey, Failure> {
    let Proof::Key {
        key_id, algorithm, ..
    } = &settings.proof
    else {
        return Err(Failure::configuration("the client has no private key"));
    };
    let algorithm = algorithm.as_deref().map(known_algorithm).transpose()?;
    Ok(key_of(text, key_id.as_deref(), algorithm)?)
}

fn key_of(
    text: &str,
    key_id: Option<&str>,
    algorithm: Option<Algorithm>,
) -> Result<SigningKey, BuildError> {
    let key = read_key(text)?;
    let key = match algorithm {
        Some(algorithm) => key.with_algorithm(algorithm)?,
        None => key,
    };
    Ok(match key_id {
        Some(key_id) => key.with_key_id(key_id),
        // A JWK brings its own, or none on purpose.
        None if is_jwk(text) => key,
        None => key.with_thumbprint_as_key_id(),
    })
}

/// The private key in this text, a PEM or a JWK.
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
    Ok(match &settings.issuer {
        Some(issuer) => AssertionSettings::new(issuer)?,
        None => AssertionSettings::for_discovered_issuer(),
    })
}
