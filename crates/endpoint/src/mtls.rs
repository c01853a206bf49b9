//! Client authentication by a certificate (RFC 8705).

mod identity;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use hallpass_core::{Clock, Hint, Secret, SecretSource, SystemClock, TokenError};

use crate::{AuthenticationContext, ClientAuthentication, Credentials, hints};

pub use identity::ClientIdentity;
use identity::Fault;
pub(crate) use identity::WeakIdentity;

/// `tls_client_auth` and `self_signed_tls_client_auth`: the client proves itself by the certificate that it presents
/// in the TLS handshake (RFC 8705 section 2). No secret and no assertion is sent.
///
/// Certificate and key are read for each token request, so that new ones are used from the next request on. Each
/// certificate has connections of its own: none that was opened with an old one carries a request of the new one.
///
/// ```
/// use hallpass_core::SecretSource;
/// use hallpass_endpoint::{BuildError, ClientCredentials, MutualTls};
///
/// fn source(
///     certificate: impl SecretSource + 'static,
///     key: impl SecretSource + 'static,
/// ) -> Result<ClientCredentials, BuildError> {
///     let how = MutualTls::from_pair(certificate, key);
///     ClientCredentials::builder("https://mtls.login.example/token", "orders-service", how).build()
/// }
/// ```
///
/// # Bound tokens
///
/// The server may bind a token to the certificate, so that it is of use on connections that present the same one
/// alone (RFC 8705 section 3). A token does not tell, so each is taken as bound: a cache drops it as soon as another
/// certificate is read, and keeps it out of a store that others share. [`unbound_tokens`](Self::unbound_tokens) is for
/// a server that binds none.
///
/// The client of the API presents the certificate too: [`identity`](Self::identity) yields the one in use.
///
/// Clones are one and the same.
#[derive(Clone)]
pub struct MutualTls {
    pair: Arc<Pair>,
    self_signed: bool,
    unbound: bool,
    clock: Arc<dyn Clock>,
}

/// Where certificate and key are, and what was last read there.
struct Pair {
    certificate: Box<dyn SecretSource>,
    key: Option<Box<dyn SecretSource>>,
    /// Rises with each reading, so that a slow one does not put an old certificate back in use.
    turn: AtomicU64,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    turn: u64,
    current: Option<Current>,
    epoch: u64,
}

struct Current {
    identity: ClientIdentity,
    /// As the sources yielded it.
    read: Read,
}

#[derive(Clone)]
struct Read {
    certificate: Secret,
    key: Option<Secret>,
}

impl MutualTls {
    /// Reads certificate and private key from one PEM text, in which the client's own certificate comes before those
    /// of its chain.
    pub fn new(certificate_and_key: impl SecretSource + 'static) -> Self {
        Self::reading(Box::new(certificate_and_key), None)
    }

    /// Reads them from two PEM texts: the `tls.crt` and `tls.key` of Kubernetes, cert-manager and others.
    ///
    /// Where the two do not belong together, since one was replaced between the two readings, both are read once more.
    pub fn from_pair(
        certificate: impl SecretSource + 'static,
        key: impl SecretSource + 'static,
    ) -> Self {
        Self::reading(Box::new(certificate), Some(Box::new(key)))
    }

    fn reading(certificate: Box<dyn SecretSource>, key: Option<Box<dyn SecretSource>>) -> Self {
        Self {
            pair: Arc::new(Pair {
                certificate,
                key,
                turn: AtomicU64::new(0),
                last: Mutex::default(),
            }),
            self_signed: false,
            unbound: false,
            clock: Arc::new(SystemClock),
        }
    }

    /// The server knows the certificate itself and not its issuer: `self_signed_tls_client_auth`. The client does the
    /// same either way; hints and the choice among methods differ.
    #[must_use]
    pub fn self_signed(mut self) -> Self {
        self.self_signed = true;
        self
    }

    /// The server binds no tokens to the certificate (`tls_client_certificate_bound_access_tokens` is false for this
    /// client): they outlive it, and may be shared.
    #[must_use]
    pub fn unbound_tokens(mut self) -> Self {
        self.unbound = true;
        self
    }

    /// Reads time from this clock: a test's. It serves hints alone.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Certificate and key as they are now, for the client of an API that takes bound tokens. It reads them anew, so
    /// that a token which is bound to an older certificate is not handed out after this.
    ///
    /// As long as nothing changed it yields clones of one [identity](ClientIdentity::is_clone_of): set a client up when
    /// another one comes. It costs as much as the sources do; a file is read on a thread that may block.
    ///
    /// # Errors
    ///
    /// A [`TokenError`] of kind [`Configuration`](hallpass_core::ErrorKind::Configuration) says what is missing,
    /// damaged or does not fit together; it is transient where a good pair was there before, since it may be about to
    /// be replaced. Of kind [`Unavailable`](hallpass_core::ErrorKind::Unavailable) where a source is.
    ///
    /// # Cancellation
    ///
    /// Dropping the future gives up this reading alone.
    pub async fn identity(&self) -> Result<ClientIdentity, TokenError> {
        let identity = match self.pair.look().await? {
            // One of the two may have been read before it was replaced, and the other after.
            Err(Fault::Mismatch) if self.pair.key.is_some() => self.pair.look().await?,
            identity => identity,
        };
        identity.map_err(|fault| self.unusable(&fault))
    }

    fn unusable(&self, fault: &Fault) -> TokenError {
        let known = self.pair.last().current.is_some();
        let message = format!("the client certificate cannot be used: {}", fault.text());
        TokenError::configuration(message).with_transient(known)
    }

    fn hint(&self, identity: &ClientIdentity) -> Hint {
        if let Some(end) = identity.valid_until()
            && end < self.clock.wall()
        {
            // It is between 1970 and 9999, as the certificate can tell no other.
            return format!(
                "the certificate's validity ended on {}; put a new one in its place",
                httpdate::fmt_http_date(end)
            )
            .into();
        }
        if self.self_signed {
            hints::CERTIFICATE_ITSELF
        } else {
            hints::CERTIFICATE_NAMES
        }
    }
}

#[async_trait]
impl ClientAuthentication for MutualTls {
    async fn credentials(
        &self,
        context: &AuthenticationContext<'_>,
    ) -> Result<Credentials, TokenError> {
        let identity = self.identity().await?;
        let credentials = Credentials::parameters([("client_id", context.client_id())])
            .from_secret(identity.pem().clone())
            .refusal_hint(self.hint(&identity))
            .with_identity(identity);
        Ok(if self.unbound {
            credentials.unbound_tokens()
        } else {
            credentials
        })
    }

    fn method(&self) -> Option<&'static str> {
        Some(if self.self_signed {
            "self_signed_tls_client_auth"
        } else {
            "tls_client_auth"
        })
    }

    fn epoch(&self) -> u64 {
        let pair = &self.pair;
        let key = pair.key.as_ref().map_or(0, SecretSource::epoch);
        let sources = pair.certificate.epoch().wrapping_add(key);
        sources.wrapping_add(pair.last().epoch)
    }

    fn refused(&self, credentials: &Credentials) {
        let pair = &self.pair;
        let read = {
            let last = pair.last();
            let current = last.current.as_ref().zip(credentials.identity());
            // One that is not in use any more was read anew since.
            let current =
                current.filter(|(current, refused)| current.identity.is_clone_of(refused));
            current.map(|(current, _)| current.read.clone())
        };
        let Some(Read { certificate, key }) = read else {
            return;
        };
        pair.certificate.refused(&certificate);
        if let (Some(source), Some(key)) = (&pair.key, key) {
            source.refused(&key);
        }
    }
}

impl Pair {
    async fn look(&self) -> Result<Result<ClientIdentity, Fault>, TokenError> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) + 1;
        let read = self.read().await?;
        Ok(self.take(turn, read))
    }

    async fn read(&self) -> Result<Read, TokenError> {
        let certificate = self.certificate.secret().await?;
        let key = match &self.key {
            Some(key) => Some(key.secret().await?),
            None => None,
        };
        Ok(Read { certificate, key })
    }

    /// The identity that this reading makes, or the one in use if it is the same or a later one.
    fn take(&self, turn: u64, read: Read) -> Result<ClientIdentity, Fault> {
        let mut last = self.last();
        let last = &mut *last;
        if let Some(current) = &mut last.current {
            if last.turn > turn {
                return Ok(current.identity.clone());
            }
            if current.read.matches(&read) {
                last.turn = turn;
                // A source that remembers what it yielded tells by this one what is refused.
                current.read = read;
                return Ok(current.identity.clone());
            }
        }
        let identity = read.identity()?;
        let next = Current {
            identity: identity.clone(),
            read,
        };
        last.turn = turn;
        if let Some(before) = last.current.replace(next) {
            before.identity.binding().end();
            last.epoch += 1;
            tracing::info!(
                epoch = last.epoch,
                valid_until = ?identity.valid_until(),
                "the client certificate changed"
            );
        }
        Ok(identity)
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Read {
    fn identity(&self) -> Result<ClientIdentity, Fault> {
        let certificate = self.certificate.expose();
        let Some(key) = &self.key else {
            return ClientIdentity::read(certificate);
        };
        let mut both = zeroize::Zeroizing::new(String::with_capacity(
            certificate.len() + 1 + key.expose().len(),
        ));
        both.push_str(certificate);
        both.push('\n');
        both.push_str(key.expose());
        ClientIdentity::read(&both)
    }

    fn matches(&self, other: &Self) -> bool {
        let keys = match (&self.key, &other.key) {
            (Some(one), Some(other)) => one.matches(other),
            _ => true,
        };
        keys && self.certificate.matches(&other.certificate)
    }
}

impl fmt::Debug for MutualTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MutualTls")
            .field("certificate", &self.pair.certificate)
            .field("key", &self.pair.key)
            .field("self_signed", &self.self_signed)
            .field("unbound", &self.unbound)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
