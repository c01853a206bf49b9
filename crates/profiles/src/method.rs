//! The client authentication methods, by name.

use std::fmt;

/// A client authentication method, by its registered name if it has one
/// ([IANA](https://www.iana.org/assignments/oauth-parameters/), "OAuth Token Endpoint Authentication Methods").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthenticationMethod {
    /// `client_secret_post`: the client secret in the request body (RFC 6749 section 2.3.1).
    ClientSecretPost,
    /// `client_secret_basic`: the client secret in HTTP Basic authentication, form-encoded (RFC 6749 section 2.3.1).
    ClientSecretBasic,
    /// `client_secret_basic_raw`, which is not registered: the client secret in HTTP Basic authentication, not encoded.
    ClientSecretBasicRaw,
    /// `private_key_jwt`: an assertion signed with the client's private key (RFC 7523).
    PrivateKeyJwt,
    /// `client_secret_jwt`: an assertion signed with the client secret (RFC 7523).
    ClientSecretJwt,
    /// `workload_identity`, which is not registered: an assertion that the platform issues (RFC 7523).
    WorkloadIdentity,
    /// `spiffe_jwt`: a SPIFFE JWT-SVID (draft-ietf-oauth-spiffe-client-auth-02 section 3.1); with the feature
    /// `unstable-spiffe`.
    SpiffeJwt,
    /// `tls_client_auth`: a client certificate of an authority that the server trusts (RFC 8705 section 2.1).
    TlsClientAuth,
    /// `self_signed_tls_client_auth`: a client certificate that is registered with the server (RFC 8705 section 2.2).
    SelfSignedTlsClientAuth,
    /// `none`: no client authentication.
    None,
}

impl AuthenticationMethod {
    /// All methods.
    pub const ALL: &[Self] = &[
        Self::ClientSecretPost,
        Self::ClientSecretBasic,
        Self::ClientSecretBasicRaw,
        Self::PrivateKeyJwt,
        Self::ClientSecretJwt,
        Self::WorkloadIdentity,
        Self::SpiffeJwt,
        Self::TlsClientAuth,
        Self::SelfSignedTlsClientAuth,
        Self::None,
    ];

    /// Returns the name, as in the setting `authentication`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientSecretPost => "client_secret_post",
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretBasicRaw => "client_secret_basic_raw",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::ClientSecretJwt => "client_secret_jwt",
            Self::WorkloadIdentity => "workload_identity",
            Self::SpiffeJwt => "spiffe_jwt",
            Self::TlsClientAuth => "tls_client_auth",
            Self::SelfSignedTlsClientAuth => "self_signed_tls_client_auth",
            Self::None => "none",
        }
    }

    /// Returns the method of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|method| method.name() == name)
    }
}

impl fmt::Display for AuthenticationMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
