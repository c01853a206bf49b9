//! Client authentication, built from the settings.

use std::sync::Arc;

use hallpass_camall as camall;
use hallpass_core::SecretSource;
use hallpass_endpoint::{
    ClientAuthentication, ClientSecretBasic, ClientSecretPost, MutualTls, PublicClient,
    WithCertificate,
};
use hallpass_secrets::SecretReference;

use super::{key_with_certificate::KeyWithCertificate, signed};
use crate::{
    authentication::{AuthenticationSettings, SecretEncoding, TlsCertificate},
    error::ProfileError,
    missing::missing_setting,
    settings::Settings,
};

impl Settings {
    /// Creates the client authentication, which reads the credential at each attempt; nothing is read yet.
    ///
    /// # Errors
    ///
    /// A [`ProfileError`] if a reference cannot be opened, or a feature is missing.
    pub fn client_authentication(&self) -> Result<Arc<dyn ClientAuthentication>, ProfileError> {
        Ok(match &self.authentication {
            AuthenticationSettings::ClientSecret {
                encoding,
                secret,
                certificate,
            } => {
                let secret = self.open_secret("client_secret", secret)?;
                let encoding = encoding.unwrap_or_else(|| SecretEncoding::default_for(self.server));
                let method: Arc<dyn ClientAuthentication> = match encoding {
                    SecretEncoding::Post => Arc::new(ClientSecretPost::new(secret)),
                    SecretEncoding::BasicRaw => Arc::new(ClientSecretBasic::raw(secret)),
                    SecretEncoding::Basic => Arc::new(ClientSecretBasic::new(secret)),
                };
                match certificate {
                    Some(_) => Arc::new(WithCertificate::new(method, self.client_certificate()?)),
                    None => method,
                }
            }
            AuthenticationSettings::ClientSecretJwt { secret } => {
                let secret = self.open_secret("client_secret", secret)?;
                signed::client_secret_jwt(self, secret)?
            }
            AuthenticationSettings::PrivateKeyJwt { .. } => {
                signed::private_key_jwt(self, self.open_private_key()?)?
            }
            AuthenticationSettings::WorkloadIdentity { assertion } => {
                signed::workload_identity(self.open_secret("assertion", assertion)?)?
            }
            AuthenticationSettings::SpiffeJwt { assertion } => {
                signed::spiffe_jwt(self.open_secret("assertion", assertion)?)?
            }
            AuthenticationSettings::MutualTls { .. } => Arc::new(self.client_certificate()?),
            AuthenticationSettings::None => Arc::new(PublicClient::new()),
            AuthenticationSettings::NotSet => return Err(self.missing_credential()),
        })
    }

    pub(crate) fn missing_credential(&self) -> ProfileError {
        missing_setting(
            "the client's credential",
            "`client_secret` or another credential",
            "`HALLPASS_CLIENT_SECRET`",
            self.file.as_ref(),
        )
    }

    /// Opens the certificate of a client that has one.
    ///
    /// # Errors
    ///
    /// A [`ProfileError`] if the client has none, or its reference cannot be opened.
    pub fn client_certificate(&self) -> Result<MutualTls, ProfileError> {
        let Some(TlsCertificate {
            certificate,
            key,
            bound_tokens,
        }) = self.authentication.tls_certificate()
        else {
            return Err(ProfileError::new("the client has no certificate"));
        };
        let certificate = self.open_secret("certificate", &certificate)?;
        let mut tls = match key {
            Some(key) => MutualTls::from_pair(certificate, self.open_secret("private_key", &key)?),
            None => MutualTls::new(certificate),
        };
        if let AuthenticationSettings::MutualTls {
            self_signed: true, ..
        } = self.authentication
        {
            tls = tls.self_signed();
        }
        Ok(if bound_tokens {
            tls
        } else {
            tls.unbound_tokens()
        })
    }

    /// Opens the secret source that a reference of this setting names.
    ///
    /// # Errors
    ///
    /// A [`ProfileError`] if it cannot be opened, such as for a feature that is missing.
    pub fn open_secret(
        &self,
        setting: &str,
        reference: &SecretReference,
    ) -> Result<Arc<dyn SecretSource>, ProfileError> {
        let mut reference = reference.clone();
        if let Some(timeout) = self.command_timeout {
            reference = reference.command_timeout(timeout);
        }
        if self.danger_allow_http_on_loopback {
            reference = reference.danger_allow_http_on_loopback();
        }
        let source = reference.open();
        source.map_err(|error| ProfileError::new(format!("{setting}: {error}")))
    }

    /// Returns a source of the private key's text, followed by its certificate if that is stored separately.
    ///
    /// # Errors
    ///
    /// A [`ProfileError`] if the client has no private key, or its reference cannot be opened.
    pub fn open_private_key(&self) -> Result<Arc<dyn SecretSource>, ProfileError> {
        let AuthenticationSettings::PrivateKeyJwt {
            key, certificate, ..
        } = &self.authentication
        else {
            return Err(ProfileError::new("the client has no private key"));
        };
        let source = self.open_secret("private_key", key)?;
        Ok(match certificate {
            Some(certificate) if certificate != key => Arc::new(KeyWithCertificate::new(
                source,
                self.open_secret("certificate", certificate)?,
            )),
            _ => source,
        })
    }
}

/// Returns the method and the secret for camall.io, whose documentation supports client secrets only.
pub(crate) fn camall_authentication(
    settings: &Settings,
) -> Result<(camall::Authentication, Arc<dyn SecretSource>), ProfileError> {
    let AuthenticationSettings::ClientSecret {
        encoding,
        secret,
        certificate: None,
    } = &settings.authentication
    else {
        return Err(
            ProfileError::new("camall.io supports no client authentication method without a client secret, and none with a certificate")
                .with_hint("set `client_secret`, and `authentication` to `client_secret_post` or `client_secret_basic`"),
        );
    };
    let method = match encoding.unwrap_or_else(|| SecretEncoding::default_for(settings.server)) {
        SecretEncoding::Post => camall::Authentication::Post,
        SecretEncoding::Basic => camall::Authentication::Basic,
        SecretEncoding::BasicRaw => camall::Authentication::BasicRaw,
    };
    Ok((method, settings.open_secret("client_secret", secret)?))
}
