use std::{
    fmt,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use async_trait::async_trait;
use hallpass_core::{Secret, SecretError, SecretSource};
use tonic::Streaming;
use zeroize::Zeroizing;

use crate::{
    WorkloadApi, error,
    messages::{X509SvidMessage, X509SvidRequest, X509SvidResponse, select},
    pem,
};

const METHOD: &str = "/SpiffeWorkloadAPI/FetchX509SVID";
/// The timeout of a connection while there is an SVID to use.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The maximum number of responses in one read: an agent may send them faster than they are read.
const MAX_RESPONSES: usize = 16;

/// A source of the X.509-SVID from the Workload API, for `MutualTls` of hallpass-endpoint; created by
/// [`WorkloadApi::x509_svid`]. Its text is the certificate with its chain, and the private key, as PEM.
///
/// The first read opens a stream, by which the agent sends each new SVID; the next read returns it. If the stream ends,
/// the next read opens another one, and returns the last SVID while the agent is not running or its response cannot be
/// used. If the agent has no identity for this process any more, or a response omits the selected one, that SVID is
/// dropped.
///
/// Clones share the stream. It is read when the source is, and needs no task of its own.
///
/// # Errors
///
/// Those of [`JwtSvid`](crate::JwtSvid).
#[derive(Clone)]
pub struct X509Svid {
    agent: WorkloadApi,
    spiffe_id: Option<Arc<str>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Held while a stream is opened.
    stream: tokio::sync::Mutex<Option<Streaming<X509SvidResponse>>>,
    latest: Mutex<Latest>,
}

#[derive(Default)]
struct Latest {
    svid: Option<Secret>,
    epoch: u64,
    /// The number of failed attempts to open a stream, and the error of the last one.
    failures: u64,
    failure: Option<SecretError>,
}

impl X509Svid {
    pub(crate) fn new(agent: WorkloadApi) -> Self {
        Self {
            agent,
            spiffe_id: None,
            shared: Arc::default(),
        }
    }

    /// Selects one of several identities of this process. Default: the agent's default one. The stream is not shared
    /// with the clones of another identity.
    #[must_use]
    pub fn spiffe_id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.spiffe_id = Some(id.into());
        self.shared = Arc::default();
        self
    }

    /// Reads what the agent has sent, without waiting; returns false if another stream must be opened. An SVID that cannot
    /// be used leaves the last one in use.
    pub(crate) fn drain(&self, stream: &mut Streaming<X509SvidResponse>) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..MAX_RESPONSES {
            let updated = match pin!(stream.message()).poll(&mut context) {
                Poll::Pending => return true,
                Poll::Ready(Ok(None)) => return false,
                Poll::Ready(Ok(Some(response))) => self.update(response),
                Poll::Ready(Err(status)) => {
                    self.withdraw_after(&error::refused(self.agent.socket(), &status));
                    return false;
                }
            };
            if let Err(error) = updated {
                if self.withdraw_after(&error) {
                    return false;
                }
                tracing::warn!(%error, "X.509-SVID not replaced");
            }
        }
        true
    }

    /// Drops the SVID if this error means that the agent has withdrawn it, and returns whether it does.
    fn withdraw_after(&self, error: &SecretError) -> bool {
        let is_withdrawn = !error.is_transient() && !error.is_inaccessible();
        let mut latest = self.latest();
        if is_withdrawn && latest.svid.take().is_some() {
            latest.epoch += 1;
        }
        is_withdrawn
    }

    /// Opens a stream, unless another call has failed to while this one waited, after this number of failures.
    async fn reopen(&self, failures: u64) -> Result<Streaming<X509SvidResponse>, SecretError> {
        let limit = {
            let latest = self.latest();
            match &latest.failure {
                Some(failure) if latest.failures != failures => return Err(failure.clone()),
                _ if latest.svid.is_some() => RECONNECT_TIMEOUT,
                _ => Duration::MAX,
            }
        };
        let opened = self.agent.within(limit, self.open()).await;
        if let Err(error) = &opened {
            let mut latest = self.latest();
            latest.failures += 1;
            latest.failure = Some(error.clone());
        }
        opened
    }

    async fn open(&self) -> Result<Streaming<X509SvidResponse>, SecretError> {
        let mut stream = self.agent.call(METHOD, X509SvidRequest {}).await?;
        let first = self.agent.first(&mut stream).await?;
        self.update(first)?;
        Ok(stream)
    }

    pub(crate) fn update(&self, response: X509SvidResponse) -> Result<(), SecretError> {
        let unusable = |fault| error::unusable(self.agent.socket(), fault);
        let svid = select(
            response.svids,
            self.spiffe_id.as_deref(),
            |svid: &X509SvidMessage| &svid.spiffe_id,
        );
        let svid = svid.ok_or_else(|| error::missing(self.agent.socket()))?;
        let key = Zeroizing::new(svid.x509_svid_key);
        let certificates = pem::split(&svid.x509_svid);
        let certificates = certificates
            .filter(|certificates| !certificates.is_empty() && !key.is_empty())
            .ok_or_else(|| unusable("its certificates or its key are damaged or missing"))?;
        let svid = Secret::new(pem::write(&certificates, &key));
        let svid = svid.map_err(|_| unusable("it is empty"))?;
        let mut latest = self.latest();
        if latest.svid.as_ref().is_some_and(|old| !old.matches(&svid)) {
            latest.epoch += 1;
            tracing::debug!(epoch = latest.epoch, "X.509-SVID changed");
        }
        latest.svid = Some(svid);
        Ok(())
    }

    /// Returns the SVID as PEM.
    #[cfg(test)]
    pub(crate) fn latest_pem(&self) -> String {
        let svid = self.latest().svid.clone();
        svid.map_or_else(String::new, |svid| svid.expose().to_owned())
    }

    fn latest(&self) -> MutexGuard<'_, Latest> {
        let latest = self.shared.latest.lock();
        latest.unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl SecretSource for X509Svid {
    async fn secret(&self) -> Result<Secret, SecretError> {
        let failures = self.latest().failures;
        let mut held = self.shared.stream.lock().await;
        let is_open = match &mut *held {
            Some(stream) => self.drain(stream),
            None => false,
        };
        if !is_open {
            *held = None;
            match self.reopen(failures).await {
                Ok(stream) => *held = Some(stream),
                Err(error) if self.withdraw_after(&error) || self.latest().svid.is_none() => {
                    return Err(error);
                }
                Err(error) => {
                    tracing::warn!(%error, "SPIFFE agent unavailable, the last X.509-SVID is used");
                }
            }
        }
        let svid = self.latest().svid.clone();
        svid.ok_or_else(|| error::late(self.agent.socket()))
    }

    fn epoch(&self) -> u64 {
        // A new SVID that has arrived is a change, also before it is read.
        if let Ok(mut held) = self.shared.stream.try_lock()
            && let Some(stream) = &mut *held
            && !self.drain(stream)
        {
            *held = None;
        }
        self.latest().epoch
    }
}

impl fmt::Debug for X509Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("X509Svid")
            .field("agent", &self.agent)
            .field("spiffe_id", &self.spiffe_id)
            .finish_non_exhaustive()
    }
}
