//! What the client proves itself with.

use std::path::PathBuf;

use hallpass::secrets::SecretReference;

use super::{layer::Layer, settings::missing};
use crate::{args::Authentication, failure::Failure};

/// What the client proves itself with; where a secret or a key is, never the thing itself.
#[derive(Clone, Debug)]
pub(crate) enum Proof {
    /// A secret that is sent: in this way, or in the server's own.
    Secret {
        way: Option<Sent>,
        secret: SecretReference,
    },
    /// A secret that signs.
    SecretJwt { secret: SecretReference },
    /// A private key that signs.
    Key {
        key: SecretReference,
        key_id: Option<String>,
        algorithm: Option<String>,
    },
    /// An assertion that the platform writes.
    Workload { assertion: SecretReference },
    /// A certificate with its key, in one text where there is no other for the key.
    Certificate {
        certificate: SecretReference,
        key: Option<SecretReference>,
        self_signed: bool,
        bound_tokens: bool,
    },
    /// Nothing: the server knows the client by its network.
    Nothing,
}

/// How a secret is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Form,
    Basic,
    RawBasic,
}

impl Proof {
    pub(crate) fn new(layer: &Layer, file: Option<&PathBuf>) -> Result<Self, Failure> {
        let way = match layer.authentication {
            Some(way) => Some(way),
            None => the_one_way(layer)?,
        };
        let secret = || {
            layer.client_secret.clone().ok_or_else(|| {
                missing(
                    "where the client's secret is",
                    "`client_secret` with a reference such as `file:/run/secrets/client`",
                    "HALLPASS_CLIENT_SECRET",
                    file,
                )
            })
        };
        let sent = |way| secret().map(|secret| Self::Secret { way, secret });
        Ok(match way {
            None => sent(None)?,
            Some(Authentication::Form) => sent(Some(Sent::Form))?,
            Some(Authentication::Basic) => sent(Some(Sent::Basic))?,
            Some(Authentication::RawBasic) => sent(Some(Sent::RawBasic))?,
            Some(Authentication::ClientSecretJwt) => Self::SecretJwt { secret: secret()? },
            Some(Authentication::PrivateKeyJwt) => Self::Key {
                key: layer.private_key.clone().ok_or_else(|| {
                    missing(
                        "where the client's private key is",
                        "`private_key` with a reference such as `file:/run/secrets/client.pem`",
                        "HALLPASS_PRIVATE_KEY_FILE",
                        file,
                    )
                })?,
                key_id: layer.key_id.clone(),
                algorithm: layer.algorithm.clone(),
            },
            Some(Authentication::WorkloadIdentity) => Self::Workload {
                assertion: layer.assertion.clone().ok_or_else(|| {
                    missing(
                        "where the platform writes its assertion",
                        "`assertion` with a reference such as `file:/var/run/secrets/tokens/login`",
                        "HALLPASS_ASSERTION_FILE",
                        file,
                    )
                })?,
            },
            Some(way @ (Authentication::Tls | Authentication::SelfSignedTls)) => {
                Self::Certificate {
                    certificate: layer.certificate.clone().ok_or_else(|| {
                        missing(
                            "where the client's certificate is",
                            "`certificate` with a reference such as `file:/run/tls/tls.crt`",
                            "HALLPASS_CERTIFICATE_FILE",
                            file,
                        )
                    })?,
                    key: layer.private_key.clone(),
                    self_signed: way == Authentication::SelfSignedTls,
                    bound_tokens: layer.bound_tokens.unwrap_or(true),
                }
            }
            Some(Authentication::None) => Self::Nothing,
        })
    }

    /// Where what must be kept secret is.
    pub(crate) fn references(&self) -> impl Iterator<Item = &SecretReference> {
        let (one, other) = match self {
            Self::Secret { secret, .. } | Self::SecretJwt { secret } => (Some(secret), None),
            Self::Key { key, .. } => (Some(key), None),
            Self::Workload { assertion } => (Some(assertion), None),
            Self::Certificate {
                certificate, key, ..
            } => (Some(certificate), key.as_ref()),
            Self::Nothing => (None, None),
        };
        one.into_iter().chain(other)
    }

    /// Does it sign assertions, which say for which issuer they are?
    pub(crate) fn signs(&self) -> bool {
        matches!(self, Self::Key { .. } | Self::SecretJwt { .. })
    }
}

/// The way that what is there stands for, where nothing names one.
fn the_one_way(layer: &Layer) -> Result<Option<Authentication>, Failure> {
    let there = [
        (layer.client_secret.is_some(), None, "client_secret"),
        (
            // A certificate takes the key along.
            layer.private_key.is_some() && layer.certificate.is_none(),
            Some(Authentication::PrivateKeyJwt),
            "private_key",
        ),
        (
            layer.certificate.is_some(),
            Some(Authentication::Tls),
            "certificate",
        ),
        (
            layer.assertion.is_some(),
            Some(Authentication::WorkloadIdentity),
            "assertion",
        ),
    ];
    let mut there = there.into_iter().filter(|(is_there, ..)| *is_there);
    match (there.next(), there.next()) {
        (Some((_, _, one)), Some((_, _, other))) => Err(Failure::configuration(format!(
            "both `{one}` and `{other}` are set, and nothing says which one proves the client"
        ))
        .with_remedy("set `authentication`, or leave one out")),
        (Some((_, way, _)), None) => Ok(way),
        (None, _) => Ok(None),
    }
}
