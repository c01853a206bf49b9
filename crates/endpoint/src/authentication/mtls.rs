//! Client authentication with a certificate (RFC 8705).

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use hallpass_core::{Clock, Hint, Secret, SecretSource, SystemClock, TokenError};

use super::{
    context::AuthenticationContext, credentials::Credentials, digest::credential_digest,
    method::ClientAuthentication,
};
use crate::{
    hints,
    transport::identity::{ClientIdentity, InvalidIdentity},
};

/// `tls_client_auth` and `self_signed_tls_client_auth`: the client authenticates with the certificate of the TLS
/// handshake (RFC 8705 section 2). No secret and no assertion is sent.
///
/// Certificate and key are read for each token request, so a replacement is used from the next request on. Each
/// certificate has its own connections: a connection opened with an old one never carries a request of the new one.
///
/// ```
/// use hallpass_core::SecretSource;
/// use hallpass_endpoint::{BuildError, ClientCredentials, MutualTls};
///
/// fn source(
///     certificate: impl SecretSource + 'static,
///     key: impl SecretSource + 'static,
/// ) -> Result<ClientCredentials, BuildError> {
///     let authentication = MutualTls::from_pair(certificate, key);
///     ClientCredentials::builder("https://mtls.login.example/token", "orders-service", authentication).build()
/// }
/// ```
///
/// # Bound tokens
///
/// The server may bind a token to the certificate: it is then valid only on connections that present the same one (RFC
/// 8705 section 3). A token does not show this, so each is treated as bound: a cache drops it as soon as another
/// certificate is read, and does not write it to a shared store. [`unbound_tokens`](Self::unbound_tokens) is for a
/// server that does not bind tokens.
///
/// The API's client presents the certificate too: [`identity`](Self::identity) returns the current one.
///
/// Clones share their state.
#[derive(Clone)]
pub struct MutualTls {
    pair: Arc<CredentialPair>,
    registration: Registration,
    unbound: bool,
    clock: Arc<dyn Clock>,
}

/// The part of the certificate that is registered with the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Registration {
    Names,
    Certificate,
    #[cfg(feature = "unstable-spiffe")]
    SpiffeId,
}

/// The sources of certificate and key, and the last values read.
struct CredentialPair {
    certificate: Box<dyn SecretSource>,
    key: Option<Box<dyn SecretSource>>,
    /// The number of started reads: a slow read must not restore an old certificate.
    turn: AtomicU64,
    last: Mutex<PairState>,
}

#[derive(Default)]
struct PairState {
    turn: u64,
    current: Option<LoadedIdentity>,
    epoch: u64,
}

struct LoadedIdentity {
    identity: ClientIdentity,
    /// The values as the sources returned them.
    read: PemPair,
}

#[derive(Clone)]
struct PemPair {
    certificate: Secret,
    key: Option<Secret>,
}

impl MutualTls {
    /// Creates the method from one PEM text with certificate and private key, the client's own certificate before those
    /// of its chain.
    pub fn new(certificate_and_key: impl SecretSource + 'static) -> Self {
        Self::reading(Box::new(certificate_and_key), None)
    }

    /// Creates the method from two PEM texts: the `tls.crt` and `tls.key` of Kubernetes, cert-manager and others.
    ///
    /// If the two do not match, because one was replaced between the reads, both are read again.
    pub fn from_pair(
        certificate: impl SecretSource + 'static,
        key: impl SecretSource + 'static,
    ) -> Self {
        Self::reading(Box::new(certificate), Some(Box::new(key)))
    }

    fn reading(certificate: Box<dyn SecretSource>, key: Option<Box<dyn SecretSource>>) -> Self {
        Self {
            pair: Arc::new(CredentialPair {
                certificate,
                key,
                turn: AtomicU64::new(0),
                last: Mutex::default(),
            }),
            registration: Registration::Names,
            unbound: false,
            clock: Arc::new(SystemClock),
        }
    }

    /// Selects `self_signed_tls_client_auth`: the server knows the certificate itself, not its issuer. The requests are
    /// the same either way; hints and the choice among methods differ.
    #[must_use]
    pub fn self_signed(mut self) -> Self {
        self.registration = Registration::Certificate;
        self
    }

    /// Selects `spiffe_x509`: the certificate is a SPIFFE X.509-SVID, and the `client_id` is its SPIFFE ID (section 3.2 of
    /// [draft-ietf-oauth-spiffe-client-auth-02](https://datatracker.ietf.org/doc/html/draft-ietf-oauth-spiffe-client-auth-02)).
    /// A request with another certificate, or with another `client_id`, is not sent.
    ///
    /// Unstable: it follows an Internet-Draft, and may change in any release.
    #[cfg(feature = "unstable-spiffe")]
    #[must_use]
    pub fn spiffe(mut self) -> Self {
        self.registration = Registration::SpiffeId;
        self
    }

    /// Declares that the server binds no tokens to the certificate (`tls_client_certificate_bound_access_tokens` is
    /// false for this client): they outlive it, and may be shared.
    #[must_use]
    pub fn unbound_tokens(mut self) -> Self {
        self.unbound = true;
        self
    }

    /// Sets the clock, for tests. It is used for hints only.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Returns the current certificate and key, for the client of an API that accepts bound tokens. They are read
    /// again, so a token that is bound to an older certificate is not returned after this call.
    ///
    /// While nothing changes, the results are clones of one [identity](ClientIdentity::is_clone_of): rebuild a client
    /// only if the identity changes. The cost is that of the sources; a file is read on a blocking thread.
    ///
    /// # Errors
    ///
    /// A [`TokenError`] of kind [`Configuration`](hallpass_core::ErrorKind::Configuration) that names the missing,
    /// damaged or mismatched part; transient if there was a valid pair before, since a replacement may be in progress.
    /// Of kind [`Unavailable`](hallpass_core::ErrorKind::Unavailable) if a source is.
    ///
    /// # Cancellation
    ///
    /// Dropping the future cancels this read only.
    pub async fn identity(&self) -> Result<ClientIdentity, TokenError> {
        let identity = match self.pair.refresh().await? {
            // One of the two may have been read before it was replaced, and the other one after.
            Err(InvalidIdentity::Mismatch) if self.pair.key.is_some() => {
                self.pair.refresh().await?
            }
            identity => identity,
        };
        identity.map_err(|fault| self.unusable(&fault))
    }

    fn method_name(&self) -> &'static str {
        match self.registration {
            Registration::Names => "tls_client_auth",
            Registration::Certificate => "self_signed_tls_client_auth",
            #[cfg(feature = "unstable-spiffe")]
            Registration::SpiffeId => "spiffe_x509",
        }
    }

    #[cfg(feature = "unstable-spiffe")]
    fn check_spiffe_id(
        &self,
        identity: &ClientIdentity,
        client_id: &str,
    ) -> Result<(), TokenError> {
        if self.registration != Registration::SpiffeId || identity.spiffe_id() == Some(client_id) {
            return Ok(());
        }
        let unusable = |fault: &str| {
            TokenError::configuration(format!("the X.509-SVID cannot be used: {fault}"))
        };
        Err(match identity.spiffe_id() {
            None => unusable(
                "the certificate must belong to a workload, with a SPIFFE ID as its only URI",
            ),
            Some(id) => {
                let id = hallpass_core::TextFilter::new().clean(id);
                unusable(&format!("its SPIFFE ID is `{id}`, and not the `client_id`"))
                    .with_hint("set `client_id` to the SPIFFE ID of this workload")
            }
        })
    }

    fn unusable(&self, fault: &InvalidIdentity) -> TokenError {
        let known = self.pair.last().current.is_some();
        let message = format!("the client certificate cannot be used: {}", fault.text());
        let error = TokenError::configuration(message).with_transient(known);
        match fault.hint() {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }

    fn hint(&self, identity: &ClientIdentity) -> Hint {
        if let Some(end) = identity.valid_until()
            && end < self.clock.wall()
        {
            // A certificate cannot express a date outside 1970 to 9999.
            return format!(
                "the certificate expired on {}; replace it",
                httpdate::fmt_http_date(end)
            )
            .into();
        }
        match self.registration {
            Registration::Certificate => hints::CERTIFICATE_ITSELF,
            Registration::Names => hints::CERTIFICATE_NAMES,
            #[cfg(feature = "unstable-spiffe")]
            Registration::SpiffeId => hints::CERTIFICATE_NAMES,
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
        #[cfg(feature = "unstable-spiffe")]
        self.check_spiffe_id(&identity, context.client_id())?;
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
        Some(self.method_name())
    }

    fn binds_tokens(&self) -> bool {
        !self.unbound
    }

    fn epoch(&self) -> u64 {
        let pair = &self.pair;
        let key = pair.key.as_ref().map_or(0, SecretSource::epoch);
        let sources = pair.certificate.epoch().wrapping_add(key);
        sources.wrapping_add(pair.last().epoch)
    }

    async fn digest(&self, client_id: &str) -> Option<[u8; 32]> {
        let identity = self.identity().await.ok()?;
        let parts = [client_id.as_bytes(), identity.expose_pem().as_bytes()];
        Some(credential_digest(self.method_name(), &parts))
    }

    fn refused(&self, credentials: &Credentials) {
        let pair = &self.pair;
        let read = {
            let last = pair.last();
            let current = last.current.as_ref().zip(credentials.identity());
            // A refused certificate that is no longer in use has already been replaced.
            let current =
                current.filter(|(current, refused)| current.identity.is_clone_of(refused));
            current.map(|(current, _)| current.read.clone())
        };
        let Some(PemPair { certificate, key }) = read else {
            return;
        };
        pair.certificate.refused(&certificate);
        if let (Some(source), Some(key)) = (&pair.key, key) {
            source.refused(&key);
        }
    }
}

impl CredentialPair {
    async fn refresh(&self) -> Result<Result<ClientIdentity, InvalidIdentity>, TokenError> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) + 1;
        let read = self.read().await?;
        Ok(self.update(turn, read))
    }

    async fn read(&self) -> Result<PemPair, TokenError> {
        let certificate = self.certificate.secret().await?;
        let key = match &self.key {
            Some(key) => Some(key.secret().await?),
            None => None,
        };
        Ok(PemPair { certificate, key })
    }

    /// Returns the identity of this read, or the current one if it is equal or newer.
    fn update(&self, turn: u64, read: PemPair) -> Result<ClientIdentity, InvalidIdentity> {
        let mut last = self.last();
        let last = &mut *last;
        if let Some(current) = &mut last.current {
            if last.turn > turn {
                return Ok(current.identity.clone());
            }
            if current.read.matches(&read) {
                last.turn = turn;
                // A source with a cache recognizes a refused value by this one.
                current.read = read;
                return Ok(current.identity.clone());
            }
        }
        let identity = read.identity()?;
        let next = LoadedIdentity {
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
                "client certificate changed"
            );
        }
        Ok(identity)
    }

    fn last(&self) -> MutexGuard<'_, PairState> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PemPair {
    fn identity(&self) -> Result<ClientIdentity, InvalidIdentity> {
        let key = self.key.as_ref().map(Secret::expose);
        ClientIdentity::read(self.certificate.expose(), key)
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
            .field("registration", &self.registration)
            .field("unbound", &self.unbound)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
