use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use hallpass_core::{Clock, Secret, SecretError, SecretSource, SystemClock, Timestamp};

/// A cache around a secret source that costs money, time or user interaction.
///
/// One call at a time reads the source, and concurrent calls share its result. The source is read again when the
/// cached secret expires, when the source's own epoch changes, and at once when the server
/// [refused](SecretSource::refused) the secret. While the source cannot be reached ([`SecretError::is_transient`]) or
/// used ([`SecretError::is_inaccessible`]), the secret that was read last is returned, unless the server refused it;
/// an error that the secret itself is missing or unusable is returned at once. Failures are not cached.
///
/// The sources that run a command or call a service use it already. Wrap a source of your own:
///
/// ```
/// use std::time::Duration;
/// use hallpass_core::{Secret, SecretError, SecretSource, async_trait};
/// use hallpass_secrets::CachedSecret;
///
/// #[derive(Debug)]
/// struct Manager;
///
/// #[async_trait]
/// impl SecretSource for Manager {
///     async fn secret(&self) -> Result<Secret, SecretError> {
///         // Ask your cloud's secrets manager here.
///         Secret::new("s3cr3t")
///     }
/// }
///
/// let source = CachedSecret::new(Manager, Duration::from_secs(300));
/// ```
pub struct CachedSecret<S> {
    source: S,
    lifetime: Duration,
    clock: Arc<dyn Clock>,
    /// Held while the source is being read.
    turn: tokio::sync::Mutex<()>,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    secret: Option<Secret>,
    read_at: Timestamp,
    source_epoch: u64,
    /// Number of refusals of the cached secret.
    refusals: u64,
    /// Value of `refusals` when the cached secret's reading began: later refusals still count.
    handled_refusals: u64,
    epoch: u64,
    /// Number of finished readings.
    readings: u64,
    /// The error of the last reading, if it failed.
    failure: Option<SecretError>,
}

impl<S: SecretSource> CachedSecret<S> {
    /// Caches the secret of `source` for `lifetime`.
    pub fn new(source: S, lifetime: Duration) -> Self {
        Self {
            source,
            lifetime,
            clock: Arc::new(SystemClock),
            turn: tokio::sync::Mutex::default(),
            memory: Mutex::default(),
        }
    }

    /// Sets how long the secret is cached.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Sets the clock, for tests.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Returns the wrapped source.
    pub fn get_ref(&self) -> &S {
        &self.source
    }

    #[cfg(any(feature = "command", feature = "keychain"))]
    pub(crate) fn get_mut(&mut self) -> &mut S {
        &mut self.source
    }

    fn fresh_secret(&self) -> Option<Secret> {
        let source_epoch = self.source.epoch();
        let memory = self.memory();
        let age = self.clock.now().saturating_since(memory.read_at);
        let fresh =
            memory.is_trusted() && memory.source_epoch == source_epoch && age < self.lifetime;
        memory.secret.clone().filter(|_| fresh)
    }

    async fn read(&self) -> Result<Secret, SecretError> {
        let readings = self.memory().readings;
        let _turn = self.turn.lock().await;
        if let Some(secret) = self.fresh_secret() {
            return Ok(secret);
        }
        let (read_at, source_epoch) = (self.clock.now(), self.source.epoch());
        let refusals = {
            let memory = self.memory();
            // Calls that waited for a reading that failed share its error, so that they do not read one after the other.
            if memory.readings != readings
                && let Some(error) = &memory.failure
            {
                return Err(error.clone());
            }
            memory.refusals
        };
        let result = self.source.secret().await;
        let mut memory = self.memory();
        memory.readings += 1;
        memory.failure = None;
        match result {
            Ok(secret) => {
                if memory
                    .secret
                    .as_ref()
                    .is_some_and(|before| !before.matches(&secret))
                {
                    memory.epoch += 1;
                }
                memory.secret = Some(secret.clone());
                (memory.read_at, memory.source_epoch) = (read_at, source_epoch);
                memory.handled_refusals = refusals;
                Ok(secret)
            }
            Err(error) => {
                // The error says nothing about the secret itself.
                let usable = error.is_transient() || error.is_inaccessible();
                let last_secret = memory.secret.clone();
                if let Some(secret) = last_secret.filter(|_| usable && memory.is_trusted()) {
                    tracing::warn!(%error, "secret source unavailable, using the secret that was read last");
                    return Ok(secret);
                }
                memory.failure = Some(error.clone());
                Err(error)
            }
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn is_trusted(&self) -> bool {
        self.refusals == self.handled_refusals
    }
}

#[async_trait]
impl<S: SecretSource> SecretSource for CachedSecret<S> {
    async fn secret(&self) -> Result<Secret, SecretError> {
        match self.fresh_secret() {
            Some(secret) => Ok(secret),
            None => self.read().await,
        }
    }

    fn epoch(&self) -> u64 {
        let source = self.source.epoch();
        self.memory().epoch.wrapping_add(source)
    }

    fn refused(&self, secret: &Secret) {
        self.source.refused(secret);
        let mut memory = self.memory();
        if memory
            .secret
            .as_ref()
            .is_some_and(|cached| cached.is_clone_of(secret))
        {
            memory.refusals += 1;
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for CachedSecret<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedSecret")
            .field("source", &self.source)
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
