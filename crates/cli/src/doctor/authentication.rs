//! Checks whether the credential can be read, and whether the server accepts the authentication method.

use std::time::SystemTime;

use hallpass::{
    SecretAnomaly, TextFilter,
    endpoint::{AuthenticationContext, ClientAuthentication as _, Metadata},
    jwt::Signer as _,
};

use super::{report::Report, validity::Validity};
use crate::{
    config::{AuthenticationSettings, SecretEncoding, SecretReference, Settings},
    explain,
    failure::Failure,
};

/// The result of reading the credential.
pub(super) struct CredentialCheck {
    /// The credential's location and description; `None` if there is nothing secret.
    location: Option<String>,
    /// The registered name of the method, as in server metadata.
    method: &'static str,
    algorithm: Option<&'static str>,
    /// The end of a certificate's validity.
    valid_until: Option<SystemTime>,
    /// A sign that a client secret was altered in transit.
    anomaly: Option<SecretAnomaly>,
    description: String,
}

pub(super) async fn check_credential(settings: &Settings) -> Result<CredentialCheck, Failure> {
    let check = read_credential(settings).await?;
    // Credentials are created as for a request, to report errors before any network access.
    let context = AuthenticationContext::new(&settings.client_id, settings.address.url());
    let credentials = settings
        .client_authentication()?
        .credentials(&context)
        .await;
    credentials.map_err(|error| explain::token_error(&error, settings))?;
    Ok(check)
}

async fn read_credential(settings: &Settings) -> Result<CredentialCheck, Failure> {
    let plain = |method, description: &str| CredentialCheck {
        location: None,
        method,
        algorithm: None,
        valid_until: None,
        anomaly: None,
        description: description.to_owned(),
    };
    Ok(match &settings.authentication {
        AuthenticationSettings::ClientSecret {
            encoding, secret, ..
        } => read_client_secret(settings, *encoding, secret).await?,
        AuthenticationSettings::ClientSecretJwt { secret } => {
            let anomaly = read_secret(settings, "client_secret", secret)
                .await?
                .anomaly();
            let check = plain("client_secret_jwt", "client_secret_jwt with HS256");
            CredentialCheck {
                anomaly,
                algorithm: Some("HS256"),
                ..check.with_location(secret, "can be read")
            }
        }
        AuthenticationSettings::PrivateKeyJwt {
            key: reference,
            certificate,
            ..
        } => {
            let text = settings.open_private_key()?.secret().await;
            let text = text.map_err(|error| explain::token_error(&error.into(), settings))?;
            let key = settings.parse_signing_key(text.expose())?;
            let algorithm = key.algorithm().name();
            let key_id = match (key.key_id(), certificate) {
                (Some(key_id), _) => format!("key identifier `{key_id}`"),
                (None, Some(_)) => "identified by its certificate".to_owned(),
                (None, None) => "no key identifier".to_owned(),
            };
            let description = format!("private_key_jwt with {algorithm}, {key_id}");
            CredentialCheck {
                algorithm: Some(algorithm),
                ..plain("private_key_jwt", &description)
                    .with_location(reference, &format!("contains a key for {algorithm}"))
            }
        }
        AuthenticationSettings::WorkloadIdentity { assertion } => {
            read_secret(settings, "assertion", assertion).await?;
            let description = "private_key_jwt with an assertion of the platform";
            plain("private_key_jwt", description).with_location(assertion, "can be read")
        }
        AuthenticationSettings::SpiffeJwt { assertion } => {
            read_secret(settings, "assertion", assertion).await?;
            plain("spiffe_jwt", "spiffe_jwt with a JWT-SVID")
                .with_location(assertion, "can be read")
        }
        AuthenticationSettings::MutualTls {
            certificate,
            self_signed,
            ..
        } => {
            let identity = settings.client_certificate()?.identity().await;
            let identity = identity.map_err(|error| explain::token_error(&error, settings))?;
            let method = match self_signed {
                true => "self_signed_tls_client_auth",
                false => "tls_client_auth",
            };
            CredentialCheck {
                valid_until: identity.valid_until(),
                ..plain(method, &format!("{method}, with its certificate in TLS"))
                    .with_location(certificate, "contains a certificate and its key")
            }
        }
        AuthenticationSettings::None => plain(
            "none",
            "none: the server identifies the client by its network",
        ),
        _ => plain("", "a method that this step does not examine"),
    })
}

/// Reads a client secret, and the certificate that is presented with it.
async fn read_client_secret(
    settings: &Settings,
    encoding: Option<SecretEncoding>,
    secret: &SecretReference,
) -> Result<CredentialCheck, Failure> {
    let anomaly = read_secret(settings, "client_secret", secret)
        .await?
        .anomaly();
    let (encoding, by_default) = match encoding {
        Some(encoding) => (encoding, ""),
        None => (
            SecretEncoding::default_for(settings.server),
            ", the default for this server",
        ),
    };
    let (method, note) = match encoding {
        SecretEncoding::Post => ("client_secret_post", ""),
        SecretEncoding::BasicRaw => ("client_secret_basic", ", not encoded"),
        _ => ("client_secret_basic", ""),
    };
    let (valid_until, in_tls) = match settings.authentication.tls_certificate() {
        Some(_) => {
            let identity = settings.client_certificate()?.identity().await;
            let identity = identity.map_err(|error| explain::token_error(&error, settings))?;
            (identity.valid_until(), ", with a certificate in TLS")
        }
        None => (None, ""),
    };
    let check = CredentialCheck {
        location: None,
        method,
        algorithm: None,
        valid_until,
        anomaly,
        description: format!("{method}{note}{by_default}{in_tls}"),
    };
    Ok(check.with_location(secret, "can be read"))
}

/// Returns the path of a secret's file that everyone can read, if there is one.
#[cfg(unix)]
fn world_readable_file(settings: &Settings) -> Option<String> {
    use std::os::unix::fs::PermissionsExt as _;

    let reference = settings.authentication.secret_reference()?.to_string();
    let path = reference.strip_prefix("file:")?;
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o004 != 0).then(|| path.to_owned())
}

#[cfg(not(unix))]
fn world_readable_file(_: &Settings) -> Option<String> {
    None
}

async fn read_secret(
    settings: &Settings,
    setting: &str,
    reference: &SecretReference,
) -> Result<hallpass::Secret, Failure> {
    let secret = settings.open_secret(setting, reference)?.secret().await;
    secret.map_err(|error| explain::token_error(&error.into(), settings))
}

impl CredentialCheck {
    fn with_location(mut self, reference: &SecretReference, what: &str) -> Self {
        self.location = Some(format!("{reference} {what}"));
        self
    }

    /// Returns the failure with the refused method added.
    pub(super) fn refusal(&self, failure: &Failure) -> Failure {
        let text = format!("{}: {}", self.description, failure.message());
        let refused = Failure::new(failure.exit(), text);
        match failure.remedy() {
            Some(remedy) => refused.with_remedy(remedy),
            None => refused,
        }
    }

    pub(super) fn report_credential(
        &self,
        step: &'static str,
        settings: &Settings,
        report: &mut Report,
    ) {
        let Some(location) = &self.location else {
            report.skipped(step, "the method uses no credential");
            return;
        };
        if let Some(path) = world_readable_file(settings) {
            let detail = format!("{location}, but every user of this machine can read the file");
            report.warning(step, detail, &format!("`chmod o= {path}`"));
            return;
        }
        if let Some(anomaly) = self.anomaly {
            report.warning(step, format!("{location}, but {anomaly}"), anomaly.hint());
            return;
        }
        let Some(valid_until) = self.valid_until else {
            report.ok(step, location);
            return;
        };
        let validity = Validity::until(valid_until);
        let detail = format!("{location}, {validity}");
        if validity.is_short() {
            let remedy = "renew it: servers refuse an expired certificate";
            report.warning(step, detail, remedy);
        } else {
            report.ok(step, detail);
        }
    }

    /// Compares the method with the server's metadata. The lists may be incomplete, so a missing method is not yet a
    /// failure.
    pub(super) fn report_method(
        &self,
        metadata: Option<&Metadata>,
        step: &'static str,
        report: &mut Report,
    ) {
        let Some(metadata) = metadata.filter(|_| !self.method.is_empty()) else {
            report.ok(step, &self.description);
            return;
        };
        let mut methods = metadata.token_endpoint_auth_methods();
        if !methods.any(|method| method == self.method) {
            let detail = format!(
                "{}, which the server's metadata does not list",
                self.description
            );
            let listed: Vec<_> = metadata.token_endpoint_auth_methods().collect();
            let listed = TextFilter::new().clean(&listed.join("`, `"));
            let remedy = format!(
                "it lists `{listed}`: set `authentication` to the method registered for the client"
            );
            report.warning(step, detail, &remedy);
            return;
        }
        match self.algorithm {
            Some(algorithm) if metadata.supports_assertion_algorithm(algorithm) == Some(false) => {
                let detail = format!(
                    "{}, an algorithm that the server's metadata does not list",
                    self.description
                );
                report.warning(
                    step,
                    detail,
                    "generate a key for a listed algorithm, or set `algorithm`",
                );
            }
            _ => report.ok(
                step,
                format!("{}, supported by the server", self.description),
            ),
        }
    }
}
