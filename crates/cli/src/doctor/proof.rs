//! Checks whether the credential can be read, and whether the server accepts the authentication method.

use std::time::SystemTime;

use hallpass::{
    core::{SecretAnomaly, TextFilter},
    endpoint::{
        AuthenticationContext, ClientAuthentication as _, Metadata, presets::SecretAuthentication,
    },
    jwt::Signer as _,
};

use super::{report::Report, steps::CERTIFICATE_DAYS};
use crate::{
    config::{Proof as Setting, SecretReference, Sent, Server, Settings},
    explain,
    failure::Failure,
    source,
};

/// The result of reading the credential.
pub(super) struct Proof {
    /// The credential's location and description; `None` if there is nothing secret.
    read: Option<String>,
    /// The registered name of the method, as in server metadata.
    method: &'static str,
    algorithm: Option<&'static str>,
    /// The end of a certificate's validity.
    ends: Option<SystemTime>,
    /// A sign that a client secret was altered in transit.
    anomaly: Option<SecretAnomaly>,
    described: String,
}

pub(super) async fn read(settings: &Settings) -> Result<Proof, Failure> {
    let proof = look(settings).await?;
    // The credentials are created as for a request but not sent, to report errors before any network access.
    let context = AuthenticationContext::new(&settings.client_id, settings.place.url());
    let credentials = source::authentication(settings)?
        .credentials(&context)
        .await;
    credentials.map_err(|error| explain::token_error(&error, settings))?;
    Ok(proof)
}

async fn look(settings: &Settings) -> Result<Proof, Failure> {
    let plain = |method, described: &str| Proof {
        read: None,
        method,
        algorithm: None,
        ends: None,
        anomaly: None,
        described: described.to_owned(),
    };
    Ok(match &settings.proof {
        Setting::Secret { way, secret } => {
            let anomaly = text(settings, "client_secret", secret).await?.anomaly();
            let (sent, by_default) = match way {
                Some(sent) => (*sent, ""),
                None => (default_of(settings.server), ", the default for this server"),
            };
            let (method, encoding) = match sent {
                Sent::Form => ("client_secret_post", ""),
                Sent::Basic => ("client_secret_basic", ""),
                Sent::RawBasic => ("client_secret_basic", ", not encoded"),
            };
            let described = format!("{method}{encoding}{by_default}");
            Proof {
                anomaly,
                ..plain(method, &described).from(secret, "can be read")
            }
        }
        Setting::SecretJwt { secret } => {
            let anomaly = text(settings, "client_secret", secret).await?.anomaly();
            let proof = plain("client_secret_jwt", "client_secret_jwt by HS256");
            Proof {
                anomaly,
                algorithm: Some("HS256"),
                ..proof.from(secret, "can be read")
            }
        }
        Setting::Key {
            key: reference,
            certificate,
            ..
        } => {
            let text = source::open_key(settings)?.secret().await;
            let text = text.map_err(|error| explain::token_error(&error.into(), settings))?;
            let key = source::key(text.expose(), settings)?;
            let algorithm = key.algorithm().name();
            let key_id = match (key.key_id(), certificate) {
                (Some(key_id), _) => format!("the server must know it as `{key_id}`"),
                (None, Some(_)) => "the server must know its certificate".to_owned(),
                (None, None) => "it has no `kid`".to_owned(),
            };
            let described = format!("private_key_jwt by {algorithm}; {key_id}");
            Proof {
                algorithm: Some(algorithm),
                ..plain("private_key_jwt", &described)
                    .from(reference, &format!("holds a key for {algorithm}"))
            }
        }
        Setting::Workload { assertion } => {
            text(settings, "assertion", assertion).await?;
            plain("private_key_jwt", "an assertion of the platform's")
                .from(assertion, "can be read")
        }
        Setting::Certificate {
            certificate,
            self_signed,
            ..
        } => {
            let identity = source::certificate(settings)?.identity().await;
            let identity = identity.map_err(|error| explain::token_error(&error, settings))?;
            let method = if *self_signed {
                "self_signed_tls_client_auth"
            } else {
                "tls_client_auth"
            };
            Proof {
                ends: identity.valid_until(),
                ..plain(method, &format!("{method}, by its certificate in TLS"))
                    .from(certificate, "holds a certificate that fits its key")
            }
        }
        Setting::Nothing => plain(
            "none",
            "none: the server must know the client by its network",
        ),
    })
}

/// Returns how a secret is sent by default.
fn default_of(server: Server) -> Sent {
    match server {
        Server::Camall => Sent::Form,
        Server::Any => Sent::Basic,
        Server::Preset(preset) => match preset.authentication {
            SecretAuthentication::Post => Sent::Form,
            SecretAuthentication::BasicRaw => Sent::RawBasic,
            _ => Sent::Basic,
        },
    }
}

/// Returns the path of a secret's file that everyone can read, if there is one.
#[cfg(unix)]
fn open_to_everyone(settings: &Settings) -> Option<String> {
    use std::os::unix::fs::PermissionsExt as _;

    let reference = settings.proof.secret_reference()?.to_string();
    let path = reference.strip_prefix("file:")?;
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o004 != 0).then(|| path.to_owned())
}

#[cfg(not(unix))]
fn open_to_everyone(_: &Settings) -> Option<String> {
    None
}

async fn text(
    settings: &Settings,
    setting: &str,
    reference: &SecretReference,
) -> Result<hallpass::Secret, Failure> {
    let secret = source::open(settings, setting, reference)?.secret().await;
    secret.map_err(|error| explain::token_error(&error.into(), settings))
}

impl Proof {
    fn from(mut self, reference: &SecretReference, what: &str) -> Self {
        self.read = Some(format!("{reference} {what}"));
        self
    }

    /// Returns the failure with the rejected method added.
    pub(super) fn refused(&self, failure: &Failure) -> Failure {
        let text = format!("{}: {}", self.described, failure.message());
        let refused = Failure::new(failure.exit(), text);
        match failure.remedy() {
            Some(remedy) => refused.with_remedy(remedy),
            None => refused,
        }
    }

    pub(super) fn report(&self, step: &'static str, settings: &Settings, report: &mut Report) {
        let Some(read) = &self.read else {
            report.skipped(step, "there is none");
            return;
        };
        if let Some(path) = open_to_everyone(settings) {
            let detail = format!("{read}, and everyone on this machine may read it");
            report.warning(step, detail, &format!("`chmod o= {path}`"));
            return;
        }
        if let Some(anomaly) = self.anomaly {
            report.warning(step, format!("{read}, and {anomaly}"), anomaly.hint());
            return;
        }
        let Some(ends) = self.ends else {
            report.ok(step, read);
            return;
        };
        let left = ends.duration_since(SystemTime::now()).unwrap_or_default();
        let days = left.as_secs() / 86_400;
        let detail = format!("{read}, good for {days} more days");
        if days < CERTIFICATE_DAYS {
            let remedy = "have it renewed: servers refuse one that has ended";
            report.warning(step, detail, remedy);
        } else {
            report.ok(step, detail);
        }
    }

    /// Compares the method with the server's metadata. The lists may be incomplete, so a missing method is not yet a
    /// failure.
    pub(super) fn judge(
        &self,
        metadata: Option<&Metadata>,
        step: &'static str,
        report: &mut Report,
    ) {
        let Some(metadata) = metadata.filter(|_| !self.method.is_empty()) else {
            report.ok(step, &self.described);
            return;
        };
        let mut methods = metadata.token_endpoint_auth_methods();
        if !methods.any(|method| method == self.method) {
            let detail = format!(
                "{}, which the server's metadata does not list",
                self.described
            );
            let listed: Vec<_> = metadata.token_endpoint_auth_methods().collect();
            let listed = TextFilter::new().clean(&listed.join("`, `"));
            let remedy = format!(
                "it lists `{listed}`: set `authentication` to what the client is registered for"
            );
            report.warning(step, detail, &remedy);
            return;
        }
        match self.algorithm {
            Some(algorithm) if metadata.takes_assertions_by(algorithm) == Some(false) => {
                let detail = format!(
                    "{}, an algorithm that the server's metadata does not list",
                    self.described
                );
                report.warning(
                    step,
                    detail,
                    "make a key of another kind, or set `algorithm`",
                );
            }
            _ => report.ok(step, format!("{}, which the server takes", self.described)),
        }
    }
}
