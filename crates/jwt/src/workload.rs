use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hallpass_core::{Clock, SecretSource, SystemClock, TokenError};
use hallpass_endpoint::{
    AuthenticationContext, BuildError, ClientAuthentication, Credentials, Requirement,
    SecurityProfile, credential_digest,
};
use serde::Deserialize;

use crate::assertion::{JWT_BEARER, parameters};

/// Workload identity: an assertion that the platform issues and renews, instead of a secret of the client's own (RFC
/// 7523 section 2.2, RFC 7521 section 4.2).
///
/// The source is read for each attempt. Its text is a bare JWT, as Kubernetes projects it for a service account and
/// SPIFFE's helper writes it, or the JSON object with a `value` that GitHub Actions returns. The authorization server
/// must trust the issuer, and map the assertion to a client.
///
/// ```
/// use hallpass_core::SecretSource;
/// use hallpass_endpoint::ClientCredentials;
/// use hallpass_jwt::WorkloadIdentity;
///
/// # fn example(projected: impl SecretSource + 'static) -> Result<(), Box<dyn std::error::Error>> {
/// // A `FileSecret` of hallpass-secrets, for the path of the projected volume.
/// let authentication = WorkloadIdentity::new(projected);
/// let source = ClientCredentials::builder("https://login.example/token", "orders-service", authentication).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct WorkloadIdentity {
    source: Arc<dyn SecretSource>,
    send_client_id: bool,
    clock: Arc<dyn Clock>,
}

impl WorkloadIdentity {
    /// Creates a client authentication with the assertion that is currently in this source.
    pub fn new(source: impl SecretSource + 'static) -> Self {
        Self {
            source: Arc::new(source),
            send_client_id: true,
            clock: Arc::new(SystemClock),
        }
    }

    /// Omits `client_id` from the request, for a server that identifies the client by the assertion's subject and
    /// refuses a request in which the two differ (RFC 7521 section 4.2).
    #[must_use]
    pub fn without_client_id(mut self) -> Self {
        self.send_client_id = false;
        self
    }

    /// Sets the clock, for tests.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }
}

impl WorkloadIdentity {
    /// Reads the assertion, and presents it with this type if the check accepts it.
    pub(crate) async fn present(
        &self,
        context: &AuthenticationContext<'_>,
        assertion_type: &'static str,
        check: impl FnOnce(&str) -> Result<(), TokenError> + Send,
    ) -> Result<Credentials, TokenError> {
        let secret = self.source.secret().await?;
        let assertion = extract(secret.expose()).ok_or_else(|| {
            TokenError::configuration("the source's text is not a JWT").with_hint(
                "the source must return the JWT alone, or a JSON object with it as `value`",
            )
        })?;
        check(assertion)?;
        let client_id = self.send_client_id.then(|| context.client_id());
        let credentials = parameters(client_id, assertion_type, assertion.to_owned());
        let credentials = match expired(assertion, self.clock.wall()) {
            None => credentials.refusal_hint(HINT),
            Some(ago) => credentials.refusal_hint(format!(
                "the platform's assertion expired {ago:?} ago by this machine's clock: check that the platform renews it, and this machine's clock"
            )),
        };
        Ok(credentials.from_secret(secret))
    }
}

const HINT: &str = "check that the server trusts the issuer of the platform's assertion, and that issuer, subject and audience are those that it expects for this client";

#[async_trait]
impl ClientAuthentication for WorkloadIdentity {
    async fn credentials(
        &self,
        context: &AuthenticationContext<'_>,
    ) -> Result<Credentials, TokenError> {
        self.present(context, JWT_BEARER, |_| Ok(())).await
    }

    fn method(&self) -> Option<&'static str> {
        Some("private_key_jwt")
    }

    /// The issuer of a platform's assertion is the platform, and its algorithm is the platform's choice.
    fn check_profile(&self, profile: SecurityProfile) -> Result<(), BuildError> {
        let fault = "another party issues the assertions";
        let error = profile.excludes("authentication", fault, &Requirement::ASSERTIONS);
        Err(error.with_hint("use `PrivateKeyJwt` or `MutualTls`"))
    }

    fn epoch(&self) -> u64 {
        self.source.epoch()
    }

    async fn digest(&self, client_id: &str) -> Option<[u8; 32]> {
        let secret = self.source.secret().await.ok()?;
        let client_id = if self.send_client_id { client_id } else { "" };
        let parts = [client_id.as_bytes(), secret.expose().as_bytes()];
        Some(credential_digest("workload identity", &parts))
    }

    fn refused(&self, credentials: &Credentials) {
        if let Some(secret) = credentials.secret() {
            self.source.refused(secret);
        }
    }
}

/// Returns the JWT in the platform's text.
fn extract(text: &str) -> Option<&str> {
    #[derive(Deserialize)]
    struct GitHub<'a> {
        value: &'a str,
    }

    let text = text.trim_ascii();
    let jwt = if text.starts_with('{') {
        serde_json::from_str::<GitHub<'_>>(text).ok()?.value
    } else {
        text
    };
    let part = |part: &str| {
        let fit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        !part.is_empty() && part.bytes().all(fit)
    };
    (jwt.split('.').count() == 3 && jwt.split('.').all(part)).then_some(jwt)
}

/// Returns the time since the assertion expired, if it can be read. It is sent all the same: the server's clock
/// decides.
fn expired(jwt: &str, now: SystemTime) -> Option<Duration> {
    #[derive(Deserialize)]
    struct Claims {
        exp: u64,
    }

    let claims = BASE64_URL_SAFE_NO_PAD.decode(jwt.split('.').nth(1)?).ok()?;
    let Claims { exp } = serde_json::from_slice(&claims).ok()?;
    let expiry = UNIX_EPOCH.checked_add(Duration::from_secs(exp))?;
    let ago = now.duration_since(expiry).ok()?;
    Some(Duration::from_secs(ago.as_secs()))
}

#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
#[cfg(test)]
mod tests;
