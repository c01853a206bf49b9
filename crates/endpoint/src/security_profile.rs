use std::{fmt, str::FromStr};

use hallpass_core::TokenError;

use crate::BuildError;

pub(crate) mod jws;

/// A security profile: a set of requirements that a client is held to as a whole.
///
/// A builder with a profile refuses each setting that is weaker than the profile, and names the section of the
/// specification. The requirements that only a request shows, such as the algorithm of an assertion that another crate
/// signs, are checked before the request is sent.
///
/// ```
/// use hallpass_core::{Secret, SecretSource};
/// use hallpass_endpoint::{ClientCredentials, ClientSecretBasic, Endpoint, MutualTls, SecurityProfile};
///
/// fn example(certificate: impl SecretSource + 'static) -> Result<(), Box<dyn std::error::Error>> {
///     let bank = Endpoint::discover("https://bank.example").build()?;
///     let source = ClientCredentials::builder(bank.clone(), "orders-service", MutualTls::new(certificate))
///         .security_profile(SecurityProfile::Fapi2)
///         .build()?;
///
///     let weak = ClientSecretBasic::new(Secret::new("s3cr3t")?);
///     let refused = ClientCredentials::builder(bank, "orders-service", weak)
///         .security_profile(SecurityProfile::Fapi2)
///         .build();
///     assert!(refused.unwrap_err().to_string().contains("section 5.3.3.1"));
///     Ok(())
/// }
/// # example(Secret::new("certificate and key").unwrap()).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SecurityProfile {
    /// The FAPI 2.0 Security Profile (OpenID Foundation, February 2025), as far as it concerns the client credentials and
    /// the refresh token grant.
    ///
    /// The server is discovered by its issuer over HTTPS, the client authenticates with `private_key_jwt` or a
    /// certificate, and tokens are bound to a key (DPoP) or to the certificate.
    Fapi2,
}

impl SecurityProfile {
    /// Returns the title of the specification.
    pub fn title(self) -> &'static str {
        match self {
            Self::Fapi2 => "FAPI 2.0 Security Profile",
        }
    }

    /// Returns true if the profile allows JWTs with this signature algorithm (FAPI 2.0 Security Profile, section 5.4.1).
    pub fn allows_algorithm(self, algorithm: &str) -> bool {
        match self {
            // `Ed25519` is the registered name of EdDSA on that curve (RFC 9864).
            Self::Fapi2 => matches!(algorithm, "PS256" | "ES256" | "EdDSA" | "Ed25519"),
        }
    }

    /// Returns true if the profile allows this client authentication method, by its registered name (FAPI 2.0 Security
    /// Profile, section 5.3.3.1).
    pub fn allows_method(self, method: &str) -> bool {
        match self {
            Self::Fapi2 => matches!(
                method,
                "private_key_jwt" | "tls_client_auth" | "self_signed_tls_client_auth"
            ),
        }
    }

    /// Checks a client authentication method and, if it is known in advance, the algorithm of its assertions.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] that names the section, and the methods or algorithms that are allowed.
    pub fn check_method(
        self,
        method: Option<&str>,
        algorithm: Option<&str>,
    ) -> Result<(), BuildError> {
        const SETTING: &str = "authentication";
        let fault = match method {
            None => "the method has no registered name".to_owned(),
            Some(method) if self.allows_method(method) => {
                return match algorithm.filter(|algorithm| !self.allows_algorithm(algorithm)) {
                    None => Ok(()),
                    Some(algorithm) => {
                        let fault = format!("the assertions are signed with `{algorithm}`");
                        let error = self.excludes(SETTING, &fault, &Requirement::ALGORITHMS);
                        Err(error.with_hint("use another key, or `PS256` for a key of RSA"))
                    }
                };
            }
            Some(method) => format!("the method is `{method}`"),
        };
        Err(self.excludes(SETTING, &fault, &Requirement::METHODS))
    }

    /// Returns the error for a setting that the profile excludes. `fault` is a clause about the setting.
    pub fn excludes(
        self,
        setting: &'static str,
        fault: &str,
        requirement: &Requirement,
    ) -> BuildError {
        BuildError::new(setting, self.reason(fault, requirement))
    }

    /// Returns the reason for an error. `fault` is a clause about what the profile excludes.
    pub(crate) fn reason(self, fault: &str, requirement: &Requirement) -> String {
        format!("{fault}, which `security_profile` excludes ({self}{requirement})")
    }

    /// Refuses the first of these settings that is set: whether it is, its name, a clause about it and the requirement.
    pub(crate) fn exclude(
        self,
        settings: &[(bool, &'static str, &str, &Requirement)],
    ) -> Result<(), BuildError> {
        match settings.iter().find(|(is_set, ..)| *is_set) {
            None => Ok(()),
            Some((_, setting, fault, requirement)) => {
                let error = self.excludes(setting, fault, requirement);
                Err(error.with_hint("remove one of the two"))
            }
        }
    }

    /// Returns the error for a request that the profile excludes. `fault` is a clause about the request.
    pub fn violated(self, fault: &str, requirement: &Requirement) -> TokenError {
        TokenError::configuration(format!(
            "{}; nothing was sent",
            self.reason(fault, requirement)
        ))
    }
}

/// A requirement of a [`SecurityProfile`], for its errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requirement {
    section: &'static str,
    text: &'static str,
}

impl Requirement {
    /// The methods of client authentication.
    pub const METHODS: Self = Self::new(
        "5.3.3.1",
        "clients authenticate with `private_key_jwt`, `tls_client_auth` or `self_signed_tls_client_auth`",
    );
    /// The algorithms of signed JWTs.
    pub const ALGORITHMS: Self = Self::new(
        "5.4.1",
        "JWTs are signed with `PS256`, `ES256` or `EdDSA` on Ed25519",
    );
    /// The lengths of keys.
    pub const KEY_LENGTHS: Self = Self::new(
        "5.4.1",
        "RSA keys have at least 2048 bits, and those of elliptic curves at least 224",
    );
    /// The form of assertions, which is that of OpenID Connect Core 1.0, section 9.
    pub const ASSERTIONS: Self = Self::new(
        "5.3.3.1",
        "`private_key_jwt` is that of OpenID Connect Core 1.0, section 9: the client signs an assertion for each request",
    );
    /// The audience of assertions.
    pub const AUDIENCE: Self = Self::new(
        "5.3.3.1",
        "the audience of an assertion is the issuer identifier of the server, as a string",
    );
    /// The binding of tokens.
    pub const CONSTRAINED: Self = Self::new(
        "5.3.3.1",
        "tokens are bound to a key (DPoP) or to the certificate of the client",
    );
    /// The origin of the addresses.
    pub const METADATA: Self = Self::new(
        "5.3.3.1",
        "clients use the addresses of the server's metadata only",
    );
    /// The protection of connections.
    pub const TLS: Self = Self::new(
        "5.2.1",
        "all connections use TLS, with a checked certificate",
    );
    /// The cipher suites of TLS 1.2.
    pub const SUITES: Self = Self::new(
        "5.2.2",
        "with TLS 1.2, clients use cipher suites with ephemeral keys and authenticated encryption (BCP 195)",
    );
    /// The form of requests and responses.
    pub const OAUTH: Self = Self::new("5.3.1", "requests and responses are those of RFC 6749");
    /// The grants.
    pub const GRANTS: Self = Self::new(
        "5.3.1",
        "of the grants of RFC 6749, this client covers `client_credentials` and `refresh_token`",
    );

    const fn new(section: &'static str, text: &'static str) -> Self {
        Self { section, text }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ", section {}: {}", self.section, self.text)
    }
}

/// Parses the name of the profile in settings: `fapi2`.
impl FromStr for SecurityProfile {
    type Err = BuildError;

    fn from_str(name: &str) -> Result<Self, BuildError> {
        match name {
            "fapi2" => Ok(Self::Fapi2),
            _ => Err(BuildError::new(
                "security_profile",
                "the only security profile is `fapi2`",
            )),
        }
    }
}

impl fmt::Display for SecurityProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title())
    }
}
