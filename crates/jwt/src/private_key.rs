use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hallpass_core::{Secret, SecretSource, TokenError};
use hallpass_endpoint::{AuthenticationContext, BuildError, ClientAuthentication, Credentials};

use crate::{
    Algorithm, AssertionSettings, Signer,
    assertion::{Header, Unsigned},
};

/// `private_key_jwt`: an assertion that the client's private key signs (RFC 7523 section 2.2, OpenID Connect Core
/// section 9). The server knows the public key alone, and nothing that can be replayed for long goes over the wire.
///
/// Each attempt has an assertion of its own, dated and with a random number in it.
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
}

impl PrivateKeyJwt {
    /// Signs with this key, in memory or elsewhere.
    pub fn new(settings: AssertionSettings, signer: impl Signer + 'static) -> Self {
        Self {
            settings,
            keys: Arc::new(Fixed(Arc::new(signer))),
        }
    }

    /// Signs with the key that is in this source now, so that a key which rotates, in a file or a vault, is used from
    /// the next request on. `read` makes a signer of the text, again whenever the text is another one.
    ///
    /// What `read` refuses is an error of that call; the key before is not used again.
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
        let rotating = Rotating {
            source,
            read: move |text: &str| -> Result<Arc<dyn Signer>, _> { Ok(Arc::new(read(text)?)) },
            last: Mutex::default(),
        };
        Self {
            settings,
            keys: Arc::new(rotating),
        }
    }
}

const HINT: &str = "check that the server knows the key for this `client_id` (its `kid` too, where it has more than one), takes its algorithm, and is the issuer that the assertion names";

#[async_trait]
impl ClientAuthentication for PrivateKeyJwt {
    async fn credentials(
        &self,
        context: &AuthenticationContext<'_>,
    ) -> Result<Credentials, TokenError> {
        let Key { signer, secret } = self.keys.current().await?;
        let algorithm = signer.algorithm();
        let thumbprint = signer.certificate_thumbprint();
        let header = Header {
            alg: algorithm.name(),
            kid: signer.key_id(),
            thumbprint: thumbprint.map(|hash| BASE64_URL_SAFE_NO_PAD.encode(hash)),
        };
        let unsigned = Unsigned::new(&self.settings, context, header)?;
        let signature = signer.sign(unsigned.message()).await?;
        algorithm.check(&signature)?;
        let credentials = unsigned.signed(&signature).into_credentials(context, HINT);
        Ok(match secret {
            Some(secret) => credentials.from_secret(secret),
            None => credentials,
        })
    }

    fn method(&self) -> Option<&'static str> {
        Some("private_key_jwt")
    }

    fn algorithm(&self) -> Option<&'static str> {
        self.keys.algorithm().map(Algorithm::name)
    }

    fn epoch(&self) -> u64 {
        self.keys.epoch()
    }

    fn refused(&self, credentials: &Credentials) {
        if let Some(secret) = credentials.secret() {
            self.keys.refused(secret);
        }
    }
}

/// A signer, and the secret that it was read from.
struct Key {
    signer: Arc<dyn Signer>,
    secret: Option<Secret>,
}

#[async_trait]
trait Keys: Send + Sync + fmt::Debug {
    async fn current(&self) -> Result<Key, TokenError>;

    /// Where it is the same for every key.
    fn algorithm(&self) -> Option<Algorithm> {
        None
    }

    fn epoch(&self) -> u64;

    fn refused(&self, secret: &Secret);
}

struct Fixed(Arc<dyn Signer>);

#[async_trait]
impl Keys for Fixed {
    async fn current(&self) -> Result<Key, TokenError> {
        Ok(Key {
            signer: self.0.clone(),
            secret: None,
        })
    }

    fn algorithm(&self) -> Option<Algorithm> {
        Some(self.0.algorithm())
    }

    fn epoch(&self) -> u64 {
        self.0.epoch()
    }

    fn refused(&self, _: &Secret) {}
}

impl fmt::Debug for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

struct Rotating<S, R> {
    source: S,
    read: R,
    /// To read a key is slow: its parts are checked against each other.
    last: Mutex<Option<(Secret, Arc<dyn Signer>)>>,
}

#[async_trait]
impl<S, R> Keys for Rotating<S, R>
where
    S: SecretSource,
    R: Fn(&str) -> Result<Arc<dyn Signer>, BuildError> + Send + Sync,
{
    async fn current(&self) -> Result<Key, TokenError> {
        let secret = self.source.secret().await?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let known = last.as_ref().filter(|(known, _)| known.matches(&secret));
        let signer = if let Some((_, signer)) = known {
            signer.clone()
        } else {
            *last = None;
            let signer = (self.read)(secret.expose())
                .map_err(|error| TokenError::configuration(error.to_string()))?;
            *last = Some((secret.clone(), signer.clone()));
            signer
        };
        Ok(Key {
            signer,
            secret: Some(secret),
        })
    }

    fn epoch(&self) -> u64 {
        self.source.epoch()
    }

    fn refused(&self, secret: &Secret) {
        self.source.refused(secret);
    }
}

impl<S: fmt::Debug, R> fmt::Debug for Rotating<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rotating").field(&self.source).finish()
    }
}

#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
#[cfg(test)]
mod tests;
