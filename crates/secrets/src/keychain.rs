use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use hallpass_core::{Clock, Secret, SecretError, SecretSource};
use keyring_core::{CredentialStore, Error};
use zeroize::Zeroizing;

use crate::{CachedSecret, blocking::Turn, content, forward::forward};

/// A secret in the system's keychain: the Secret Service of a Linux desktop, the login keychain of macOS, the Credential
/// Manager of Windows.
///
/// For tools that people run, whose session unlocks the keychain; a service has no session. One trailing line end is
/// removed, since tools that read from a terminal add it.
///
/// The secret is [cached](CachedSecret) for five minutes by default, and read again at once when the server refuses it.
///
/// | system | how to store it there |
/// |---|---|
/// | Linux | `secret-tool store --label=orders service orders username me` |
/// | macOS | `security add-generic-password -s orders -a me -w` |
/// | Windows | `cmdkey /generic:me.orders /user:me /pass` |
///
/// ```no_run
/// use hallpass_secrets::KeychainSecret;
///
/// let secret = KeychainSecret::new("orders", "me");
/// ```
pub struct KeychainSecret(CachedSecret<Entry>);

type OpenStore = Arc<dyn Fn() -> Result<Arc<CredentialStore>, Error> + Send + Sync>;

struct Entry {
    service: String,
    user: String,
    /// Opened at each reading, since a session may restart its keychain.
    open: OpenStore,
    timeout: Duration,
    turn: Turn,
}

impl KeychainSecret {
    /// Creates a source for the secret of this user for this service. Nothing is read yet.
    pub fn new(service: impl Into<String>, user: impl Into<String>) -> Self {
        Self::within(Arc::new(system), service.into(), user.into())
    }

    /// Sets the timeout for the keychain, in which a person may have to unlock it. Default: 20 s.
    ///
    /// A call that times out leaves the prompt open: the next call waits for the same prompt, on the same thread.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.0.get_mut().timeout = timeout;
        self
    }

    /// Sets how long the secret is cached. Default: 5 minutes; zero reads it for each token request.
    #[must_use]
    pub fn lifetime(self, lifetime: Duration) -> Self {
        Self(self.0.lifetime(lifetime))
    }

    /// Sets the clock, for tests.
    #[must_use]
    pub fn clock(self, clock: impl Clock + 'static) -> Self {
        Self(self.0.clock(clock))
    }

    fn within(open: OpenStore, service: String, user: String) -> Self {
        let entry = Entry {
            service,
            user,
            open,
            timeout: Duration::from_secs(20),
            turn: Turn::default(),
        };
        Self(CachedSecret::new(entry, Duration::from_secs(300)))
    }
}

#[cfg(target_os = "linux")]
fn system() -> Result<Arc<CredentialStore>, Error> {
    Ok(zbus_secret_service_keyring_store::Store::new()?)
}

#[cfg(target_os = "macos")]
fn system() -> Result<Arc<CredentialStore>, Error> {
    Ok(apple_native_keyring_store::keychain::Store::new()?)
}

#[cfg(windows)]
fn system() -> Result<Arc<CredentialStore>, Error> {
    Ok(windows_native_keyring_store::Store::new()?)
}

#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
fn system() -> Result<Arc<CredentialStore>, Error> {
    Err(Error::NotSupportedByStore(
        "this system has no supported keychain".to_owned(),
    ))
}

forward!(KeychainSecret);

#[async_trait]
impl SecretSource for Entry {
    async fn secret(&self) -> Result<Secret, SecretError> {
        let (service, user, open) = (self.service.clone(), self.user.clone(), self.open.clone());
        let place = format!("the keychain's secret of `{user}` for `{service}`");
        let named = place.clone();
        // The keychain may prompt a person to unlock it.
        let work = move || {
            let password = open()
                .and_then(|store| store.build(&service, &user, None))
                .and_then(|entry| entry.get_password())
                .map(Zeroizing::new)
                .map_err(|error| cannot(&place, &error))?;
            content::secret(password.as_bytes(), &place)
        };
        self.turn.run(self.timeout, &named, work).await
    }
}

/// Maps the library's error, and does not carry it along: some of its variants hold the value that was read.
fn cannot(place: &str, error: &Error) -> SecretError {
    let wrong = |what: &str| SecretError::new(format!("{place} {what}"));
    let inaccessible = |what: &str| SecretError::inaccessible(format!("{place} {what}"));
    match error {
        Error::NoEntry => wrong("does not exist; store it, or check the names of service and user"),
        Error::NoStorageAccess(_) => inaccessible(
            "cannot be read: the keychain is locked; unlock it, and let this program use it",
        ),
        Error::PlatformFailure(_) => inaccessible(
            "cannot be read: the keychain does not respond; check that this session has one",
        ),
        Error::BadEncoding(_) => wrong("is not UTF-8; store it again as text"),
        Error::Ambiguous(_) => wrong("exists more than once; remove all but one"),
        Error::Invalid(..) | Error::TooLong(..) => {
            wrong("has a name that the keychain does not accept")
        }
        Error::NotSupportedByStore(_) => {
            wrong("cannot be read: this system has no supported keychain")
        }
        _ => inaccessible("cannot be read: the keychain failed"),
    }
}

impl fmt::Debug for KeychainSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeychainSecret").field(&self.0).finish()
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("service", &self.service)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
