use std::sync::Arc;

use async_trait::async_trait;
use hallpass_core::{SecretSource, TokenError};
use hallpass_endpoint::{
    AuthenticationContext, BuildError, ClientAuthentication, Credentials, Requirement,
    SecurityProfile,
};

use crate::{
    Algorithm, AssertionSettings, Signer,
    assertion::{Header, UnsignedAssertion},
    keys::{self, Keys},
    settings::Audience,
};

mod reuse;

use reuse::{Purpose, Reuse};

/// `private_key_jwt`: an assertion signed with the client's private key (RFC 7523 section 2.2, OpenID Connect Core
/// section 9). The server knows only the public key, and nothing on the wire can be replayed for long.
///
/// Each attempt has an assertion of its own, with its time and a random number.
///
#[cfg_attr(any(feature = "aws-lc-rs", feature = "ring"), doc = "```")]
#[cfg_attr(not(any(feature = "aws-lc-rs", feature = "ring")), doc = "```ignore")]
/// use hallpass_endpoint::ClientCredentials;
/// use hallpass_jwt::{AssertionSettings, PrivateKeyJwt, SigningKey};
///
/// # fn example(pem: &str) -> Result<(), Box<dyn std::error::Error>> {
/// let key = SigningKey::from_pem(pem)?.with_key_id("2026-11");
/// let how = PrivateKeyJwt::new(AssertionSettings::new("https://login.example")?, key);
/// let source = ClientCredentials::builder("https://login.example/token", "orders-service", how).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct PrivateKeyJwt {
    settings: AssertionSettings,
    keys: Arc<dyn Keys>,
    reuse: Option<Arc<Reuse>>,
}

impl PrivateKeyJwt {
    /// Creates a client authentication that signs with this key, in memory or elsewhere.
    pub fn new(settings: AssertionSettings, signer: impl Signer + 'static) -> Self {
        Self {
            settings,
            keys: keys::fixed(signer),
            reuse: None,
        }
    }

    /// Creates a client authentication that signs with the key that is currently in this source, so that a rotated key, in a file or a vault, is used from
    /// the next request on. `read` creates a signer from the text, again whenever the text changes.
    ///
    /// If `read` fails, the call fails; the previous key is not used again.
    ///
    #[cfg_attr(any(feature = "aws-lc-rs", feature = "ring"), doc = "```")]
    #[cfg_attr(not(any(feature = "aws-lc-rs", feature = "ring")), doc = "```ignore")]
    /// use hallpass_core::SecretSource;
    /// use hallpass_jwt::{Algorithm, AssertionSettings, PrivateKeyJwt, SigningKey};
    ///
    /// fn rotating(file: impl SecretSource + 'static) -> Result<PrivateKeyJwt, hallpass_endpoint::BuildError> {
    ///     let settings = AssertionSettings::new("https://login.example")?;
    ///     // The new key's `kid` follows from the key.
    ///     Ok(PrivateKeyJwt::from_source(settings, file, |pem| {
    ///         Ok(SigningKey::from_pem(pem)?.with_thumbprint_as_key_id())
    ///     }))
    /// }
    /// ```
    pub fn from_source<S: Signer + 'static>(
        settings: AssertionSettings,
        source: impl SecretSource + 'static,
        read: impl Fn(&str) -> Result<S, BuildError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            settings,
            keys: keys::rotating(source, read),
            reuse: None,
        }
    }

    /// Sends an assertion again until ten seconds before it expires, so that the requests of that time cost one
    /// signature: for keys in a KMS, whose signatures take time and money. Default: each attempt has an assertion of its
    /// own.
    ///
    /// The server must accept an assertion repeatedly. It may refuse a `jti` that it has seen (RFC 7523 section 3), and
    /// many do. If a repeated assertion is refused, the request is retried with a new one, and none is repeated from then
    /// on.
    ///
    /// The assertion's [lifetime](AssertionSettings::lifetime) limits the effect. Concurrent requests without an assertion
    /// each sign one. Clones share the assertion.
    #[must_use]
    pub fn reuse_assertions(mut self) -> Self {
        self.reuse = Some(Arc::default());
        self
    }
}

const HINT: &str = "check that the server knows the key for this `client_id` (its `kid` too, where it has more than one), supports its algorithm, and is the issuer that the assertion names";

#[async_trait]
impl ClientAuthentication for PrivateKeyJwt {
    async fn credentials(
        &self,
        context: &AuthenticationContext<'_>,
    ) -> Result<Credentials, TokenError> {
        let key = self.keys.current().await?;
        if let Some(profile) = context.security_profile() {
            // Before the signature, which may be a call to a service.
            let algorithm = key.signer.algorithm().name();
            profile
                .check_method(self.method(), Some(algorithm))
                .map_err(|error| TokenError::configuration(error.to_string()))?;
        }
        let write = |header: Header<'_>| UnsignedAssertion::new(&self.settings, context, header);
        let signed = match &self.reuse {
            Some(reuse) => {
                let purpose = Purpose::new(&self.settings, context, &key)?;
                match reuse.assertion(&purpose) {
                    Some(signed) => signed,
                    None => reuse.keep(purpose, key.sign(write).await?),
                }
            }
            None => key.sign(write).await?,
        };
        let mut credentials = signed.into_credentials(context, HINT);
        if self.reuse.is_some() {
            credentials = credentials.repeatable();
        }
        Ok(match key.secret {
            Some(secret) => credentials.from_secret(secret),
            None => credentials.fixed(),
        })
    }

    fn needs_discovery(&self) -> bool {
        self.settings.needs_discovery()
    }

    fn method(&self) -> Option<&'static str> {
        Some("private_key_jwt")
    }

    fn algorithm(&self) -> Option<&'static str> {
        self.keys.algorithm().map(Algorithm::name)
    }

    fn check_profile(&self, profile: SecurityProfile) -> Result<(), BuildError> {
        profile.check_method(self.method(), self.algorithm())?;
        let excluded = match (&self.settings.audience, &self.reuse) {
            (Audience::TokenEndpoint, _) => (
                "danger_token_endpoint_as_audience",
                "the audience of assertions is the token endpoint",
                &Requirement::AUDIENCE,
            ),
            (Audience::Other(_), _) => (
                "for_audience",
                "the audience of assertions is set to another text than the issuer",
                &Requirement::AUDIENCE,
            ),
            (_, Some(_)) => (
                "reuse_assertions",
                "assertions are sent again",
                &Requirement::ASSERTIONS,
            ),
            _ => return Ok(()),
        };
        let (setting, fault, requirement) = excluded;
        let error = profile.excludes(setting, fault, requirement);
        Err(error.with_hint("remove one of the two"))
    }

    fn epoch(&self) -> u64 {
        let refusals = self.reuse.as_ref().map_or(0, |reuse| reuse.epoch());
        self.keys.epoch().wrapping_add(refusals)
    }

    async fn digest(&self, client_id: &str) -> Option<[u8; 32]> {
        let [audience, typ] = self.settings.digest_parts();
        let more = [client_id.as_bytes(), audience, typ];
        keys::digest(&*self.keys, "private_key_jwt", &more).await
    }

    fn refused(&self, credentials: &Credentials) {
        if let Some(reuse) = &self.reuse {
            let mut sent = credentials.expose_parameters();
            let assertion = sent.find(|(name, _)| *name == "client_assertion");
            reuse.refused(assertion.map_or("", |(_, assertion)| assertion));
        }
        if let Some(secret) = credentials.secret() {
            self.keys.refused(secret);
        }
    }
}

#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
#[cfg(test)]
mod tests;
