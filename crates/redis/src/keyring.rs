//! The current encryption keys, read from their source and read again when they may have changed.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hallpass_core::SecretSource;
use tokio::{
    sync::Mutex as AsyncMutex,
    time::{self, Instant},
};
use zeroize::Zeroizing;

use crate::envelope::{self, EntryDefect, Keys};

/// The interval at which keys are read again, in the background.
const RELOAD_INTERVAL: Duration = Duration::from_secs(60);
/// The minimum interval between two reads because of an unknown key.
const MIN_INTERVAL: Duration = Duration::from_secs(5);
/// The maximum time that a call waits for such a read: less than the cache's timeout, so that an entry with an unknown key
/// is no fault of the store.
const MAX_WAIT: Duration = Duration::from_millis(50);
/// The timeout of a read.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

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
    ) -> Result<Result<Zeroizing<Vec<u8>>, EntryDefect>, String> {
        match self {
            Self::Encrypted(keyring) => keyring.open(name, sealed).await,
            Self::Clear => Ok(envelope::open_clear(sealed)),
        }
    }
}

pub(crate) struct Keyring(Arc<Inner>);

struct Inner {
    source: Box<dyn SecretSource>,
    last: Mutex<KeyState>,
    reading: AsyncMutex<()>,
}

#[derive(Default)]
struct KeyState {
    keys: Option<Arc<Keys>>,
    epoch: u64,
    /// The start and the end of the last read, whether it succeeded or not.
    began: Option<Instant>,
    ended: Option<Instant>,
    /// The reason why the last read failed.
    failure: Option<String>,
}

impl KeyState {
    /// Returns the keys that were read last, or why there are none.
    fn result(&self) -> Result<Arc<Keys>, String> {
        self.keys.clone().ok_or_else(|| {
            let reason = self.failure.as_deref().unwrap_or("they were not read yet");
            format!("the encryption keys cannot be read: {reason}")
        })
    }
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
    ) -> Result<Result<Zeroizing<Vec<u8>>, EntryDefect>, String> {
        let opened = self.keys().await?.open(name, sealed);
        if opened.as_ref().err() != Some(&EntryDefect::UnknownKey) || !self.0.may_read() {
            return Ok(opened);
        }
        // Another process has a newer key.
        Ok(match time::timeout(MAX_WAIT, self.read()).await {
            Ok(Ok(keys)) => keys.open(name, sealed),
            // Slow, or a failure that was traced.
            _ => opened,
        })
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
        let (inner, since) = (self.0.clone(), Instant::now());
        tokio::spawn(async move { inner.read(since).await })
    }
}

impl Inner {
    fn last(&self) -> MutexGuard<'_, KeyState> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the keys, and true if they are to be read again; that is then recorded as the start of a read.
    fn current(&self) -> (Option<Arc<Keys>>, bool) {
        let epoch = self.source.epoch();
        let mut last = self.last();
        let is_old = last.began.is_none_or(|at| at.elapsed() >= RELOAD_INTERVAL);
        let due = last.epoch != epoch || is_old;
        if due && last.keys.is_some() {
            last.began = Some(Instant::now());
            last.epoch = epoch;
        }
        (last.keys.clone(), due)
    }

    /// Returns true if a read may find a key that is not known: one is in progress, or the last one was a while ago.
    fn may_read(&self) -> bool {
        let last = self.last();
        last.began > last.ended || last.ended.is_none_or(|at| at.elapsed() >= MIN_INTERVAL)
    }

    /// Reads the keys, unless another task has read them since `since`.
    async fn read(&self, since: Instant) -> Result<Arc<Keys>, String> {
        let _turn = self.reading.lock().await;
        let epoch = self.source.epoch();
        {
            let mut last = self.last();
            if last.ended.is_some_and(|at| at >= since) {
                return last.result();
            }
            last.began = Some(Instant::now());
            last.epoch = epoch;
        }
        let read = match time::timeout(READ_TIMEOUT, self.source.secret()).await {
            Ok(Ok(secret)) => Keys::parse(secret.expose()).map_err(ToOwned::to_owned),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!(
                "their source did not answer within {READ_TIMEOUT:?}"
            )),
        };
        let mut last = self.last();
        last.ended = Some(Instant::now());
        match read {
            Ok(keys) => {
                last.keys = Some(Arc::new(keys));
                last.failure = None;
            }
            Err(reason) => {
                tracing::warn!(reason, "encryption keys of the token store unreadable");
                last.failure = Some(reason);
            }
        }
        last.result()
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::Ordering};

    use hallpass_core::{Secret, SecretError};
    use hallpass_testkit::RotatingSecret;

    use super::*;

    const OLD: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    const NEW: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

    fn keyring(text: &str) -> (Protection, Arc<RotatingSecret>) {
        let source = Arc::new(RotatingSecret::new(text));
        let keyring = Keyring::new(Box::new(source.clone()));
        (Protection::Encrypted(keyring), source)
    }

    async fn seal(keyring: &Protection) -> Vec<u8> {
        keyring.seal("name", b"entry").await.unwrap()
    }

    async fn opens(keyring: &Protection, sealed: &[u8]) -> bool {
        keyring.open("name", sealed).await.unwrap().is_ok()
    }

    // covers: F-93
    #[tokio::test(start_paused = true)]
    async fn an_unknown_key_is_read_at_once_but_not_each_time() {
        let (ours, source) = keyring(OLD);
        let (theirs, _) = keyring(NEW);
        let sealed = seal(&theirs).await;
        assert!(!opens(&ours, &sealed).await);
        assert_eq!(source.reads(), 1);
        tokio::time::advance(MIN_INTERVAL).await;
        source.rotate(&format!("{OLD} {NEW}"));
        assert!(opens(&ours, &sealed).await);
        assert_eq!(source.reads(), 2);
        let (strangers, _) = keyring("AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=");
        let sealed = seal(&strangers).await;
        for _ in 0..100 {
            assert!(!opens(&ours, &sealed).await);
        }
        assert_eq!(source.reads(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_read_again_each_minute_in_the_background() {
        let (ours, source) = keyring(OLD);
        for _ in 0..100 {
            seal(&ours).await;
        }
        assert_eq!(source.reads(), 1);
        source.rotate(NEW);
        tokio::time::advance(RELOAD_INTERVAL).await;
        seal(&ours).await;
        tokio::task::yield_now().await;
        let (theirs, _) = keyring(NEW);
        assert!(opens(&theirs, &seal(&ours).await).await);
        assert_eq!(source.reads(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_were_read_last_survive_a_source_that_fails() {
        let (ours, source) = keyring(OLD);
        let sealed = seal(&ours).await;
        source.fail(SecretError::new("CANARY is not in the vault"));
        tokio::time::advance(RELOAD_INTERVAL).await;
        for _ in 0..10 {
            assert!(opens(&ours, &sealed).await);
            tokio::task::yield_now().await;
        }
        assert_eq!(source.reads(), 2);
    }

    /// A source that answers for the first time only.
    #[derive(Debug, Default)]
    struct HangsLater(std::sync::atomic::AtomicUsize);

    #[async_trait::async_trait]
    impl SecretSource for HangsLater {
        async fn secret(&self) -> Result<Secret, SecretError> {
            if self.0.fetch_add(1, Ordering::SeqCst) > 0 {
                std::future::pending::<()>().await;
            }
            Secret::new(OLD)
        }
    }

    // covers: F-93
    #[tokio::test(start_paused = true)]
    async fn an_unknown_key_is_no_fault_if_the_source_fails_or_hangs() {
        let (theirs, _) = keyring(NEW);
        let foreign = seal(&theirs).await;
        let (fails, source) = keyring(OLD);
        let sealed = seal(&fails).await;
        source.fail(SecretError::new("the vault is sealed"));
        let hangs = Keyring::new(Box::new(HangsLater::default()));
        let hangs = Protection::Encrypted(hangs);
        assert!(opens(&hangs, &sealed).await);
        for _ in 0..20 {
            tokio::time::advance(MIN_INTERVAL).await;
            for keyring in [&fails, &hangs] {
                let start = Instant::now();
                assert!(!opens(keyring, &foreign).await);
                assert!(opens(keyring, &sealed).await);
                assert!(start.elapsed() <= MAX_WAIT + Duration::from_millis(1));
            }
        }
        assert!(source.reads() > 10);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_wait_for_keys_share_one_read_and_its_failure() {
        let source = Arc::new(HangsLater(1.into()));
        let keyring = Arc::new(Protection::Encrypted(Keyring::new(Box::new(
            source.clone(),
        ))));
        let calls = (0..100).map(|_| {
            let keyring = keyring.clone();
            async move { keyring.seal("name", b"entry").await.unwrap_err() }
        });
        let start = Instant::now();
        for error in calls.collect::<tokio::task::JoinSet<_>>().join_all().await {
            assert!(error.contains("did not answer within 30s"), "{error}");
        }
        assert_eq!(source.0.load(Ordering::SeqCst), 2);
        assert!(start.elapsed() < READ_TIMEOUT * 2);
    }

    #[tokio::test]
    async fn a_source_without_keys_is_reported() {
        let (ours, _) = keyring("CANARY");
        let error = ours.seal("name", b"entry").await.unwrap_err();
        assert!(
            error.contains("base64") && !error.contains("CANARY"),
            "{error}"
        );
    }
}
