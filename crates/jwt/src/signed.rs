use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use hallpass_core::{SecretSource, TokenError, TokenRequest};
use hallpass_endpoint::{Assertion, AssertionSource, AuthenticationContext, BuildError};
use serde_json::Value;

use crate::{
    AssertionSettings, Signer,
    assertion::{Claims, UnsignedAssertion},
    keys::{self, Keys},
};

/// An assertion for the [JWT bearer grant](hallpass_endpoint::JwtBearer), signed with a key of this client (RFC 7523
/// section 3): for service accounts, and for clients that a server lets act for its users.
///
/// Issuer and subject default to the source's `client_id`. Each attempt has an assertion of its own, with its time and
/// a random number.
///
#[cfg_attr(any(feature = "aws-lc-rs", feature = "ring"), doc = "```")]
#[cfg_attr(not(any(feature = "aws-lc-rs", feature = "ring")), doc = "```ignore")]
/// use hallpass_endpoint::{JwtBearer, PublicClient};
/// use hallpass_jwt::{AssertionSettings, SignedAssertion, SigningKey};
///
/// # fn example(pem: &str) -> Result<(), Box<dyn std::error::Error>> {
/// let settings = AssertionSettings::new("https://login.example")?;
/// let assertion = SignedAssertion::new(settings, SigningKey::from_pem(pem)?).subject("jane@orders.example");
/// let source = JwtBearer::builder("https://login.example/token", "orders-service", PublicClient::new(), assertion).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SignedAssertion {
    settings: AssertionSettings,
    keys: Arc<dyn Keys>,
    issuer: Option<String>,
    subject: Subject,
    scope: bool,
    claims: BTreeMap<String, Value>,
}

#[derive(Clone, Debug)]
enum Subject {
    Client,
    Named(String),
    None,
}

/// The claims that this type manages.
const RESERVED: [&str; 8] = ["aud", "exp", "iat", "iss", "jti", "nbf", "scope", "sub"];

impl SignedAssertion {
    /// Creates a source that signs with this key, in memory or elsewhere. The assertion's `typ` is always `JWT`,
    /// regardless of the settings.
    pub fn new(settings: AssertionSettings, signer: impl Signer + 'static) -> Self {
        Self::with(settings, keys::fixed(signer))
    }

    /// Creates a source that signs with the key that is currently in this secret source; see
    /// [`PrivateKeyJwt::from_source`](crate::PrivateKeyJwt::from_source).
    pub fn from_source<S: Signer + 'static>(
        settings: AssertionSettings,
        source: impl SecretSource + 'static,
        read: impl Fn(&str) -> Result<S, BuildError> + Send + Sync + 'static,
    ) -> Self {
        Self::with(settings, keys::rotating(source, read))
    }

    fn with(settings: AssertionSettings, keys: Arc<dyn Keys>) -> Self {
        Self {
            settings: settings.plain_type(),
            keys,
            issuer: None,
            subject: Subject::Client,
            scope: false,
            claims: BTreeMap::new(),
        }
    }

    /// Sets the issuer (`iss`). Default: the `client_id`.
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// Sets the subject of the token (`sub`): a user that this issuer may act for. Default: the `client_id`.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Subject::Named(subject.into());
        self
    }

    /// Omits the subject, for a server that treats any subject as a request to act for a user, such as Google's. RFC
    /// 7523 section 3 requires one.
    #[must_use]
    pub fn without_subject(mut self) -> Self {
        self.subject = Subject::None;
        self
    }

    /// Adds the requested scopes to the assertion (`scope`), for servers that expect them there, such as Google's.
    #[must_use]
    pub fn with_scope_claim(mut self) -> Self {
        self.scope = true;
        self
    }

    /// Adds a claim that the server defines, as a string.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] if the claim has a method of its own, or is managed here.
    pub fn claim(
        mut self,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<Self, BuildError> {
        let name = name.into();
        if RESERVED.contains(&name.as_str()) {
            return Err(BuildError::new(
                "claim",
                format!(
                    "`{name}` is managed by the assertion; use the method or the setting for it"
                ),
            ));
        }
        self.claims.insert(name, Value::String(value.into()));
        Ok(self)
    }
}

#[async_trait]
impl AssertionSource for SignedAssertion {
    async fn assertion(
        &self,
        context: &AuthenticationContext<'_>,
        request: &TokenRequest,
    ) -> Result<Assertion, TokenError> {
        let scope = request.scopes();
        let key = self.keys.current().await?;
        let signed = key
            .sign(|header| {
                let claims = Claims {
                    iss: self.issuer.as_deref().unwrap_or(context.client_id()),
                    sub: match &self.subject {
                        Subject::Client => Some(context.client_id()),
                        Subject::Named(subject) => Some(subject),
                        Subject::None => None,
                    },
                    scope: (self.scope && !scope.is_empty()).then_some(scope.as_str()),
                    more: &self.claims,
                };
                UnsignedAssertion::with_claims(&self.settings, context, header, claims)
            })
            .await?;
        let assertion = signed.into_assertion()?.refusal_hint(HINT);
        Ok(match key.secret {
            Some(secret) => assertion.from_secret(secret),
            None => assertion.fixed(),
        })
    }

    fn needs_discovery(&self) -> bool {
        self.settings.needs_discovery()
    }

    fn epoch(&self) -> u64 {
        self.keys.epoch()
    }

    async fn digest(&self, client_id: &str) -> Option<[u8; 32]> {
        let [audience, typ] = self.settings.digest_parts();
        let issuer = self.issuer.as_deref().unwrap_or(client_id);
        let subject = format!("{:?}, scope: {}", self.subject, self.scope);
        let claims = serde_json::to_vec(&self.claims).ok()?;
        let more: [&[u8]; 6] = [
            client_id.as_bytes(),
            audience,
            typ,
            issuer.as_bytes(),
            subject.as_bytes(),
            &claims,
        ];
        keys::digest(&*self.keys, "signed assertion", &more).await
    }

    fn refused(&self, assertion: &Assertion) {
        if let Some(secret) = assertion.secret() {
            self.keys.refused(secret);
        }
    }
}

const HINT: &str = "check that the server knows the key for this issuer (its `kid` too, where it has more than one), allows it to act for this subject, and is the audience that the assertion names";

#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
#[cfg(test)]
mod tests;
