use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hallpass_core::{Clock, Proof, ProofRequest, Prover, SystemClock, TokenError};
use hallpass_endpoint::BuildError;
use serde::Serialize;

use crate::{Algorithm, Signer, SigningKey, provider, stamp};

mod nonces;
mod public;

use nonces::Nonces;

/// The offset of `iat`: a proof does not seem to be from the future while the clock is ahead by less than this.
const IAT_OFFSET: Duration = Duration::from_secs(2);
const HINT: &str = "set this machine's clock: a proof's time comes from it";
/// The length in characters of a 64-byte signature, which both algorithms have.
const SIGNATURE_CHARS: usize = 86;

/// DPoP (RFC 9449): tokens are bound to a key, and each request proves possession of that key. A stolen token is
/// useless without it.
///
/// Pass it to a source, which then accepts only tokens of type DPoP. The token carries it along to the integrations,
/// which need no setting:
///
/// ```
/// use hallpass_core::Secret;
/// use hallpass_endpoint::{ClientCredentials, ClientSecretBasic};
/// use hallpass_jwt::Dpop;
///
/// let secret = ClientSecretBasic::new(Secret::new("s3cr3t")?);
/// let source = ClientCredentials::builder("https://login.example/token", "orders-service", secret)
///     .dpop(Dpop::generate()?)
///     .build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// One instance holds one key and the nonces that servers issued for it; a clone shares both. It signs with ES256 or
/// EdDSA.
#[derive(Clone)]
pub struct Dpop {
    signer: Arc<dyn Signer>,
    algorithm: Algorithm,
    /// The JWS header in base64url with its dot, the same for each proof.
    head: Arc<str>,
    thumbprint: Arc<str>,
    nonces: Arc<Nonces>,
    clock: Arc<dyn Clock>,
    /// True if other processes have the key.
    is_shared: bool,
}

impl Dpop {
    /// Creates a prover with this key: a [`SigningKey`], or another [`Signer`] that has a
    /// [`public_jwk`](Signer::public_jwk).
    ///
    /// # Errors
    ///
    /// A [`BuildError`] if the signer has no public JWK, signs by another algorithm than ES256 and EdDSA, or has a JWK
    /// that does not fit its algorithm.
    pub fn new(signer: impl Signer + 'static) -> Result<Self, BuildError> {
        let jwk = signer.public_jwk().ok_or_else(|| {
            BuildError::new(
                "dpop",
                "the signer has no public JWK, which each proof contains; pass it to `Dpop::with_public_jwk`",
            )
        })?;
        Self::with_public_jwk(signer, &jwk)
    }

    /// Creates a prover with a [`Signer`] that has no `public_jwk`, and a public key (JWK) that is known from elsewhere.
    /// Only the server detects a mismatch between the two.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_public_jwk(
        signer: impl Signer + 'static,
        public_jwk: &str,
    ) -> Result<Self, BuildError> {
        let algorithm = signer.algorithm();
        let jwk = public::read(public_jwk, algorithm)?;
        let header = format!(
            r#"{{"typ":"dpop+jwt","alg":"{algorithm}","jwk":{}}}"#,
            jwk.to_jwk()
        );
        let mut head = BASE64_URL_SAFE_NO_PAD.encode(header);
        head.push('.');
        Ok(Self {
            signer: Arc::new(signer),
            algorithm,
            head: head.into(),
            thumbprint: jwk.thumbprint().into(),
            nonces: Arc::default(),
            clock: Arc::new(SystemClock),
            is_shared: false,
        })
    }

    /// Generates an ES256 key that exists only in this process's memory: right for nearly every service. When the
    /// process ends, the key is lost and its tokens become unusable.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] if the system has no random bytes.
    pub fn generate() -> Result<Self, BuildError> {
        // The PEM text is wiped.
        let (key, _) = SigningKey::generate(Algorithm::Es256)?;
        Self::new(key)
    }

    /// Declares that other processes have this key too, such as from a file. With a store and
    /// `CacheBuilder::shared_prover`, they share the tokens that are bound to it. Default: each process fetches its own.
    #[must_use]
    pub fn share_tokens(mut self) -> Self {
        self.is_shared = true;
        self
    }

    /// Sets the clock, for tests.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Returns the hash of the public key (RFC 7638, SHA-256): `jkt` in the confirmation of a bound token (RFC 9449
    /// section 6).
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }
}

/// The claims of a proof (RFC 9449 section 4.2).
#[derive(Serialize)]
struct Claims<'a> {
    jti: &'a str,
    htm: &'a str,
    htu: &'a str,
    iat: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ath: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
}

#[async_trait]
impl Prover for Dpop {
    async fn prove(&self, request: &ProofRequest<'_>) -> Result<Proof, TokenError> {
        let created_at = self.clock.wall();
        let nonce = match request.nonce() {
            Some(nonce) => Some(nonce.into()),
            None => self.nonces.latest(request),
        };
        let mut text = self.unsigned(request, nonce.as_deref(), created_at)?;
        let signature = self.signer.sign(text.as_bytes()).await?;
        self.algorithm.check(&signature)?;
        text.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut text);
        let proof = Proof::new(text, created_at)?;
        Ok(match nonce {
            Some(nonce) => proof.with_nonce(nonce),
            None => proof,
        })
    }

    fn store_nonce(&self, request: &ProofRequest<'_>, nonce: &str) {
        self.nonces.keep(request, nonce);
    }

    fn shared_key(&self) -> Option<&str> {
        self.is_shared.then_some(&*self.thumbprint)
    }
}

impl Dpop {
    /// Returns the signing input (RFC 7515 section 5.1), with room for the signature.
    fn unsigned(
        &self,
        request: &ProofRequest<'_>,
        nonce: Option<&str>,
        created_at: SystemTime,
    ) -> Result<String, TokenError> {
        let unique = stamp::unique()?;
        let (mut jti, mut ath) = ([0; 22], [0; 43]);
        let token = request.expose_token();
        let hash = token.map(|token| provider::sha256(token.as_bytes()));
        let claims = Claims {
            jti: encode(&unique, &mut jti),
            htm: request.method().as_str(),
            htu: request.url(),
            iat: stamp::seconds(created_at, IAT_OFFSET, HINT)?,
            ath: hash.as_ref().map(|hash| encode(hash, &mut ath)),
            nonce,
        };
        // Enough for most.
        let mut json = Vec::with_capacity(512);
        serde_json::to_writer(&mut json, &claims)
            .map_err(|_| TokenError::configuration("the proof could not be written"))?;
        let length = self.head.len() + json.len().div_ceil(3) * 4 + 1 + SIGNATURE_CHARS;
        let mut text = String::with_capacity(length);
        text.push_str(&self.head);
        BASE64_URL_SAFE_NO_PAD.encode_string(&json, &mut text);
        Ok(text)
    }
}

/// Encodes to base64url, into a buffer of the right length.
fn encode<'a>(bytes: &[u8], buffer: &'a mut [u8]) -> &'a str {
    let written = BASE64_URL_SAFE_NO_PAD.encode_slice(bytes, buffer);
    debug_assert!(written.is_ok(), "a buffer too short");
    str::from_utf8(buffer).unwrap_or_default()
}

impl fmt::Debug for Dpop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dpop")
            .field("signer", &self.signer)
            .field("thumbprint", &self.thumbprint)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
