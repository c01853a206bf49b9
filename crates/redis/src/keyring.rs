//! The current encryption keys, read from their source and read again when they may have changed.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hallpass_core::SecretSource;
use tokio::{sync::Mutex as AsyncMutex, time::Instant};
use zeroize::Zeroizing;

use crate::envelope::{self, Keys, Unusable};

/// The interval at which keys are read again, in the background.
const RELOAD_INTERVAL: Duration = Duration::from_secs(60);
/// The minimum interval between two reads because of an unknown key.
const MIN_INTERVAL: Duration = Duration::from_secs(5);

/// The protection of entries.
pub(crate) enum Protection {
    Encrypted(Keyring),
    Clear,
}

impl Protection {
    /// Returns the form in which the entry is stored.
    ///
    /// # Errors
    ///
    /// A text that says why it cannot be encrypted.
    pub(crate) async fn seal(&self, name: &str, plain: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Self::Encrypted(keyring) => {
                let sealed = keyring.keys().await?.seal(name, plain);
                sealed.ok_or_else(|| "the system has no random bytes".to_owned())
            }
            Self::Clear => Ok(envelope::clear(plain)),
        }
    }

    /// Returns the entry, or why it cannot be used.
    ///
    /// # Errors
    ///
    /// A text that says why there are no keys.
    pub(crate) async fn open(
        &self,
        name: &str,
        sealed: &[u8],
    ) -> Result<Result<Zeroizing<Vec<u8>>, Unusable>, String> {
        match self {
            Self::Encrypted(keyring) => keyring.open(name, sealed).await,
            Self::Clear => Ok(envelope::open_clear(sealed)),
        }
    }
}

pub(crate) struct Keyring(Arc<Inner>);

struct Inner {
    source: Box<dyn SecretSource>,
    last: Mutex<Last>,
    reading: AsyncMutex<()>,
}

#[derive(Default)]
struct Last {
    keys: Option<Arc<Keys>>,
    epoch: u64,
    read_at: Option<Instant>,
}

impl Keyring {
    pub(crate) fn new(source: Box<dyn SecretSource>) -> Self {
        Self(Arc::new(Inner {
            source,
            last: Mutex::default(),
            reading: AsyncMutex::default(),
        }))
    }

    async fn open(
        &self,
        name: &str,
        sealed: &[u8],
    ) -> Result<Result<Zeroizing<Vec<u8>>, Unusable>, String> {
        let opened = self.keys().await?.open(name, sealed);
        if opened.as_ref().err() != Some(&Unusable::UnknownKey) || !self.0.may_read() {
            return Ok(opened);
        }
        // Another process has a newer key.
        Ok(self.read().await?.open(name, sealed))
    }

    /// Returns the current keys; waits only for the first read.
    async fn keys(&self) -> Result<Arc<Keys>, String> {
        let (keys, due) = self.0.current();
        match keys {
            Some(keys) => {
                if due {
                    // A failure was traced; the keys that were read last are still used.
                    drop(self.read_in_background());
                }
                Ok(keys)
            }
            None => self.read().await,
        }
    }

    async fn read(&self) -> Result<Arc<Keys>, String> {
        let read = self.read_in_background().await;
        read.unwrap_or_else(|_| Err("reading the encryption keys was interrupted".to_owned()))
    }

    /// Reads in a task of its own, so that a caller that gives up does not interrupt a slow source.
    fn read_in_background(&self) -> tokio::task::JoinHandle<Result<Arc<Keys>, String>> {
        let (inner, asked) = (self.0.clone(), Instant::now());
        tokio::spawn(async move { inner.read(asked).await })
    }
}

impl Inner {
    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the keys, and true if they are to be read again; that is then recorded as a read.
    fn current(&self) -> (Option<Arc<Keys>>, bool) {
        let epoch = self.source.epoch();
        let mut last = self.last();
        let due = last.epoch != epoch
            || last
                .read_at
                .is_none_or(|at| at.elapsed() >= RELOAD_INTERVAL);
        if due && last.keys.is_some() {
            last.read_at = Some(Instant::now());
            last.epoch = epoch;
        }
        (last.keys.clone(), due)
    }

    fn may_read(&self) -> bool {
        let mut last = self.last();
        let may = last.read_at.is_none_or(|at| at.elapsed() >= MIN_INTERVAL);
        if may {
            last.read_at = Some(Instant::now());
        }
        may
    }

    async fn read(&self, asked: Instant) -> Result<Arc<Keys>, String> {
        let _turn = self.reading.lock().await;
        {
            // Read by someone else while this task waited for its turn.
            let last = self.last();
            if let (Some(keys), Some(at)) = (&last.keys, last.read_at)
                && at > asked
            {
                return Ok(keys.clone());
            }
        }
        let epoch = self.source.epoch();
        let read = match self.source.secret().await {
            Ok(secret) => Keys::parse(secret.expose()).map_err(ToOwned::to_owned),
            Err(error) => Err(error.to_string()),
        };
        match read {
            Ok(keys) => {
                let keys = Arc::new(keys);
                *self.last() = Last {
                    keys: Some(keys.clone()),
                    epoch,
                    read_at: Some(Instant::now()),
                };
                Ok(keys)
            }
            Err(reason) => {
                tracing::warn!(reason, "encryption keys of the token store unreadable");
                Err(format!("the encryption keys cannot be read: {reason}"))
            }
        }
    }
}

impl fmt::Debug for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Encrypted(_) => "Encrypted(..)",
            Self::Clear => "Clear",
        })
    }
}
