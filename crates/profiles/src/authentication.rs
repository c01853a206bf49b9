//! Client authentication as the settings choose it.

use std::path::PathBuf;

use hallpass_endpoint::presets::{self, SecretAuthentication};
use hallpass_secrets::SecretReference;

use crate::{error::ProfileError, method::AuthenticationMethod};
use crate::{missing::missing_setting, server::Server, unit::ClientUnit};

/// The client's authentication method with a reference to its credential, never the credential itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthenticationSettings {
    /// A client secret that is sent by this method, or by the server's default one.
    ClientSecret {
        /// The method; `None` for the server's default one.
        encoding: Option<SecretEncoding>,
        /// The client secret.
        secret: SecretReference,
        /// The certificate that is presented in TLS as well.
        certificate: Option<TlsCertificate>,
    },
    /// A client secret that signs assertions.
    ClientSecretJwt {
        /// The client secret.
        secret: SecretReference,
    },
    /// A private key that signs assertions.
    PrivateKeyJwt {
        /// The private key.
        key: SecretReference,
        /// The key's certificate, by whose thumbprint the server identifies the key.
        certificate: Option<SecretReference>,
        /// True if the certificate and its chain are sent (`x5c`).
        send_chain: bool,
        /// The key identifier, `kid`.
        key_id: Option<String>,
        /// The signature algorithm, `alg`.
        algorithm: Option<String>,
    },
    /// An assertion that the platform writes, such as a workload identity token.
    WorkloadIdentity {
        /// The assertion.
        assertion: SecretReference,
    },
    /// A SPIFFE JWT-SVID (draft-ietf-oauth-spiffe-client-auth-02).
    SpiffeJwt {
        /// The JWT-SVID.
        assertion: SecretReference,
    },
    /// A certificate with its key (mutual TLS).
    MutualTls {
        /// The certificate with its chain, and with its key unless that is separate.
        certificate: SecretReference,
        /// The separate private key.
        key: Option<SecretReference>,
        /// True if the certificate itself is registered with the server.
        self_signed: bool,
        /// True if tokens are bound to the certificate.
        bound_tokens: bool,
    },
    /// No authentication: the server identifies the client by its network.
    None,
    /// No method and no credential, which only a registered provider may do without.
    NotSet,
}

/// A client certificate that is presented in TLS, with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsCertificate {
    /// The certificate with its chain, and with its key unless that is separate.
    pub certificate: SecretReference,
    /// The separate private key.
    pub key: Option<SecretReference>,
    /// True if tokens are bound to the certificate.
    pub bound_tokens: bool,
}

impl TlsCertificate {
    fn new(client: &ClientUnit) -> Option<Self> {
        Some(Self {
            certificate: client.certificate.clone()?,
            key: client.private_key.clone(),
            bound_tokens: client.bound_tokens.unwrap_or(true),
        })
    }
}

/// The encoding of a client secret in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretEncoding {
    /// `client_secret_post`.
    Post,
    /// `client_secret_basic`, form-encoded (RFC 6749 section 2.3.1).
    Basic,
    /// Basic authentication without the form-encoding of RFC 6749 section 2.3.1.
    BasicRaw,
}

impl SecretEncoding {
    /// Returns the encoding that this server documents.
    pub fn default_for(server: Server) -> Self {
        match server {
            Server::Camall => Self::Post,
            Server::Preset(preset) => match preset.authentication {
                SecretAuthentication::Post => Self::Post,
                SecretAuthentication::BasicRaw => Self::BasicRaw,
                _ => Self::Basic,
            },
            Server::Any | Server::Registered => Self::Basic,
        }
    }
}

impl AuthenticationSettings {
    pub(crate) fn new(
        client: &ClientUnit,
        server: Server,
        file: Option<&PathBuf>,
    ) -> Result<Self, ProfileError> {
        let method = match client.authentication {
            Some(method) => Some(method),
            None => implied_method(client, server)?,
        };
        if matches!(server, Server::Registered) && method.is_none() && client.credential().is_none()
        {
            return Ok(Self::NotSet);
        }
        if method.is_none_or(sends_secret) {
            check_secret_accepted(server)?;
        }
        // A method from another source may leave credentials of this source unused.
        if client.authentication.is_none() || client.method_source == client.credential_source {
            check_effects(client, method)?;
        }
        let required = |setting: &Option<SecretReference>, missing: &MissingCredential| {
            let setting = setting.clone();
            setting
                .ok_or_else(|| missing_setting(missing.what, missing.set, missing.variable, file))
        };
        Ok(match method {
            None
            | Some(
                AuthenticationMethod::ClientSecretPost
                | AuthenticationMethod::ClientSecretBasic
                | AuthenticationMethod::ClientSecretBasicRaw,
            ) => Self::ClientSecret {
                encoding: match method {
                    Some(AuthenticationMethod::ClientSecretPost) => Some(SecretEncoding::Post),
                    Some(AuthenticationMethod::ClientSecretBasic) => Some(SecretEncoding::Basic),
                    Some(AuthenticationMethod::ClientSecretBasicRaw) => {
                        Some(SecretEncoding::BasicRaw)
                    }
                    _ => None,
                },
                secret: required(&client.client_secret, &MISSING_SECRET)?,
                certificate: TlsCertificate::new(client),
            },
            Some(AuthenticationMethod::ClientSecretJwt) => Self::ClientSecretJwt {
                secret: required(&client.client_secret, &MISSING_SECRET)?,
            },
            Some(AuthenticationMethod::PrivateKeyJwt) => Self::PrivateKeyJwt {
                // The certificate's text may include its key.
                key: required(
                    &client.private_key.clone().or(client.certificate.clone()),
                    &MISSING_KEY,
                )?,
                certificate: client.certificate.clone(),
                send_chain: sends_chain(client)?,
                key_id: client.key_id.clone(),
                algorithm: client.algorithm.clone(),
            },
            Some(AuthenticationMethod::WorkloadIdentity) => Self::WorkloadIdentity {
                assertion: required(&client.assertion, &MISSING_ASSERTION)?,
            },
            Some(AuthenticationMethod::SpiffeJwt) => Self::SpiffeJwt {
                assertion: required(&client.assertion, &MISSING_ASSERTION)?,
            },
            Some(
                method @ (AuthenticationMethod::TlsClientAuth
                | AuthenticationMethod::SelfSignedTlsClientAuth),
            ) => Self::MutualTls {
                certificate: required(&client.certificate, &MISSING_CERTIFICATE)?,
                key: client.private_key.clone(),
                self_signed: method == AuthenticationMethod::SelfSignedTlsClientAuth,
                bound_tokens: client.bound_tokens.unwrap_or(true),
            },
            Some(AuthenticationMethod::None) => Self::None,
        })
    }

    /// Returns the references to the credentials.
    pub fn references(&self) -> impl Iterator<Item = &SecretReference> {
        let further = match self {
            Self::ClientSecret { certificate, .. } => certificate.as_ref(),
            _ => None,
        };
        let further = further.into_iter();
        let further = further.flat_map(|tls| std::iter::once(&tls.certificate).chain(&tls.key));
        let (one, other) = match self {
            Self::ClientSecret { secret, .. } | Self::ClientSecretJwt { secret } => {
                (Some(secret), None)
            }
            Self::PrivateKeyJwt {
                key, certificate, ..
            } => (Some(key), certificate.as_ref()),
            Self::WorkloadIdentity { assertion } | Self::SpiffeJwt { assertion } => {
                (Some(assertion), None)
            }
            Self::MutualTls {
                certificate, key, ..
            } => (Some(certificate), key.as_ref()),
            Self::None | Self::NotSet => (None, None),
        };
        one.into_iter().chain(other).chain(further)
    }

    /// Returns the reference to the part of the credentials that must stay secret; a certificate alone is public.
    pub fn secret_reference(&self) -> Option<&SecretReference> {
        match self {
            Self::ClientSecret { secret, .. } | Self::ClientSecretJwt { secret } => Some(secret),
            Self::PrivateKeyJwt { key, .. } => Some(key),
            Self::WorkloadIdentity { assertion } | Self::SpiffeJwt { assertion } => Some(assertion),
            Self::MutualTls {
                certificate, key, ..
            } => Some(key.as_ref().unwrap_or(certificate)),
            Self::None | Self::NotSet => None,
        }
    }

    /// Returns the setting that holds the credential, or that says that there is none.
    pub(crate) fn setting(&self) -> Option<&'static str> {
        match self {
            Self::ClientSecret { .. } | Self::ClientSecretJwt { .. } => Some("client_secret"),
            Self::PrivateKeyJwt { .. } => Some("private_key"),
            Self::WorkloadIdentity { .. } | Self::SpiffeJwt { .. } => Some("assertion"),
            Self::MutualTls { .. } => Some("certificate"),
            Self::None => Some("authentication"),
            Self::NotSet => None,
        }
    }

    /// Returns a phrase that names the setting of the credential.
    pub(crate) fn description(&self) -> String {
        match self.setting() {
            None => "no credential is set".to_owned(),
            Some("authentication") => "`authentication` is `none`".to_owned(),
            Some(credential) => format!("the client authenticates with `{credential}`"),
        }
    }

    /// Returns the name of the method, and the algorithm of its assertions if that is set.
    pub(crate) fn method(&self) -> (Option<&str>, Option<&str>) {
        let method = match self {
            Self::ClientSecret { encoding, .. } => match encoding {
                Some(SecretEncoding::Post) => "client_secret_post",
                _ => "client_secret_basic",
            },
            Self::ClientSecretJwt { .. } => "client_secret_jwt",
            Self::PrivateKeyJwt { algorithm, .. } => {
                return (Some("private_key_jwt"), algorithm.as_deref());
            }
            Self::WorkloadIdentity { .. } => "workload_identity",
            Self::SpiffeJwt { .. } => "spiffe_jwt",
            Self::MutualTls {
                self_signed: true, ..
            } => "self_signed_tls_client_auth",
            Self::MutualTls { .. } => "tls_client_auth",
            Self::None => "none",
            Self::NotSet => return (None, None),
        };
        (Some(method), None)
    }

    /// Returns the certificate that the client presents in TLS, if it does.
    pub fn tls_certificate(&self) -> Option<TlsCertificate> {
        match self {
            Self::ClientSecret { certificate, .. } => certificate.clone(),
            Self::MutualTls {
                certificate,
                key,
                bound_tokens,
                ..
            } => Some(TlsCertificate {
                certificate: certificate.clone(),
                key: key.clone(),
                bound_tokens: *bound_tokens,
            }),
            _ => None,
        }
    }

    /// Returns true if the server binds tokens to the client's certificate.
    pub fn binds_tokens(&self) -> bool {
        match self {
            Self::ClientSecret { certificate, .. } => {
                certificate.as_ref().is_some_and(|tls| tls.bound_tokens)
            }
            Self::MutualTls { bound_tokens, .. } => *bound_tokens,
            _ => false,
        }
    }

    /// Returns true if a command prints one of the credentials.
    pub fn runs_a_command(&self) -> bool {
        self.references().any(SecretReference::runs_a_command)
    }

    /// Returns true if the method signs assertions, which need an audience.
    pub fn signs_assertions(&self) -> bool {
        matches!(
            self,
            Self::PrivateKeyJwt { .. } | Self::ClientSecretJwt { .. }
        )
    }
}

/// The parts of the message about a missing credential.
struct MissingCredential {
    what: &'static str,
    set: &'static str,
    variable: &'static str,
}

const MISSING_SECRET: MissingCredential = MissingCredential {
    what: "the client secret",
    set: "`client_secret` with a reference such as `file:/run/secrets/client`",
    variable: "`HALLPASS_CLIENT_SECRET`",
};
const MISSING_KEY: MissingCredential = MissingCredential {
    what: "the client's private key",
    set: "`private_key` with a reference such as `file:/run/secrets/client.pem`",
    variable: "`HALLPASS_PRIVATE_KEY_FILE`",
};
const MISSING_ASSERTION: MissingCredential = MissingCredential {
    what: "the platform's assertion",
    set: "`assertion` with a reference such as `file:/var/run/secrets/tokens/login`",
    variable: "`HALLPASS_ASSERTION_FILE`",
};
const MISSING_CERTIFICATE: MissingCredential = MissingCredential {
    what: "the client certificate",
    set: "`certificate` with a reference such as `file:/run/tls/tls.crt`",
    variable: "`HALLPASS_CERTIFICATE_FILE`",
};

/// Checks that every setting of the client has an effect.
fn check_effects(
    client: &ClientUnit,
    method: Option<AuthenticationMethod>,
) -> Result<(), ProfileError> {
    let used: &[&str] = match method {
        Some(AuthenticationMethod::PrivateKeyJwt) => &[
            "private_key",
            "certificate",
            "send_certificate_chain",
            "key_id",
            "algorithm",
        ],
        Some(AuthenticationMethod::WorkloadIdentity | AuthenticationMethod::SpiffeJwt) => {
            &["assertion"]
        }
        Some(
            AuthenticationMethod::TlsClientAuth | AuthenticationMethod::SelfSignedTlsClientAuth,
        ) => &["certificate", "private_key", "bound_tokens"],
        Some(AuthenticationMethod::None) => &[],
        // The certificate is presented in TLS as well.
        Some(method) if sends_secret(method) && client.certificate.is_some() => &[
            "client_secret",
            "certificate",
            "private_key",
            "bound_tokens",
        ],
        _ => &["client_secret"],
    };
    let set = [
        ("client_secret", client.client_secret.is_some()),
        ("private_key", client.private_key.is_some()),
        ("certificate", client.certificate.is_some()),
        ("assertion", client.assertion.is_some()),
        ("bound_tokens", client.bound_tokens.is_some()),
        (
            "send_certificate_chain",
            client.send_certificate_chain.is_some(),
        ),
        ("key_id", client.key_id.is_some()),
        ("algorithm", client.algorithm.is_some()),
    ];
    let mut unused = set
        .iter()
        .filter(|(name, set)| *set && !used.contains(name));
    let Some((unused, _)) = unused.next() else {
        return Ok(());
    };
    let method = match (client.authentication, client.credential()) {
        (Some(method), _) => format!("`authentication` is `{method}`"),
        (None, Some(credential)) => format!("the client authenticates with `{credential}`"),
        (None, None) => "no credential is set".to_owned(),
    };
    let example = match *unused {
        "assertion" => "workload_identity",
        "bound_tokens" | "certificate" => "tls_client_auth",
        "client_secret" => "client_secret_basic",
        _ => "private_key_jwt",
    };
    let hint =
        format!("remove it, or set `authentication` to a method that uses it, such as `{example}`");
    Err(ProfileError::new(format!("`{unused}` has no effect: {method}")).with_hint(hint))
}

/// Returns true if assertions carry the certificate chain, which must be set then.
fn sends_chain(client: &ClientUnit) -> Result<bool, ProfileError> {
    let sends = client.send_certificate_chain.unwrap_or(false);
    if sends && client.certificate.is_none() {
        let error = "`send_certificate_chain` has no effect without `certificate`";
        return Err(ProfileError::new(error)
            .with_hint("set `certificate` to a reference to the key's certificate and its chain"));
    }
    Ok(sends)
}

fn sends_secret(method: AuthenticationMethod) -> bool {
    matches!(
        method,
        AuthenticationMethod::ClientSecretPost
            | AuthenticationMethod::ClientSecretBasic
            | AuthenticationMethod::ClientSecretBasicRaw
    )
}

/// Refuses a secret for a server that accepts signed assertions only.
fn check_secret_accepted(server: Server) -> Result<(), ProfileError> {
    match server {
        Server::Preset(preset) if preset.authentication == SecretAuthentication::Assertion => {
            let message = format!("{} does not accept client secrets", preset.name);
            Err(ProfileError::new(message)
                .with_hint("set `private_key` in place of `client_secret`"))
        }
        _ => Ok(()),
    }
}

/// Returns the method that the configured credential implies.
fn implied_method(
    client: &ClientUnit,
    server: Server,
) -> Result<Option<AuthenticationMethod>, ProfileError> {
    // Entra ID registers certificates for assertions and does not accept them in TLS.
    let by_thumbprint =
        matches!(server, Server::Preset(preset) if preset.name == presets::ENTRA_ID.name);
    let there = [
        (client.client_secret.is_some(), None, "client_secret"),
        (
            // A certificate includes its key.
            client.private_key.is_some() && client.certificate.is_none(),
            Some(AuthenticationMethod::PrivateKeyJwt),
            "private_key",
        ),
        (
            client.certificate.is_some(),
            Some(if by_thumbprint {
                AuthenticationMethod::PrivateKeyJwt
            } else {
                AuthenticationMethod::TlsClientAuth
            }),
            "certificate",
        ),
        (
            client.assertion.is_some(),
            Some(AuthenticationMethod::WorkloadIdentity),
            "assertion",
        ),
    ];
    let mut there = there.into_iter().filter(|(is_there, ..)| *is_there);
    match (there.next(), there.next()) {
        (Some((_, _, "client_secret")), Some((_, _, "certificate"))) => Err(ProfileError::new(
            "both `client_secret` and `certificate` are set, but not how the client authenticates",
        )
        .with_hint(
            "remove one of them, or set `authentication` to `client_secret_basic` or `client_secret_post` for a server that requires the certificate in TLS as well",
        )),
        (Some((_, _, one)), Some((_, _, other))) => Err(ProfileError::new(format!(
            "both `{one}` and `{other}` are set, but a client has one credential"
        ))
        .with_hint("remove one of them")),
        (Some((_, method, _)), None) => Ok(method),
        (None, _) => Ok(None),
    }
}
